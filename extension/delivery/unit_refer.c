/*-------------------------------------------------------------------------
 *
 * unit_refer.c
 *	  Records of one transaction that refer to each other, where the system
 *	  gives the ids.
 *
 * remote_id() of a record that the same unit is to create has no value yet.  Its
 * delivery is mapped once more, with a mark in place of the id: a text that
 * nothing else has.  When the change set is packed, a mark becomes what the
 * connector's form says an earlier item by ("reference"), or the id, where a
 * look has found that record meanwhile.  Who is referred to goes first.
 *
 * Where the form has no such thing, or an expression does more with the id than
 * to pass it on, none of the transaction can be sent: it would wait for itself.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "connector/batch.h"
#include "delivery/group.h"
#include "delivery/unit.h"
#include "utils/memutils.h"

#define REF_PREFIX	"concordref"
#define REF_LENGTH	(sizeof(REF_PREFIX) - 1 + 32)

/* ref_creates: the delivery will create a record. */
static bool
ref_creates(const ConcordDelivery *d)
{
	const ConcordMapped *m = d->mapped;

	return d->state == CONCORD_DELIVERY_QUEUED && m->verdict == CONCORD_SEND &&
		m->action == CONCORD_ACTION_UPSERT && !m->deleting &&
		m->local_key != NULL && !(d->link_stored && d->link.exists);
}

/* ref_mark makes the mark of a delivery. */
static void
ref_mark(ConcordDelivery *d)
{
	uint64		random[2];

	if (d->mark != NULL)
		return;
	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	d->mark = MemoryContextStrdup(concord_delivery_memory(d),
								  psprintf(REF_PREFIX "%016llx%016llx",
										   (unsigned long long) random[0],
										   (unsigned long long) random[1]));
}

/* ref_known lists the records that n deliveries are to create. */
static List *
ref_known(ConcordDelivery **ds, int n)
{
	List	   *known = NIL;

	for (int i = 0; i < n; i++)
	{
		ConcordReference *reference;

		if (!ref_creates(ds[i]))
			continue;
		ref_mark(ds[i]);
		reference = palloc(sizeof(ConcordReference));
		reference->mapping = ds[i]->lane->id;
		reference->local_key = ds[i]->mapped->local_key;
		reference->mark = ds[i]->mark;
		known = lappend(known, reference);
	}
	return known;
}

/* ref_can: a form of the connector's says references. */
static bool
ref_can(const ConcordConnector *connector)
{
	ListCell   *lc;

	foreach(lc, connector->batches)
	{
		const ConcordBatchForm *form = ((const ConcordBatchForm *) lfirst(lc))->unit;

		if (form != NULL && form->reference != NULL)
			return true;
	}
	return false;
}

/* ref_one maps one of n deliveries, which waits, with marks. */
static ConcordRefer
ref_one(ConcordCourier *courier, ConcordDelivery *d, ConcordDelivery **ds, int n)
{
	const ConcordConnector *connector = d->lane->own.access->server->connector;
	List	   *known = ref_known(ds, n);
	const char *why = NULL;

	if (known == NIL)
		return CONCORD_REFER_WAITS;
	if (!concord_map_again(courier, d, known))
		return CONCORD_REFER_LATER;
	if (d->mapped->verdict == CONCORD_WAIT)
		return CONCORD_REFER_WAITS;
	if (d->mapped->verdict == CONCORD_FAIL)
		why = psprintf("it refers to a record that the same transaction creates, whose id is not known before: %s",
					   d->mapped->error);
	else if (!ref_can(connector))
		why = psprintf("it refers to a record that the same transaction creates, whose id the system gives, and connector \"%s\" cannot say that in a change set",
					   connector->name);
	if (why == NULL)
		return CONCORD_REFER_MAPPED;
	concord_unit_die(courier, ds, n, d, true, "reference", why);
	return CONCORD_REFER_ENDED;
}

ConcordRefer
concord_unit_refer(ConcordCourier *courier, ConcordDelivery **ds, int n)
{
	bool		waits;
	bool		any;

	do
	{
		waits = any = false;
		for (int i = 0; i < n; i++)
		{
			ConcordRefer refer;

			if (ds[i]->mapped->verdict != CONCORD_WAIT)
				continue;
			refer = ref_one(courier, ds[i], ds, n);
			if (refer == CONCORD_REFER_LATER || refer == CONCORD_REFER_ENDED)
				return refer;
			waits |= refer == CONCORD_REFER_WAITS;
			any |= refer == CONCORD_REFER_MAPPED;
		}
	} while (waits && any);
	if (waits)
		return CONCORD_REFER_WAITS;
	/* of a record that waited more than once only the last image goes */
	for (int i = 0; i < n; i++)
	{
		if (ds[i]->refers && ds[i]->state == CONCORD_DELIVERY_QUEUED)
			concord_coalesce(courier, ds[i]);
	}
	return CONCORD_REFER_MAPPED;
}

/* ---------------------------------------------------------------------
 * packing
 * ------------------------------------------------------------------- */

/* ref_find finds the member of a unit whose mark stands at a place, or -1. */
static int
ref_find(ConcordDelivery **members, int n, const char *at)
{
	for (int i = 0; i < n; i++)
		if (members[i]->mark != NULL &&
			memcmp(members[i]->mark, at, REF_LENGTH) == 0)
			return i;
	return -1;
}

/* ref_next finds the next thing that looks like a mark, or NULL. */
static const char *
ref_next(const char *text, const char *end)
{
	for (; end - text >= (ptrdiff_t) REF_LENGTH; text++)
	{
		text = memchr(text, REF_PREFIX[0], end - text);
		if (text == NULL || end - text < (ptrdiff_t) REF_LENGTH)
			return NULL;
		if (memcmp(text, REF_PREFIX, sizeof(REF_PREFIX) - 1) == 0)
			return text;
	}
	return NULL;
}

/* ref_free: it refers to none of the items from one on. */
static bool
ref_free(ConcordDelivery **members, const ConcordBatchItem *item,
		 const int *places, int from, int nitems, int self)
{
	const char *end = item->request->body + item->request->body_len;
	const char *at = item->request->body;

	while (at != NULL && (at = ref_next(at, end)) != NULL)
	{
		for (int j = from; j < nitems; j++)
			if (j != self && ref_find(&members[places[j]], 1, at) == 0)
				return false;
		at += REF_LENGTH;
	}
	return true;
}

bool
concord_unit_refer_order(ConcordDelivery **members, ConcordBatchItem *items,
						 int *places, int nitems)
{
	for (int i = 0; i < nitems; i++)
	{
		ConcordBatchItem item;
		int			place;
		int			j = i;

		while (j < nitems && members[places[j]]->refers &&
			   !ref_free(members, &items[j], places, i, nitems, j))
			j++;
		if (j == nitems)
			return false;		/* a circle */
		item = items[j];
		place = places[j];
		memmove(&items[i + 1], &items[i], sizeof(ConcordBatchItem) * (j - i));
		memmove(&places[i + 1], &places[i], sizeof(int) * (j - i));
		items[i] = item;
		places[i] = place;
	}
	return true;
}

/*
 * ref_id gives an id as it stands within a JSON text, in UTF-8 as bodies are: a
 * system may give any text as an id.
 */
static const char *
ref_id(const char *id)
{
	StringInfoData buf;

	if (id == NULL)
		return NULL;
	initStringInfo(&buf);
	concord_json_string(&buf, id, strlen(id));
	return pnstrdup(buf.data + 1, buf.len - 2);
}

/*
 * ref_value writes what a mark of a member stands for; NULL: nothing does.  An
 * item that updates what a look has found need not answer with the id.
 */
static const char *
ref_value(const ConcordBatchForm *form, ConcordDelivery **members, int member,
		  const int *places, int nitems)
{
	const ConcordDelivery *d = members[member];
	const ConcordExchange *x = d->exchange;
	const char *id = x != NULL && x->remote_id != NULL ? x->remote_id :
		d->link.remote_id;

	if (id != NULL && x != NULL && x->verb == CONCORD_VERB_UPDATE)
		return ref_id(id);
	for (int j = 0; j < nitems; j++)
		if (places[j] == member)
			return concord_batch_reference(form, j);
	return ref_id(id);
}

bool
concord_unit_refer_write(const ConcordBatchForm *form, ConcordDelivery **members,
						 int n, const int *places, int nitems,
						 const ConcordRequest *request, StringInfo buf)
{
	const char *text = request->body;
	const char *end = text + request->body_len;
	const char *at;

	if (ref_next(request->url, request->url + strlen(request->url)) != NULL)
		return false;			/* an address has to be known */
	while ((at = ref_next(text, end)) != NULL)
	{
		int			member = ref_find(members, n, at);
		const char *value = member < 0 ? NULL :
			ref_value(form, members, member, places, nitems);

		if (member >= 0 && value == NULL)
			return false;
		appendBinaryStringInfo(buf, text, at - text);
		if (member < 0)
			appendBinaryStringInfo(buf, at, REF_LENGTH);
		else
			appendStringInfoString(buf, value);
		text = at + REF_LENGTH;
	}
	appendBinaryStringInfo(buf, text, end - text);
	return true;
}
