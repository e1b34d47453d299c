/*-------------------------------------------------------------------------
 *
 * main.c
 *	  Entry point of the library: settings, shared memory, launcher, hooks.
 *
 * No logic here; each room says what it needs at load time.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/* _PG_init registers everything the library has to say at load time. */
void
_PG_init(void)
{
}
