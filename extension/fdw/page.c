/*-------------------------------------------------------------------------
 *
 * page.c
 *	  A page: the records of one answer, and the columns' values in them.
 *
 * Values are not converted here, only found.  What is looked for is a tree of
 * the columns' paths.  A system writes the members of each record in the same
 * order, so a member is first compared with the one that came at this place in
 * the record before; only where that is another one all are looked through.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/page.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#define PGE_PLACES	256			/* of members that are remembered */

/* What is looked for in an object or array. */
struct ConcordPick
{
	const char *name;			/* of the member that leads here */
	Size		len;
	int			nslices;		/* of the columns that are this value */
	int		   *slices;
	int			nchildren;
	struct ConcordPick **children;
	int			nplaces;		/* what came where in the record before */
	int			places[PGE_PLACES]; /* child; -1: none that is looked for */
	ConcordSlice names[PGE_PLACES];
	int			nall;			/* of the root: how many slices there are */
};

/* concord_slice_text makes a text of a value. */
char *
concord_slice_text(ConcordSlice slice)
{
	StringInfoData buf;

	if (concord_json_kind(slice) != CONCORD_JSON_STRING)
		return pg_any_to_server(pnstrdup(slice.start, slice.len), slice.len,
								PG_UTF8);
	initStringInfo(&buf);
	if (!concord_json_content(slice, &buf))
		return NULL;
	return pg_any_to_server(buf.data, buf.len, PG_UTF8);
}

/* pge_only returns the only array among an object's members. */
static const char *
pge_only(ConcordSlice object, ConcordSlice *array)
{
	const char *p = object.start + 1;
	ConcordSlice name;
	ConcordSlice value;

	array->start = NULL;
	while (concord_json_next_member(&p, &name, &value))
	{
		if (*value.start != '[')
			continue;
		/* OData 2 */
		if (concord_json_same(name, "results", 7))
		{
			*array = value;
			return NULL;
		}
		if (array->start != NULL)
			return "it has several arrays: option \"items\" says which is the list";
		*array = value;
	}
	return array->start == NULL ? "it has no array" : NULL;
}

/* concord_page_open finds the list in a body that is JSON. */
const char *
concord_page_open(ConcordPage *page, const char *body, Size len,
				  const char *items)
{
	ConcordSlice at;
	const char *why;

	while (*body == ' ' || *body == '\n' || *body == '\r' || *body == '\t')
	{
		body++;
		len--;
	}
	page->body.start = body;
	page->body.len = len;
	page->at = NULL;
	page->one.start = NULL;
	at = page->body;
	if (items != NULL && strcmp(items, ".") != 0)
		at = concord_json_find(at, items);
	if (at.start == NULL)
		return psprintf("it has no member \"%s\"", items);
	if (*at.start == '{')
	{
		ConcordSlice array;

		why = pge_only(at, &array);
		if (why != NULL)
			return why;
		at = array;
	}
	if (*at.start != '[')
		return items != NULL ? psprintf("its member \"%s\" is no array", items) :
			"it is no array";
	page->at = at.start + 1;
	return NULL;
}

/* concord_page_ended says whether all records were taken. */
bool
concord_page_ended(const ConcordPage *page)
{
	if (page->one.start != NULL)
		return false;
	return page->at == NULL || page->at[strspn(page->at, " \t\r\n")] == ']';
}

/* concord_page_count says how many records are left. */
int64
concord_page_count(const ConcordPage *page)
{
	ConcordPage rest = *page;
	ConcordSlice record;
	int64		n = 0;

	while (concord_page_next(&rest, &record))
	{
		CHECK_FOR_INTERRUPTS();
		n++;
	}
	return n;
}

/* concord_page_next gives one record after the other. */
bool
concord_page_next(ConcordPage *page, ConcordSlice *record)
{
	if (page->one.start != NULL)
	{
		*record = page->one;
		page->one.start = NULL;
		return true;
	}
	if (page->at == NULL)
		return false;
	if (concord_json_next_element(&page->at, record))
		return true;
	page->at = NULL;
	return false;
}

/* pge_child returns the child of a name, which is made where there is none. */
static ConcordPick *
pge_child(ConcordPick *pick, const char *name, Size len)
{
	ConcordPick *child;

	for (int i = 0; i < pick->nchildren; i++)
	{
		child = pick->children[i];
		if (child->len == len && memcmp(child->name, name, len) == 0)
			return child;
	}
	child = palloc0(sizeof(ConcordPick));
	child->name = pnstrdup(name, len);
	child->len = len;
	pick->children = pick->children == NULL ? palloc(sizeof(void *)) :
		repalloc(pick->children, sizeof(void *) * (pick->nchildren + 1));
	pick->children[pick->nchildren++] = child;
	return child;
}

/* pge_slice notes that a column is this value. */
static void
pge_slice(ConcordPick *pick, int slice)
{
	pick->slices = pick->slices == NULL ? palloc(sizeof(int)) :
		repalloc(pick->slices, sizeof(int) * (pick->nslices + 1));
	pick->slices[pick->nslices++] = slice;
}

/* concord_pick_create makes the tree. */
ConcordPick *
concord_pick_create(const ConcordForeignTable *table, const bool *wanted,
					bool etag)
{
	ConcordPick *root = palloc0(sizeof(ConcordPick));

	root->nall = table->ncolumns + 1;
	for (int i = 0; i < table->ncolumns; i++)
	{
		const ConcordForeignColumn *column = &table->columns[i];
		ConcordPick *pick = root;

		if (!wanted[i])
			continue;
		for (int k = 0; k < column->npath; k++)
			pick = pge_child(pick, column->path[k], column->path_len[k]);
		pge_slice(pick, i);
	}
	if (etag)
	{
		pge_slice(pge_child(root, "@odata.etag", 11), table->ncolumns);
		pge_slice(pge_child(root, "@etag", 5), table->ncolumns);
		pge_slice(pge_child(pge_child(root, "__metadata", 10), "etag", 4),
				  table->ncolumns);
	}
	return root;
}

static void pge_walk(ConcordPick *pick, ConcordSlice value,
					 ConcordSlice *slices);

/* pge_search looks through all that is looked for; returns which, or -1. */
static int
pge_search(const ConcordPick *pick, ConcordSlice name)
{
	for (int i = 0; i < pick->nchildren; i++)
	{
		if (concord_json_same(name, pick->children[i]->name,
							  pick->children[i]->len))
			return i;
	}
	return -1;
}

/*
 * pge_which returns which child a member is, or -1.  Names that are remembered
 * point into the record before, which is in the same page: a new page begins
 * with nothing remembered.
 */
static inline int
pge_which(ConcordPick *pick, int place, ConcordSlice name)
{
	int			which;

	if (place < pick->nplaces && pick->names[place].len == name.len &&
		memcmp(pick->names[place].start, name.start, name.len) == 0)
		return pick->places[place];
	which = pge_search(pick, name);
	if (place < PGE_PLACES && place <= pick->nplaces)
	{
		pick->names[place] = name;
		pick->places[place] = which;
		pick->nplaces = Max(pick->nplaces, place + 1);
	}
	return which;
}

/* pge_object looks through the members of an object. */
static void
pge_object(ConcordPick *pick, ConcordSlice object, ConcordSlice *slices)
{
	const char *p = object.start + 1;
	ConcordSlice name;
	ConcordSlice value;
	int			place = 0;

	while (concord_json_next_member(&p, &name, &value))
	{
		int			which = pge_which(pick, place++, name);

		if (which >= 0)
			pge_walk(pick->children[which], value, slices);
	}
}

/* pge_array looks at the elements that are named by their numbers. */
static void
pge_array(ConcordPick *pick, ConcordSlice array, ConcordSlice *slices)
{
	const char *p = array.start + 1;
	ConcordSlice value;
	int			n = 0;

	while (concord_json_next_element(&p, &value))
	{
		char		number[16];
		int			len = snprintf(number, sizeof(number), "%d", n++);

		for (int i = 0; i < pick->nchildren; i++)
		{
			if (pick->children[i]->len == len &&
				memcmp(pick->children[i]->name, number, len) == 0)
				pge_walk(pick->children[i], value, slices);
		}
	}
}

/* pge_null says that all below a null is null, too. */
static void
pge_null(const ConcordPick *pick, ConcordSlice value, ConcordSlice *slices)
{
	for (int i = 0; i < pick->nslices; i++)
		slices[pick->slices[i]] = value;
	for (int i = 0; i < pick->nchildren; i++)
		pge_null(pick->children[i], value, slices);
}

/* pge_walk takes a value; it goes as deep as the columns' paths do. */
static void
pge_walk(ConcordPick *pick, ConcordSlice value, ConcordSlice *slices)
{
	for (int i = 0; i < pick->nslices; i++)
		slices[pick->slices[i]] = value;
	if (pick->nchildren == 0)
		return;
	if (*value.start == '{')
		pge_object(pick, value, slices);
	else if (*value.start == '[')
		pge_array(pick, value, slices);
	else if (*value.start == 'n')
		pge_null(pick, value, slices);
}

/* concord_pick_forget is to be called before the records of another page. */
void
concord_pick_forget(ConcordPick *pick)
{
	pick->nplaces = 0;
	for (int i = 0; i < pick->nchildren; i++)
		concord_pick_forget(pick->children[i]);
}

/* concord_pick_record finds the columns' values in a record. */
void
concord_pick_record(ConcordPick *pick, ConcordSlice record,
					ConcordSlice *slices)
{
	memset(slices, 0, sizeof(ConcordSlice) * pick->nall);
	pge_walk(pick, record, slices);
}
