/*-------------------------------------------------------------------------
 *
 * page.h
 *	  A page: the records of one answer, and what it says of the others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_PAGE_H
#define CONCORD_FDW_PAGE_H

#include "connector/reading.h"
#include "fdw/fdw.h"
#include "fdw/json.h"

/* The records of an answer that was checked. */
typedef struct ConcordPage
{
	ConcordSlice body;
	const char *at;				/* behind the last record; NULL: no more */
	ConcordSlice one;			/* the only record, where there is no list */
} ConcordPage;

/*
 * concord_page_open finds the list in a body.  items is where it is, or NULL:
 * the body itself or its only array.  Returns NULL, or what is wrong.
 */
extern const char *concord_page_open(ConcordPage *page, const char *body,
									 Size len, const char *items);

/* concord_page_ended: concord_page_next has no more to give. */
extern bool concord_page_ended(const ConcordPage *page);

/* concord_page_count says how many records are left. */
extern int64 concord_page_count(const ConcordPage *page);

/* concord_page_next gives one record after the other. */
extern bool concord_page_next(ConcordPage *page, ConcordSlice *record);

/* concord_slice_text returns a string's content, others as they stand. */
extern char *concord_slice_text(ConcordSlice slice);

/*
 * What is looked for in records: a tree of the paths of columns.  It remembers
 * in which order members came, for the next record has most likely the same.
 */
typedef struct ConcordPick ConcordPick;

extern ConcordPick *concord_pick_create(const ConcordForeignTable *table,
										const bool *wanted, bool etag);

/*
 * concord_pick_record sets slices[attnum - 1] of the columns of a record, and
 * slices[ncolumns] where an ETag is looked for; a start of NULL says that the
 * record has no such member.
 */
extern void concord_pick_record(ConcordPick *pick, ConcordSlice record,
								ConcordSlice *slices);

/* concord_pick_forget: what comes next is of another page. */
extern void concord_pick_forget(ConcordPick *pick);

#endif							/* CONCORD_FDW_PAGE_H */
