/*-------------------------------------------------------------------------
 *
 * agree.c
 *	  What is agreed after a record was applied, so that it is not sent back.
 *
 * A courier does not send an image that equals the one of the link.  Applying a
 * record makes an event of our table like any other; the image that the link
 * gets here is the row's as it is now, if that is what the system has: the
 * record says so, field by field, and of fields that it has not, the link did
 * before.  Where a trigger has changed a field that is sent, or a field of both
 * is another than theirs, the link has no image afterwards and the event is sent.
 *
 * A local change that was not delivered yet is in the row, too.  Its event is
 * older than ours and would send the record's fields as they were: the link's
 * snapshot (covered) says that ours has it.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "connector/protocols.h"
#include "delivery/delivery.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

/* What the evaluation of a batch works on. */
typedef struct AgrRun
{
	ConcordInbound *inbound;
	const ConcordEvent **events;
	int			n;
	ConcordMapped *mapped;
} AgrRun;

/* agr_run is the work of agr_evaluate. */
static void
agr_run(void *arg)
{
	AgrRun	   *run = arg;

	PushActiveSnapshot(GetLatestSnapshot());
	run->mapped = concord_mapping_evaluate(run->inbound->compiled, run->events, run->n,
										   CurrentMemoryContext);
	PopActiveSnapshot();
}

/* agr_evaluate says what would be sent of rows, before or after. */
static void
agr_evaluate(ConcordInbound *inbound, InbItem **items, int n, bool after)
{
	InbItem   **chosen = palloc(sizeof(InbItem *) * Max(n, 1));
	AgrRun		run = {inbound, palloc(sizeof(ConcordEvent *) * Max(n, 1))};

	for (int i = 0; i < n; i++)
	{
		ConcordEvent *event = after ? items[i]->after : items[i]->before;

		if (event == NULL)
			continue;
		chosen[run.n] = items[i];
		run.events[run.n++] = event;
	}
	if (run.n == 0)
		return;
	if (inbound->compiled == NULL)
		inbound->compiled = concord_mapping_compile(inbound->mapping, inbound->context);
	(void) concord_environment_dry_run(agr_run, &run);
	for (int i = 0; i < run.n; i++)
	{
		if (after)
			chosen[i]->is = &run.mapped[i];
		else
			chosen[i]->was = &run.mapped[i];
	}
}

/* agr_hash computes the hash of an image; false: it has none. */
static bool
agr_hash(ConcordInbound *inbound, const ConcordMapped *mapped, uint8 *hash)
{
	return mapped != NULL && mapped->verdict == CONCORD_SEND &&
		mapped->action == CONCORD_ACTION_UPSERT && !mapped->deleting &&
		concord_mapped_hash(inbound->mapping, mapped, hash);
}

/* concord_inbound_agree_before finds out of which rows something is still to be sent. */
void
concord_inbound_agree_before(ConcordInbound *inbound, InbItem **items, int n)
{
	agr_evaluate(inbound, items, n, false);
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];
		uint8		hash[sizeof(item->link.hash)];

		item->pending = !item->link.stored || !item->link.present ||
			!item->link.has_hash || !agr_hash(inbound, item->was, hash) ||
			memcmp(hash, item->link.hash, sizeof(hash)) != 0;
	}
}

/* agr_moment writes a time as one that can be compared: no zeros at its end, Z. */
static char *
agr_moment(const char *text)
{
	StringInfoData buf;
	const char *point = strchr(text, '.');
	Size		digits = point == NULL ? 0 : strspn(point + 1, "0123456789");
	const char *rest;

	initStringInfo(&buf);
	if (point == NULL)
	{
		Size		len = strcspn(text, "Z+");

		appendBinaryStringInfo(&buf, text, len);
		rest = text + len;
	}
	else
	{
		rest = point + 1 + digits;
		while (digits > 0 && point[digits] == '0')
			digits--;
		appendBinaryStringInfo(&buf, text, point - text + (digits > 0 ? digits + 1 : 0));
	}
	for (char *c = buf.data; *c; c++)
		if (*c == ' ')
			*c = 'T';
	if (strcmp(rest, "+00:00") == 0 || strcmp(rest, "+00") == 0)
		rest = "Z";
	appendStringInfoString(&buf, rest);
	return buf.data;
}

/* agr_number says whether two texts are the same number. */
static bool
agr_number(const char *a, const char *b)
{
	if (strlen(b) == 0 || strspn(b, "0123456789.eE+-") != strlen(b) ||
		strspn(b, "0123456789") == 0 || strlen(b) > 200)
		return strcmp(a, b) == 0;
	return DatumGetBool(DirectFunctionCall2(numeric_eq,
											DirectFunctionCall3(numeric_in, CStringGetDatum(a),
																ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)),
											DirectFunctionCall3(numeric_in, CStringGetDatum(b),
																ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

/* agr_is says whether a value that would be sent is what the record has. */
static bool
agr_is(const ConcordValue *value, ConcordSlice slice)
{
	StringInfoData buf;
	char	   *theirs;

	if (value->isnull || *slice.start == 'n')
		return value->isnull && *slice.start == 'n';
	if (*slice.start == '{' || *slice.start == '[')
	{
		Jsonb	   *ours;
		Jsonb	   *their;

		initStringInfo(&buf);
		concord_json_value(&buf, value->typid, value->text, value->len, false);
		ours = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
		their = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												   CStringGetDatum(pnstrdup(slice.start, slice.len))));
		return compareJsonbContainers(&ours->root, &their->root) == 0;
	}
	theirs = concord_inbound_member_text(slice);
	switch (value->typid)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return agr_number(value->text, theirs);
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return strcmp(agr_moment(concord_value_plain(value)), agr_moment(theirs)) == 0;
		default:
			return strcmp(concord_value_plain(value), theirs) == 0;
	}
}

/* agr_before says whether a field is as it was, and was what the system had. */
static bool
agr_before(InbItem *item, int field)
{
	const ConcordValue *was;
	const ConcordValue *is = &item->is->fields[field];

	if (item->pending || item->was == NULL || item->was->nfields != item->is->nfields)
		return false;
	was = &item->was->fields[field];
	return was->isnull == is->isnull &&
		(was->isnull || strcmp(was->text, is->text) == 0);
}

/* agr_agreed says whether the system has all that would be sent of a row. */
static bool
agr_agreed(ConcordInbound *inbound, InbItem *item)
{
	const ConcordMapping *mapping = inbound->mapping;
	const ConcordMapped *is = item->is;

	for (int i = 0; i < is->nfields; i++)
	{
		const ConcordField *field = list_nth(is->field_defs, i);
		int			want;

		if (!field->pushed || field->on == CONCORD_ON_CREATE)
			continue;
		if (is->skip != NULL && is->skip[i])
			return false;
		for (want = 0; want < list_length(mapping->fields); want++)
			if (list_nth(mapping->fields, want) == field)
				break;
		if (want < list_length(mapping->fields) && !item->stale && item->slices != NULL &&
			item->slices[want].start != NULL)
		{
			if (!agr_is(&is->fields[i], item->slices[want]))
				return false;
		}
		else if (!agr_before(item, i))
			return false;
	}
	return true;
}

/*
 * concord_inbound_agree_after decides what the links say of what the systems have, once all
 * rows are written.
 */
void
concord_inbound_agree_after(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **written = palloc(sizeof(InbItem *) * Max(n, 1));
	int			nwritten = 0;

	for (int i = 0; i < n; i++)
		if (items[i]->outcome == 'i' || items[i]->outcome == 'u')
			written[nwritten++] = items[i];
	concord_inbound_read(inbound, written, nwritten, false, true);
	agr_evaluate(inbound, written, nwritten, true);
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];
		bool		wrote = item->outcome == 'i' || item->outcome == 'u';

		if (!wrote)
			item->is = item->was;
		item->keep_hash = !wrote;
		if (item->is == NULL || item->outcome == 'd')
			continue;
		item->covers = item->outcome == 'u' && item->pending;
		if (agr_agreed(inbound, item))
			item->set_hash = agr_hash(inbound, item->is, item->new_hash);
		if (wrote || (item->set_hash && item->pending))
			item->relink = true;
	}
}
