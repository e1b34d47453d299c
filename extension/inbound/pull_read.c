/*-------------------------------------------------------------------------
 *
 * pull_read.c
 *	  A part of a pull's list, read into memory.
 *
 * Nothing is written here, and no table read: whoever waits for a system holds
 * neither a snapshot nor locks.  A part is some pages, at least one.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/pull.h"

#include "base/settings.h"
#include "connector/receiving.h"
#include "fdw/json.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PLR_PART		2000	/* records after which a part ends, at the end
								 * of a page */
#define PLR_PART_BYTES	(16 * 1024 * 1024)	/* or bytes of them */
#define PLR_FIRST		256		/* records that there is place for at first */

/* plr_since gives the parameters of the run's list. */
static char *
plr_since(const ConcordPull *pull)
{
	int			overlap = pull->options->overlap_ms >= 0 ?
		pull->options->overlap_ms : pull->pulling->overlap_ms;
	TimestampTz at = pull->state.changed_to - overlap * INT64CONST(1000);
	const ConcordConnector *connector = pull->connector;

	if (pull->state.run == CONCORD_RUN_SINCE)
		return concord_pulling_since(connector, pull->changed, &at);
	return "";
}

/* plr_start has the reader begin the run's list, or go on with it. */
static void
plr_start(ConcordPull *pull)
{
	ConcordQuery *query = &pull->query;
	const ConcordReading *reading =
		concord_connector_reading(pull->peer->server->connector);

	memset(query, 0, sizeof(*query));
	query->limit = -1;
	query->gone_ends = pull->state.run == CONCORD_RUN_DELTA;
	query->tell = pull->state.method == CONCORD_PULL_DELTA ?
		pull->pulling->link : NULL;
	if (pull->state.run == CONCORD_RUN_DELTA)
		query->url = pull->state.link;
	else
	{
		query->url = concord_reader_url(pull->peer->server, &pull->table,
										reading->path);
		query->query = plr_since(pull);
		if (query->tell != NULL)
			query->prefer = pull->pulling->prefer;
	}
	if (pull->state.position != NULL)
		concord_reader_resume(pull->reader, query, pull->state.position);
	else
		concord_reader_start(pull->reader, query);
}

/* plr_text gives a member of a record as text, in the server's encoding. */
static char *
plr_text(ConcordSlice record, const char *path)
{
	ConcordSlice slice = concord_json_find(record, path);

	if (slice.start == NULL || concord_json_kind(slice) == CONCORD_JSON_NULL)
		return NULL;
	return concord_slice_text(slice);
}

/* plr_removed says whether a record is word of one that is gone. */
static bool
plr_removed(ConcordSlice record)
{
	char	   *context;

	if (concord_json_find(record, "@removed").start != NULL ||
		concord_json_find(record, "@odata.removed").start != NULL)
		return true;
	context = plr_text(record, "@odata.context");
	return context != NULL && strlen(context) > 14 &&
		strcmp(context + strlen(context) - 15, "/$deletedEntity") == 0;
}

/*
 * plr_removed_id gives the id of a record that is gone: what stands in the
 * parentheses of its address, or all of it.
 */
static char *
plr_removed_id(ConcordSlice record)
{
	static const char *const members[] = {"@id", "@odata.id", "id"};

	for (int i = 0; i < lengthof(members); i++)
	{
		char	   *id = plr_text(record, members[i]);
		char	   *open = id == NULL ? NULL : strrchr(id, '(');
		Size		len = id == NULL ? 0 : strlen(id);

		if (id == NULL)
			continue;
		if (open == NULL || id[len - 1] != ')')
			return id;
		id[len - 1] = '\0';
		open++;
		len = strlen(open);
		if (len > 1 && *open == '\'' && open[len - 1] == '\'')
		{
			open[len - 1] = '\0';
			open++;
		}
		return open;
	}
	return NULL;
}

/* concord_pulled_etag gives the version that a record tells. */
char *
concord_pulled_etag(ConcordSlice record)
{
	char	   *etag = plr_text(record, "@odata.etag");

	return etag != NULL ? etag : plr_text(record, "__metadata.etag");
}

/* concord_pulled_changed reads when a record was changed. */
bool
concord_pulled_changed(ConcordSlice record, const char *path, TimestampTz *at)
{
	char	   *when = path == NULL ? NULL : plr_text(record, path);

	*at = 0;
	if (when != NULL && concord_remote_time(when, at))
		return true;
	*at = 0;
	return false;
}

/* plr_next gives the place of the next record. */
static ConcordInboundRecord *
plr_next(ConcordPull *pull)
{
	ConcordInboundRecord *record;

	if (pull->n == pull->places)
	{
		pull->places = pull->places == 0 ? PLR_FIRST : pull->places * 2;
		pull->records = pull->records == NULL ?
			palloc(sizeof(ConcordInboundRecord) * pull->places) :
			repalloc(pull->records, sizeof(ConcordInboundRecord) * pull->places);
	}
	record = &pull->records[pull->n++];
	memset(record, 0, sizeof(*record));
	return record;
}

/* plr_take makes a record of what the reader gave. */
static void
plr_take(ConcordPull *pull, ConcordSlice slice, TimestampTz read_at)
{
	MemoryContext old = MemoryContextSwitchTo(pull->part);
	ConcordInboundRecord *record = plr_next(pull);

	record->op = plr_removed(slice) ? CONCORD_INBOUND_DELETE :
		CONCORD_INBOUND_UPSERT;
	record->record = pg_any_to_server(pnstrdup(slice.start, slice.len),
									  (int) slice.len, PG_UTF8);
	record->etag = concord_pulled_etag(slice);
	record->read_at = read_at;
	if (record->op == CONCORD_INBOUND_DELETE)
		record->remote_id = plr_removed_id(slice);
	else if (concord_pulled_changed(slice, pull->changed,
									&record->remote_changed))
		pull->state.run_changed_to = Max(pull->state.run_changed_to,
										 record->remote_changed);
	pull->bytes += slice.len;
	MemoryContextSwitchTo(old);
}

/* plr_copy keeps a text that is the reader's. */
static char *
plr_copy(const ConcordPull *pull, const char *text)
{
	return text == NULL ? NULL : MemoryContextStrdup(pull->context, text);
}

/* concord_pull_read reads the next part of the run's list. */
void
concord_pull_read(ConcordPull *pull)
{
	MemoryContext old = MemoryContextSwitchTo(pull->part);
	int			page = 0;
	TimestampTz read_at = 0;

	pull->ended = pull->gone = false;
	pull->told = pull->mark = NULL;
	pull->reader = concord_reader_create(&pull->table, pull->peer);
	plr_start(pull);
	for (;;)
	{
		TimestampTz before = GetCurrentTimestamp();
		ConcordSlice slice;
		int			page_before = page;

		if ((pull->n >= PLR_PART || pull->bytes >= PLR_PART_BYTES) &&
			concord_reader_page_ended(pull->reader))
		{
			pull->mark = plr_copy(pull, concord_reader_mark(pull->reader));
			pull->ended = pull->mark == NULL;
			break;
		}
		if (!concord_reader_next(pull->reader, &slice, &page))
		{
			pull->ended = true;
			break;
		}
		if (page != page_before)
			read_at = before;
		plr_take(pull, slice, read_at);
		CHECK_FOR_INTERRUPTS();
	}
	pull->gone = concord_reader_gone(pull->reader);
	pull->told = plr_copy(pull, concord_reader_told(pull->reader));
	concord_reader_stop(pull->reader);
	pull->reader = NULL;
	MemoryContextSwitchTo(old);
}
