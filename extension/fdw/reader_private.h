/*-------------------------------------------------------------------------
 *
 * reader_private.h
 *	  What the two files of readers share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_READER_PRIVATE_H
#define CONCORD_FDW_READER_PRIVATE_H

#include "fdw/reader.h"

#include "utils/hsearch.h"

/*
 * What tells that a list which is read in several parts goes round in circles:
 * an address of before, which moves on after 1, 2, 4, ... parts (Brent's way).
 */
typedef struct RdrTrail
{
	uint64		anchor;			/* hash of an address; 0: none */
	uint32		steps;			/* since then */
	uint32		limit;			/* when it moves on */
} RdrTrail;

struct ConcordReader
{
	const ConcordForeignTable *table;
	const ConcordReading *reading;
	ConcordPeer *peer;
	ConcordReadPaging paging;
	MemoryContext context;		/* of the reader */
	MemoryContext list;			/* of what is known of one list */
	const ConcordQuery *query;
	ConcordLiveRequest *live;	/* under way, or with the page in it */
	ConcordResponse *answer;	/* that is read */
	ConcordLiveRequest *ahead;	/* for the next page, while one is read */
	bool		eager;
	bool		was_ahead;		/* live was asked for so */
	int64		driven;			/* when ahead was looked after */
	char	   *url;			/* of the page, and then of the next one;
								 * NULL: there is none */
	bool		open;			/* live has ended and page is read from */
	ConcordPage page;
	int			pages;			/* of all lists, to tell them apart */
	int64		taken;			/* records of this list */
	int64		offset;			/* of the next page */
	int			number;
	uint64		before;			/* hash of the page before; 0: none */
	bool		gone;			/* the answer was 410, and that ends it */
	char	   *told;			/* see query->tell */
	RdrTrail	trail;			/* over several transactions */
	HTAB	   *seen;			/* hashes of addresses */

	/* several lists: reader_batch.c */
	const ConcordQuery *lists;
	int			nlists;			/* 0: there is one */
	int			which;			/* is read; -1: none yet */
	ConcordLiveRequest *carrier;	/* brought the first pages of all of them */
	ConcordRequest **parts;		/* with these; NULL: it did not */
	MemoryContext batch;		/* of the parts */
};

/* concord_reader_begin makes ready for a list. */
extern void concord_reader_begin(ConcordReader *reader,
								 const ConcordQuery *query);

/* concord_reader_headers adds what tells the system how answers are to look. */
extern void concord_reader_headers(ConcordReader *reader,
								   ConcordRequest *request);

/* concord_reader_open makes reader->answer the page that is read. */
extern void concord_reader_open(ConcordReader *reader);

/* concord_reader_refuse raises that reader->answer is not what it is to be. */
extern void concord_reader_refuse(ConcordReader *reader, const char *why);

/* concord_reader_next_list goes on with the next of several lists, if there is one. */
extern bool concord_reader_next_list(ConcordReader *reader);

/* concord_reader_drop_lists forgets them. */
extern void concord_reader_drop_lists(ConcordReader *reader);

/* concord_reader_close gives a page back; the next one may be under way. */
extern void concord_reader_close(ConcordReader *reader);

/* concord_reader_circles raises that a list goes round in circles. */
extern void concord_reader_circles(const ConcordReader *reader);

#endif							/* CONCORD_FDW_READER_PRIVATE_H */
