/*-------------------------------------------------------------------------
 *
 * text.c
 *	  Growing buffers, a string map and the small codecs of the sandbox.
 *
 * The map is open addressing with linear probing; a removed entry keeps its
 * key until the table is rebuilt, so that probing chains stay whole.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text.h"

/* Ends the program where malloc would return NULL. */
void *
xmalloc(size_t size)
{
	return xrealloc(NULL, size);
}

void *
xrealloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	if (p == NULL)
	{
		fprintf(stderr, "sandbox: out of memory\n");
		exit(1);
	}
	return p;
}

char *
xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *
xstrndup(const char *s, size_t len)
{
	char	   *copy = xmalloc(len + 1);

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

/* Appends bytes; the buffer stays NUL-terminated. */
void
buf_add(Buf *buf, const void *data, size_t len)
{
	if (buf->len + len + 1 > buf->cap)
	{
		size_t		cap = buf->cap ? buf->cap * 2 : 256;

		while (cap < buf->len + len + 1)
			cap *= 2;
		buf->data = xrealloc(buf->data, cap);
		buf->cap = cap;
	}
	if (len > 0)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void
buf_str(Buf *buf, const char *s)
{
	buf_add(buf, s, strlen(s));
}

void
buf_char(Buf *buf, char c)
{
	buf_add(buf, &c, 1);
}

void
buf_printf(Buf *buf, const char *fmt,...)
{
	char		text[1024];
	va_list		args;
	int			len;

	va_start(args, fmt);
	len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (len >= (int) sizeof(text))
		len = (int) sizeof(text) - 1;
	buf_add(buf, text, (size_t) len);
}

/* Appends text as a JSON string; bytes that are not UTF-8 become U+FFFD. */
void
buf_json(Buf *buf, const char *s, size_t len)
{
	bool		valid = utf8_valid(s, len);

	buf_char(buf, '"');
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) s[i];

		if (c == '"' || c == '\\')
		{
			buf_char(buf, '\\');
			buf_char(buf, (char) c);
		}
		else if (c < 0x20)
			buf_printf(buf, "\\u%04x", c);
		else if (c >= 0x80 && !valid)
			buf_str(buf, "\xef\xbf\xbd");
		else
			buf_char(buf, (char) c);
	}
	buf_char(buf, '"');
}

void
buf_free(Buf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}

/* FNV-1a, with a final mix so that low bits are usable as an index. */
uint64_t
hash_bytes(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t	h = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(1099511628211);
	h ^= h >> 32;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return h ^ (h >> 29);
}

/* Finds the slot of a key, or the free slot where it would go. */
static MapEntry *
map_slot(MapEntry *slots, size_t size, const char *key, uint64_t hash)
{
	size_t		i = hash & (size - 1);

	while (slots[i].key != NULL &&
		   (slots[i].hash != hash || strcmp(slots[i].key, key) != 0))
		i = (i + 1) & (size - 1);
	return &slots[i];
}

/* Rebuilds the table without removed entries, with room to grow. */
static void
map_rebuild(Map *map)
{
	size_t		size = 64;
	MapEntry   *slots;

	while (size < map->live * 4)
		size *= 2;
	slots = calloc(size, sizeof(MapEntry));
	if (slots == NULL)
		exit(1);
	for (size_t i = 0; i < map->size; i++)
	{
		MapEntry   *e = &map->slots[i];

		if (e->key == NULL)
			continue;
		if (e->value == NULL)
			free(e->key);
		else
			*map_slot(slots, size, e->key, e->hash) = *e;
	}
	free(map->slots);
	map->slots = slots;
	map->size = size;
	map->used = map->live;
}

void *
map_get(const Map *map, const char *key)
{
	if (map->size == 0)
		return NULL;
	return map_slot(map->slots, map->size, key,
					hash_bytes(key, strlen(key)))->value;
}

/* Sets the value (never NULL) of a key, which is copied. */
void
map_set(Map *map, const char *key, void *value)
{
	uint64_t	hash = hash_bytes(key, strlen(key));
	MapEntry   *e;

	if ((map->used + 1) * 4 > map->size * 3)
		map_rebuild(map);
	e = map_slot(map->slots, map->size, key, hash);
	if (e->key == NULL)
	{
		e->key = xstrdup(key);
		e->hash = hash;
		map->used++;
	}
	if (e->value == NULL)
		map->live++;
	e->value = value;
}

/* Removes a key and returns its value, or NULL. */
void *
map_remove(Map *map, const char *key)
{
	MapEntry   *e;
	void	   *value;

	if (map->size == 0)
		return NULL;
	e = map_slot(map->slots, map->size, key, hash_bytes(key, strlen(key)));
	value = e->value;
	if (value != NULL)
		map->live--;
	e->value = NULL;
	return value;
}

void
map_clear(Map *map, void (*release) (void *))
{
	for (size_t i = 0; i < map->size; i++)
	{
		if (map->slots[i].value != NULL && release != NULL)
			release(map->slots[i].value);
		free(map->slots[i].key);
	}
	free(map->slots);
	memset(map, 0, sizeof(*map));
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decodes %XX in place and returns the new length. */
size_t
percent_decode(char *s)
{
	char	   *out = s;

	for (char *p = s; *p; p++)
	{
		if (*p == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0)
		{
			*out++ = (char) (hex_digit(p[1]) * 16 + hex_digit(p[2]));
			p += 2;
		}
		else
			*out++ = *p;
	}
	*out = '\0';
	return (size_t) (out - s);
}

/* Says whether the bytes are well-formed UTF-8. */
bool
utf8_valid(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *) s;
	const unsigned char *end = p + len;

	while (p < end)
	{
		int			more;
		uint32_t	code;

		if (*p < 0x80)
		{
			p++;
			continue;
		}
		more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
		if (*p < 0xc2 || *p > 0xf4 || end - p <= more)
			return false;
		code = *p++ & (0x3f >> more);
		for (int i = 0; i < more; i++, p++)
		{
			if ((*p & 0xc0) != 0x80)
				return false;
			code = (code << 6) | (*p & 0x3f);
		}
		if ((more == 2 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
			(more == 3 && (code < 0x10000 || code > 0x10ffff)))
			return false;
	}
	return true;
}

bool
text_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Wall clock in microseconds since 1970. */
int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Monotonic clock in microseconds, for timers. */
int64_t
mono_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
