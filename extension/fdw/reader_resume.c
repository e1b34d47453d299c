/*-------------------------------------------------------------------------
 *
 * reader_resume.c
 *	  Lists that are read in several parts, and what their pages tell.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/reader_private.h"

#include "common/hashfn.h"
#include "live/failure.h"
#include "utils/memutils.h"

/* concord_reader_told gives the address that query->tell names. */
const char *
concord_reader_told(const ConcordReader *reader)
{
	return reader->told;
}

/* concord_reader_gone: the list has ended with status 410. */
bool
concord_reader_gone(const ConcordReader *reader)
{
	return reader->gone;
}

/* concord_reader_page_ended: the record given was the last of its page. */
bool
concord_reader_page_ended(const ConcordReader *reader)
{
	return reader->open && concord_page_ended(&reader->page);
}

/* concord_reader_circles raises. */
void
concord_reader_circles(const ConcordReader *reader)
{
	ereport(ERROR,
			(errcode(CONCORD_ERRCODE_MALFORMED),
			 errmsg("the list of foreign table \"%s\" goes round in circles",
					reader->table->relname),
			 errdetail("The address of the next page was read before.")));
}

/* concord_reader_mark gives what to go on with after a page. */
char *
concord_reader_mark(ConcordReader *reader)
{
	RdrTrail   *trail = &reader->trail;
	uint64		hash;

	if (concord_reader_page_ended(reader))
		concord_reader_close(reader);
	if (reader->url == NULL)
		return NULL;
	hash = hash_bytes_extended((unsigned char *) reader->url,
							   strlen(reader->url), 0);
	if (hash == trail->anchor)
		concord_reader_circles(reader);
	if (trail->steps++ == trail->limit)
	{
		trail->anchor = hash;
		trail->limit = trail->limit * 2 + 1;
		trail->steps = 0;
	}
	return psprintf("%d " INT64_FORMAT " " UINT64_FORMAT " " UINT64_FORMAT " %u %u %s",
					reader->number, reader->taken, reader->before,
					trail->anchor, trail->steps, trail->limit, reader->url);
}

/* concord_reader_resume goes on where a mark was made. */
void
concord_reader_resume(ConcordReader *reader, const ConcordQuery *query,
					  const char *mark)
{
	RdrTrail	trail;
	int			number;
	int64		taken;
	uint64		before;
	int			url = 0;

	if (sscanf(mark, "%d " INT64_FORMAT " " UINT64_FORMAT " " UINT64_FORMAT " %u %u %n",
			   &number, &taken, &before, &trail.anchor, &trail.steps,
			   &trail.limit, &url) != 6 || url == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the place at which a list goes on cannot be read")));
	concord_reader_start(reader, query);
	reader->number = number;
	reader->taken = reader->offset = taken;
	reader->before = before;
	reader->trail = trail;
	reader->url = MemoryContextStrdup(reader->list, mark + url);
}
