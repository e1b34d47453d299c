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
#include "connector/protocols.h"

#include "utils/memutils.h"

#define CHL_NAMES		16

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

/* chl_item gives an item of an answer as JSON, or NULL. */
static char *
chl_item(const ConcordResponse *response, ChlPlace place, int i)
{
	place.names[place.n] = psprintf("%d", i);
	return concord_answer_find(response, place.names, place.n + 1);
}

/* chl_place finds where the items of a field are; false: not in the answer. */
static bool
chl_place(const ConcordExchange *exchange, const ConcordResponse *response,
		  const ConcordField *field, ChlPlace *place)
{
	const char *path = chl_id_path(exchange, exchange->mapping);

	place->n = 0;
	if (path != NULL && !chl_names(place, path, '.', false))
		return false;
	if (!chl_names(place, field->name, '/', true))
		return false;
	if (chl_item(response, *place, 0) != NULL)
		return true;
	place->names[place->n++] = "results";	/* OData 2 */
	return chl_item(response, *place, 0) != NULL;
}

/* chl_holds says whether an item has what was sent of a row. */
static bool
chl_holds(const ConcordChildren *children, int row, const char *item)
{
	ConcordResponse response = {0};
	StringInfoData body;
	bool		holds;

	response.body = unconstify(char *, item);
	response.body_len = strlen(item);
	initStringInfo(&body);
	concord_body_write(children->mapping, children->rows[row],
					   CONCORD_BODY_CREATING |
					   (children->mapping->options.remote_id_assigned ? 0 :
						CONCORD_BODY_KEY), &body);
	holds = concord_answer_holds(&response, body.data, body.len);
	pfree(body.data);
	return holds;
}

/* chl_take reads id and tag of an item. */
static void
chl_take(const ConcordExchange *exchange, const ConcordMapping *mapping,
		 const char *item, ConcordChildLink *link)
{
	static const char *const tag[] = {"@odata.etag"};
	const char *path = chl_id_path(exchange, mapping);
	const char *name[1];
	ConcordResponse response = {0};

	response.body = unconstify(char *, item);
	response.body_len = strlen(item);
	link->etag = concord_answer_find(&response, tag, 1);
	if (!mapping->options.remote_id_assigned || path == NULL)
		return;
	name[0] = strrchr(path, '.') ? strrchr(path, '.') + 1 : path;
	link->remote_id = concord_answer_find(&response, name, 1);
}

/* chl_match gives each row the item that is its own. */
static void
chl_match(ConcordExchange *exchange, const ConcordResponse *response,
		  const ConcordChildren *children, ConcordChildLink *links)
{
	ChlPlace	place;
	char	  **items = palloc0(sizeof(char *) * (children->n + 1));
	bool	   *done = palloc0(sizeof(bool) * (children->n + 1));
	int			n = 0;

	if (!chl_place(exchange, response, children->field, &place))
		return;
	while (n <= children->n && (items[n] = chl_item(response, place, n)) != NULL)
		n++;
	for (int i = 0; i < children->n; i++)
	{
		int			j = i;

		if (i >= n || items[i] == NULL || !chl_holds(children, i, items[i]))
			for (j = 0; j < Min(n, children->n); j++)
				if (items[j] != NULL && chl_holds(children, i, items[j]))
					break;
		if (j >= Min(n, children->n) || items[j] == NULL)
			continue;
		chl_take(exchange, children->mapping, items[j], &links[i]);
		done[i] = true;
		items[j] = NULL;
	}
	for (int i = 0; i < children->n && n == children->n; i++)
	{
		if (!done[i] && items[i] != NULL)
			chl_take(exchange, children->mapping, items[i], &links[i]);
	}
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
