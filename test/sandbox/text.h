/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Growing buffers, a string map and the small codecs of the sandbox.
 *
 * Nothing here knows HTTP or JSON objects.  Memory comes from malloc and a
 * failed allocation ends the program: this is a test tool.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_TEXT_H
#define SANDBOX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Buf
{
	char	   *data;			/* always followed by a NUL once allocated */
	size_t		len;
	size_t		cap;
} Buf;

/* One map entry; key and value belong to the map's user once removed. */
typedef struct MapEntry
{
	char	   *key;			/* NULL: never used */
	void	   *value;			/* NULL with a key: removed */
	uint64_t	hash;
} MapEntry;

typedef struct Map
{
	MapEntry   *slots;
	size_t		size;			/* a power of two, or 0 */
	size_t		used;			/* slots with a key, removed ones included */
	size_t		live;			/* entries with a value */
} Map;

extern void *xmalloc(size_t size);
extern void *xrealloc(void *p, size_t size);
extern char *xstrdup(const char *s);
extern char *xstrndup(const char *s, size_t len);

extern void buf_add(Buf *buf, const void *data, size_t len);
extern void buf_str(Buf *buf, const char *s);
extern void buf_char(Buf *buf, char c);
extern void buf_printf(Buf *buf, const char *fmt,...) __attribute__((format(printf, 2, 3)));
extern void buf_json(Buf *buf, const char *s, size_t len);
extern void buf_free(Buf *buf);

extern void *map_get(const Map *map, const char *key);
extern void map_set(Map *map, const char *key, void *value);
extern void *map_remove(Map *map, const char *key);
extern void map_clear(Map *map, void (*release) (void *));

extern uint64_t hash_bytes(const void *data, size_t len);
extern size_t percent_decode(char *s);
extern bool utf8_valid(const char *s, size_t len);
extern bool text_starts(const char *s, const char *prefix);
extern int64_t now_us(void);
extern int64_t mono_us(void);

#endif							/* SANDBOX_TEXT_H */
