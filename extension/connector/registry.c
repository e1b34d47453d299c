/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Name of a protocol to its table of functions.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

static const ConcordProtocol *const reg_protocols[] = {
	&concord_protocol_rest,
	&concord_protocol_odata,
	&concord_protocol_webhook,
};

/* concord_protocol_find looks a protocol up by name. */
const ConcordProtocol *
concord_protocol_find(const char *name)
{
	for (int i = 0; i < lengthof(reg_protocols); i++)
	{
		if (strcmp(reg_protocols[i]->name, name) == 0)
			return reg_protocols[i];
	}
	return NULL;
}
