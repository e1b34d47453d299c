/*-------------------------------------------------------------------------
 *
 * tags.c
 *	  Versions (ETags) of records that a statement reads and is to write.
 *
 * A foreign table has no column for them, so a row carries a place: the block
 * of its ctid is the tag's number, the offset is the scan's.  A scan and the
 * writing of its rows are parts of one statement in one process; the tags go
 * with the scan.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/scan.h"

#include "storage/itemptr.h"
#include "utils/memutils.h"

#define TAG_SCANS	1024		/* that are written from, in one statement */

struct ConcordTags
{
	MemoryContextCallback callback;
	int			number;			/* of the scan */
	uint32		n;
	uint32		size;
	char	  **texts;
	MemoryContext context;
};

/* The scans of this process that are written from, by number. */
static struct ConcordTags *tag_scans[TAG_SCANS];

/* tag_forget takes a scan out; its memory goes by itself. */
static void
tag_forget(void *arg)
{
	struct ConcordTags *tags = arg;

	if (tag_scans[tags->number] == tags)
		tag_scans[tags->number] = NULL;
}

/* concord_tags_create makes room for the tags of a scan. */
struct ConcordTags *
concord_tags_create(void)
{
	struct ConcordTags *tags = palloc0(sizeof(struct ConcordTags));

	while (tags->number < TAG_SCANS && tag_scans[tags->number] != NULL)
		tags->number++;
	if (tags->number == TAG_SCANS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than %d foreign scans are written from at once",
						TAG_SCANS)));
	tags->context = CurrentMemoryContext;
	tags->callback.func = tag_forget;
	tags->callback.arg = tags;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &tags->callback);
	tag_scans[tags->number] = tags;
	return tags;
}

/* concord_tags_place keeps a tag (start NULL: none) and says where. */
void
concord_tags_place(struct ConcordTags *tags, ConcordSlice tag, ItemPointer place)
{
	MemoryContext old = MemoryContextSwitchTo(tags->context);
	char	   *text = NULL;

	if (concord_json_kind(tag) == CONCORD_JSON_STRING)
		text = concord_slice_text(tag);
	/* rows without a version, or with that of the row before, share a place */
	if (tags->n == 0 || (text == NULL) != (tags->texts[tags->n - 1] == NULL) ||
		(text != NULL && strcmp(text, tags->texts[tags->n - 1]) != 0))
	{
		if (tags->n == tags->size)
		{
			tags->size = tags->size == 0 ? 64 : tags->size * 2;
			tags->texts = tags->texts == NULL ?
				MemoryContextAllocHuge(tags->context, sizeof(char *) * tags->size) :
				repalloc_huge(tags->texts, sizeof(char *) * tags->size);
		}
		tags->texts[tags->n++] = text;
	}
	else if (text != NULL)
		pfree(text);
	MemoryContextSwitchTo(old);
	ItemPointerSet(place, tags->n - 1, tags->number + 1);
}

/* concord_tags_get returns the tag of a place, or NULL. */
const char *
concord_tags_get(ItemPointer place)
{
	uint32		n = ItemPointerGetBlockNumberNoCheck(place);
	int			number = ItemPointerGetOffsetNumberNoCheck(place) - 1;

	if (number < 0 || number >= TAG_SCANS || tag_scans[number] == NULL ||
		n >= tag_scans[number]->n)
		return NULL;
	return tag_scans[number]->texts[n];
}
