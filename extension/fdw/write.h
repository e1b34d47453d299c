/*-------------------------------------------------------------------------
 *
 * write.h
 *	  Rows of a foreign table that are written to its system.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_WRITE_H
#define CONCORD_FDW_WRITE_H

#include "connector/connector.h"
#include "fdw/fdw.h"
#include "live/session.h"

/* What one statement writes to one table. */
typedef struct ConcordWriter ConcordWriter;

/* A record that is written. */
typedef struct ConcordWrite
{
	ConcordExchange *exchange;
	ConcordRequest *request;	/* of the connector, not sent itself */
	ConcordLiveRequest *live;	/* NULL: it went in a batch */
	const ConcordResponse *response;
	bool		gone;			/* the system has no such record */
} ConcordWrite;

/*
 * concord_writer_create makes a writer in the current context.  columns has
 * the attnums that an insert or update writes, given those that an insert names
 * (row.h).  returning: the answer is to
 * have the record.
 */
extern ConcordWriter *concord_writer_create(const ConcordForeignTable *table,
											ConcordPeer *peer, CmdType operation,
											List *columns, List *given,
											bool returning);

/*
 * concord_writer_begin makes the request of one row.  values and nulls are by
 * attnum - 1, keys (and nothing else) those of the record as it was read; tag
 * is the version that was read, or NULL.  Everything is in context.
 */
extern ConcordWrite *concord_writer_begin(ConcordWriter *writer,
										  const Datum *values, const bool *nulls,
										  const Datum *keys, const char *tag,
										  MemoryContext context);

/*
 * concord_writer_send sends records, in one request where the connector can,
 * and raises where one is refused: ERRCODE_T_R_SERIALIZATION_FAILURE where the
 * record is not as it was read; else as of concord_live_check.
 */
extern void concord_writer_send(ConcordWriter *writer, ConcordWrite **writes,
								int n);

/* concord_writer_read reads a record that was written; NULL: it is not there. */
extern const ConcordResponse *concord_writer_read(ConcordWriter *writer,
												  ConcordWrite *write);

/* concord_writer_batch says how many records one request takes. */
extern int	concord_writer_batch(ConcordWriter *writer);

/* concord_writer_done says how many records this statement has written. */
extern int64 concord_writer_done(const ConcordWriter *writer);

/* concord_writer_free ends what belongs to a record. */
extern void concord_write_free(ConcordWrite *write);

#endif							/* CONCORD_FDW_WRITE_H */
