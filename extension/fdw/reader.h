/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  The records of a list, page after page.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_READER_H
#define CONCORD_FDW_READER_H

#include "connector/reading.h"
#include "fdw/fdw.h"
#include "fdw/page.h"
#include "live/session.h"

/* What is asked for. */
typedef struct ConcordQuery
{
	char	   *url;			/* whole, without a query string */
	char	   *query;			/* of the query string: columns, filter,
								 * order; percent-encoded; NULL: nothing */
	int64		limit;			/* -1: none; at most so many records */
	int64		skip;			/* of the first ones; 0: none */
	bool		single;			/* url is that of one record; 404: none */
	const char *prefer;			/* more of header Prefer; NULL: nothing */
	const char *tell;			/* a member that some page may have, an
								 * address: concord_reader_told; NULL: none */
	bool		gone_ends;		/* 410 ends the list: concord_reader_gone */
} ConcordQuery;

typedef struct ConcordReader ConcordReader;

/* concord_reader_url gives the address of a table's list. */
extern char *concord_reader_url(const ConcordServer *server,
								const ConcordForeignTable *table,
								const char *path);

/* concord_reader_shown gives the first address of a query, as EXPLAIN shows it. */
extern char *concord_reader_shown(const ConcordReading *reading,
								  const ConcordForeignTable *table,
								  const ConcordQuery *query);

/* concord_reader_create makes a reader in the current context. */
extern ConcordReader *concord_reader_create(const ConcordForeignTable *table,
											ConcordPeer *peer);

/*
 * concord_reader_start begins to read; what was read before is forgotten.
 * query must stay.
 */
extern void concord_reader_start(ConcordReader *reader,
								 const ConcordQuery *query);

/*
 * concord_reader_start_several begins to read n lists, one after the other.
 * Where the system takes several requests in one ($batch), that is how their
 * first pages are asked for.  queries must stay; they have no limit.
 * concord_reader_which says which of them the record that was given is in.
 */
extern void concord_reader_start_several(ConcordReader *reader,
										 const ConcordQuery *queries, int n);
extern int	concord_reader_which(const ConcordReader *reader);

/* concord_reader_lists says how many lists are asked for together; 1: no more. */
extern int	concord_reader_lists(const ConcordServer *server);

/*
 * concord_reader_eager says that all records are wanted, one soon after the
 * other: then the next page is asked for while one is read.
 */
extern void concord_reader_eager(ConcordReader *reader, bool eager);

/* concord_reader_send sends the next request if one is due. */
extern void concord_reader_send(ConcordReader *reader);

/* concord_reader_ready: concord_reader_next would not have to wait. */
extern bool concord_reader_ready(ConcordReader *reader);

/*
 * concord_reader_next gives a record, which stays until the next call; false at
 * the end.  *page changes with each page.  Errors: those of live/session.h, and
 * CONCORD_ERRCODE_MALFORMED where an answer is not what it is to be.
 */
extern bool concord_reader_next(ConcordReader *reader, ConcordSlice *record,
								int *page);

/* concord_reader_descriptor: see concord_live_descriptor; -1: none is needed. */
extern int	concord_reader_descriptor(ConcordReader *reader);

/* concord_reader_count asks how many records there are; -1: it is not known. */
extern int64 concord_reader_count(ConcordReader *reader,
								  const ConcordQuery *query);

/* concord_reader_told gives the address that query->tell names; NULL: none. */
extern const char *concord_reader_told(const ConcordReader *reader);

/* concord_reader_gone: the list has ended with status 410. */
extern bool concord_reader_gone(const ConcordReader *reader);

/*
 * concord_reader_page_ended: the record that was given was the last of its
 * page.  concord_reader_mark gives then what concord_reader_resume goes on
 * with, in another transaction or process; NULL: there are no more pages.
 */
extern bool concord_reader_page_ended(const ConcordReader *reader);
extern char *concord_reader_mark(ConcordReader *reader);
extern void concord_reader_resume(ConcordReader *reader,
								  const ConcordQuery *query, const char *mark);

/* concord_reader_stop ends what is under way. */
extern void concord_reader_stop(ConcordReader *reader);

#endif							/* CONCORD_FDW_READER_H */
