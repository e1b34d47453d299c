/*-------------------------------------------------------------------------
 *
 * children.c
 *	  What the answer to a create says of the rows that went along.
 *
 * Records that are addressed by our key need nothing of it.  Where the system
 * gives the ids, the array of the same name in the answer has them: under the
 * name that the connector knows ids by, beside the id of the record itself.  An
 * item belongs to the row at its place if it has what was sent of that row; where
 * the system has sorted them, to another that does; and where it changes values,
 * to the one at its place as long as there are as many.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/answer.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#define CHL_NAMES		16
/* Comparisons with items at other places, of one field's rows. */
#define CHL_MAX_LOOKS	100000

/* Where items stand in an answer. */
typedef struct ChlPlace
{
	const char *names[CHL_NAMES + 1];
	int			n;
} ChlPlace;

/* chl_names appends the parts of a path; false where they are too many. */
static bool
chl_names(ChlPlace *place, const char *path, char separator, bool last)
{
	char	   *copy = pstrdup(path);

	for (char *p = copy; p != NULL;)
	{
		char	   *next = strchr(p, separator);

		if (next == NULL && !last)
			return true;
		if (next != NULL)
			*next++ = '\0';
		if (place->n == CHL_NAMES - 2)
			return false;
		place->names[place->n++] = p;
		p = next;
	}
	return true;
}

/* chl_id_path gives the path of ids in answers to a mapping, or NULL. */
static const char *
chl_id_path(const ConcordExchange *exchange, const ConcordMapping *mapping)
{
	return mapping->options.remote_id_path ? mapping->options.remote_id_path :
		exchange->server->connector->remote_id_path;
}

/* chl_array goes to the array at a place in an answer; false: there is none. */
static bool
chl_array(const ConcordResponse *response, const ChlPlace *place,
		  ConcordJsonPlace *at)
{
	at->p = response->body;
	at->end = response->body + response->body_len;
	for (int i = 0; i < place->n; i++)
	{
		if (!concord_place_blank(at) ||
			(*at->p == '{' ? !concord_place_member(at, place->names[i]) :
			 *at->p == '[' ? !concord_place_element(at, place->names[i]) : true))
			return false;
	}
	return concord_place_blank(at) && *at->p == '[';
}

/* chl_find finds the array of a field's items; false: not in the answer. */
static bool
chl_find(const ConcordExchange *exchange, const ConcordResponse *response,
		 const ConcordField *field, ConcordJsonPlace *at)
{
	const char *path = chl_id_path(exchange, exchange->mapping);
	ChlPlace	place = {.n = 0};

	if (response->body == NULL ||
		(path != NULL && !chl_names(&place, path, '.', false)) ||
		!chl_names(&place, field->name, '/', true))
		return false;
	if (chl_array(response, &place, at))
		return true;
	place.names[place.n++] = "results"; /* OData 2 */
	return chl_array(response, &place, at);
}

/* chl_items goes once through an array; returns how many of max there are. */
static int
chl_items(ConcordJsonPlace at, ConcordResponse *items, int max)
{
	const char *p = at.p;
	const char *name;
	const char *value;
	Size		name_len;
	Size		len;
	int			n = 0;

	while (n < max && concord_answer_next(&p, at.end, &name, &name_len,
										  &value, &len))
	{
		items[n].body = unconstify(char *, value);
		items[n++].body_len = len;
	}
	return n;
}

/* chl_body writes what was sent of a row. */
static void
chl_body(const ConcordChildren *children, int row, StringInfo body)
{
	resetStringInfo(body);
	concord_body_write(children->mapping, children->rows[row],
					   CONCORD_BODY_CREATING |
					   (children->mapping->options.remote_id_assigned ? 0 :
						CONCORD_BODY_KEY), body);
}

/* chl_take reads id and tag of an item, which nobody else gets then. */
static void
chl_take(const ConcordExchange *exchange, const ConcordMapping *mapping,
		 ConcordResponse *item, ConcordChildLink *link)
{
	static const char *const tag[] = {"@odata.etag"};
	const char *path = chl_id_path(exchange, mapping);
	const char *name[1];

	link->etag = concord_answer_find(item, tag, 1);
	if (mapping->options.remote_id_assigned && path != NULL)
	{
		name[0] = strrchr(path, '.') ? strrchr(path, '.') + 1 : path;
		link->remote_id = concord_answer_find(item, name, 1);
	}
	item->body = NULL;
}

/*
 * chl_search finds the item that has what was sent of row i: at its place, or
 * elsewhere as long as *looks, which bounds the work for many rows, lasts; n
 * where there is none.
 */
static int
chl_search(const ConcordResponse *items, int n, int i, const StringInfo body,
		   int64 *looks)
{
	if (i < n && concord_answer_holds(&items[i], body->data, body->len))
		return i;
	for (int j = 0; j < n && *looks > 0; j++, (*looks)--)
	{
		if (concord_answer_holds(&items[j], body->data, body->len))
			return j;
	}
	return n;
}

/* chl_match gives each row the item that is its own. */
static void
chl_match(ConcordExchange *exchange, const ConcordResponse *response,
		  const ConcordChildren *children, ConcordChildLink *links)
{
	ConcordJsonPlace at;
	ConcordResponse *items;
	StringInfoData body;
	bool	   *done = palloc0(sizeof(bool) * children->n);
	int64		looks = CHL_MAX_LOOKS;
	int			n;

	if (!chl_find(exchange, response, children->field, &at))
		return;
	/* one more says that there are not as many */
	items = palloc0(sizeof(ConcordResponse) * (children->n + 1));
	n = chl_items(at, items, children->n + 1);
	initStringInfo(&body);
	for (int i = 0; i < children->n; i++)
	{
		int			found;

		CHECK_FOR_INTERRUPTS();
		chl_body(children, i, &body);
		found = chl_search(items, Min(n, children->n), i, &body, &looks);
		if (found == Min(n, children->n))
			continue;
		chl_take(exchange, children->mapping, &items[found], &links[i]);
		done[i] = true;
	}
	for (int i = 0; i < children->n && n == children->n; i++)
	{
		if (!done[i] && items[i].body != NULL)
			chl_take(exchange, children->mapping, &items[i], &links[i]);
	}
	pfree(items);
	pfree(done);
	pfree(body.data);
}

/* concord_children_answer reads what an answer says of rows that went along. */
void
concord_children_answer(ConcordExchange *exchange,
						const ConcordResponse *response)
{
	const ConcordMapped *mapped = exchange->mapped;

	if (mapped->nchildren == 0)
		return;
	exchange->children = palloc0(sizeof(ConcordChildLink *) * mapped->nchildren);
	for (int i = 0; i < mapped->nchildren; i++)
	{
		const ConcordChildren *children = &mapped->children[i];
		ConcordChildLink *links = palloc0(sizeof(ConcordChildLink) *
										  (children->n + 1));

		exchange->children[i] = links;
		if (children->n == 0)
			continue;
		chl_match(exchange, response, children, links);
		for (int j = 0; j < children->n; j++)
		{
			if (!children->mapping->options.remote_id_assigned)
				links[j].remote_id = concord_key_text(children->mapping,
													  children->rows[j]->keys);
		}
	}
}
