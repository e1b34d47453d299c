/*-------------------------------------------------------------------------
 *
 * mapped.c
 *	  What an event was mapped to, in one piece of memory.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "mapping/eval.h"

/* mpd_text_size is what a text takes. */
static Size
mpd_text_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

/* mpd_values_size is what the texts of values take. */
static Size
mpd_values_size(const ConcordValue *values, int n)
{
	Size		size = 0;

	for (int i = 0; values != NULL && i < n; i++)
		size += values[i].isnull ? 0 : values[i].len + 1;
	return size;
}

/* concord_mapped_size is what a copy takes. */
Size
concord_mapped_size(const ConcordMapped *m, int nkeys)
{
	int			nvalues = (m->keys ? nkeys : 0) + (m->old_keys ? nkeys : 0) +
		m->nfields;

#if SIZEOF_VOID_P == 8
	StaticAssertStmt(sizeof(ConcordMapped) == 168,
					 "a new member of ConcordMapped is to be copied here");
#endif
	Assert(m->nchildren == 0 && m->same == NULL && m->written == NULL &&
		   m->omit == NULL);
	return MAXALIGN(sizeof(ConcordMapped)) + sizeof(ConcordValue) * nvalues +
		mpd_values_size(m->keys, nkeys) + mpd_values_size(m->old_keys, nkeys) +
		mpd_values_size(m->fields, m->nfields) +
		(m->skip ? sizeof(bool) * m->nfields : 0) +
		mpd_text_size(m->local_key) + mpd_text_size(m->old_local_key) +
		mpd_text_size(m->ordering_key) + mpd_text_size(m->route) +
		mpd_text_size(m->rule) + mpd_text_size(m->error);
}

/* mpd_bytes copies bytes to *room and gives where they are now. */
static void *
mpd_bytes(char **room, const void *bytes, Size size)
{
	void	   *copy = *room;

	if (bytes == NULL)
		return NULL;
	memcpy(copy, bytes, size);
	*room += size;
	return copy;
}

/* mpd_texts copies the texts of values that have been copied. */
static void
mpd_texts(char **room, ConcordValue *values, int n)
{
	for (int i = 0; values != NULL && i < n; i++)
		if (!values[i].isnull)
			values[i].text = mpd_bytes(room, values[i].text, values[i].len + 1);
}

/* concord_mapped_copy_to copies a result to where there is room for it. */
ConcordMapped *
concord_mapped_copy_to(const ConcordMapped *m, int nkeys, void *room)
{
	ConcordMapped *copy = room;
	char	   *rest = (char *) room + MAXALIGN(sizeof(ConcordMapped));
	Size		key_size = sizeof(ConcordValue) * nkeys;

	*copy = *m;
	copy->keys = mpd_bytes(&rest, m->keys, key_size);
	copy->old_keys = mpd_bytes(&rest, m->old_keys, key_size);
	copy->fields = mpd_bytes(&rest, m->fields, sizeof(ConcordValue) * m->nfields);
	mpd_texts(&rest, copy->keys, nkeys);
	mpd_texts(&rest, copy->old_keys, nkeys);
	mpd_texts(&rest, copy->fields, m->nfields);
	copy->skip = mpd_bytes(&rest, m->skip, sizeof(bool) * m->nfields);
	copy->local_key = mpd_bytes(&rest, m->local_key, mpd_text_size(m->local_key));
	copy->old_local_key = mpd_bytes(&rest, m->old_local_key,
									mpd_text_size(m->old_local_key));
	copy->ordering_key = mpd_bytes(&rest, m->ordering_key,
								   mpd_text_size(m->ordering_key));
	copy->route = mpd_bytes(&rest, m->route, mpd_text_size(m->route));
	copy->rule = mpd_bytes(&rest, m->rule, mpd_text_size(m->rule));
	copy->error = mpd_bytes(&rest, m->error, mpd_text_size(m->error));
	return copy;
}
