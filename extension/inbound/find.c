/*-------------------------------------------------------------------------
 *
 * find.c
 *	  Which row a record is.
 *
 * By its link; by the key's fields, where they tell the local key or can be
 * compared with what the rows' expressions give; by the rules of option match,
 * in order.  What is none of them is a new row.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "utils/builtins.h"

/* fnd_park leaves a record to a person. */
static void
fnd_park(InbItem *item, const char *rule, char *why)
{
	item->rule = rule;
	item->why = why;
}

/* fnd_linked takes the keys of links that were found by their ids. */
static void
fnd_linked(ConcordInbound *inbound, InbItem **items, int n)
{
	concord_inbound_links_by_id(inbound, items, n);
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (!item->by_link)
			continue;
		item->local_key = item->link.local_key;
		concord_inbound_key_datums(inbound, item->local_key, item->key);
		item->keyed = true;
	}
}

/* fnd_open collects the records whose row is not known yet. */
static int
fnd_open(InbItem **items, int n, int want, InbItem **left)
{
	int			nleft = 0;

	for (int i = 0; i < n; i++)
	{
		if (!items[i]->keyed && items[i]->why == NULL &&
			(want < 0 ? items[i]->remote_id != NULL : items[i]->slices != NULL))
			left[nleft++] = items[i];
	}
	return nleft;
}

/* fnd_take takes over what a rule has found. */
static void
fnd_take(ConcordInbound *inbound, InbItem **items, int n, const char *rule)
{
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (item->nfound > 1)
			fnd_park(item, "ambiguous",
					 psprintf("%d rows may be this record by %s", item->nfound, rule));
		if (item->nfound != 1)
			continue;
		item->local_key = concord_inbound_local_key(inbound, item->key);
		item->keyed = true;
		item->rule = rule;
	}
}

/* fnd_matched tries the rules of option match. */
static void
fnd_matched(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **left = palloc(sizeof(InbItem *) * n);

	for (int r = 0; r < list_length(inbound->matches); r++)
	{
		const ConcordMatchRule *rule = list_nth(inbound->mapping->options.match, r);
		int			nleft = fnd_open(items, n, 0, left);

		concord_inbound_rows_of(inbound, list_nth(inbound->matches, r),
								rule->expression != NULL ? -1 : inbound->match_wants + r,
								left, nleft);
		fnd_take(inbound, left, nleft,
				 rule->name != NULL ? rule->name : psprintf("rule %d", r + 1));
	}
}

/*
 * fnd_other: the row is another record's already.  Of two records that are one
 * row by a rule neither is dropped in silence.
 */
static void
fnd_other(ConcordInbound *inbound, InbItem *item)
{
	if (!item->link.stored || !item->link.present || item->link.remote_id == NULL)
		return;
	if (item->remote_id != NULL && inbound->assigned &&
		strcmp(item->remote_id, item->link.remote_id) != 0)
		fnd_park(item, "duplicate",
				 psprintf("row %s is linked with the id %s already",
						  JsonbToCString(NULL, &item->local_key->root, VARSIZE(item->local_key)),
						  item->link.remote_id));
	else
		item->remote_id = item->link.remote_id;
}

/* fnd_order says what the link tells of the record's place in time. */
static void
fnd_order(ConcordInbound *inbound, InbItem *item)
{
	const ConcordInboundRecord *record = item->record;
	const InbLink *link = &item->link;

	if (!link->stored)
		return;
	item->outdated = record->remote_changed != 0 && link->has_remote_changed &&
		record->remote_changed < link->remote_changed;
	item->stale = inbound->sends && record->read_at != 0 && link->seq > 0 &&
		link->changed_at >= record->read_at &&
		(record->etag == NULL || link->etag == NULL ||
		 strcmp(record->etag, link->etag) != 0);
}

/* concord_inbound_find finds the rows' keys and links of a batch. */
void
concord_inbound_find(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **left = palloc(sizeof(InbItem *) * n);

	if (inbound->assigned)
		fnd_linked(inbound, items, n);
	if (inbound->by_key != NULL)
	{
		int			nleft = fnd_open(items, n, -1, left);

		concord_inbound_rows_of(inbound, inbound->by_key, -1, left, nleft);
		fnd_take(inbound, left, nleft, "the mapping's key");
	}
	fnd_matched(inbound, items, n);
	concord_inbound_links_by_key(inbound, items, n);
	for (int i = 0; i < n; i++)
	{
		if (items[i]->keyed)
			fnd_other(inbound, items[i]);
		fnd_order(inbound, items[i]);
	}
}
