/*-------------------------------------------------------------------------
 *
 * notes.c
 *	  Messages that hold whether their transaction commits or not: the record
 *	  of what sessions wrote to systems (live/audit.c).
 *
 * A note is not part of a transaction's changes: it comes between transactions,
 * at its place in WAL, and what it tells is stored together with the progress
 * row that is beyond it.  After a crash it may come again: its id and part are
 * the key of its row.  The same holds for one that somebody copied out of WAL
 * and wrote once more.
 *
 *-------------------------------------------------------------------------
 */
#include "capture/notes.h"

#include "base/settings.h"
#include "base/trim.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

/* concord_note_take checks a message. */
ConcordNote *
concord_note_take(const char *prefix, const char *content, uint32 len)
{
	ConcordMessage message;
	ConcordNote *note;

	if (strcmp(prefix, CONCORD_MESSAGE_CALL) != 0 ||
		!concord_message_parse(prefix, InvalidTransactionId, content, len,
							   &message) ||
		message.topic == NULL || message.payload == NULL)
		return NULL;
	note = palloc(sizeof(ConcordNote));
	note->id = message.id;
	note->part = pstrdup(message.topic);
	note->payload = pstrdup(message.payload);
	return note;
}

/* concord_notes_store writes notes. */
void
concord_notes_store(List *notes)
{
	Oid			types[] = {UUIDOID, TEXTOID, TEXTOID};
	ListCell   *lc;

	foreach(lc, notes)
	{
		ConcordNote *note = lfirst(lc);
		Datum		values[3];

		values[0] = UUIDPGetDatum(&note->id);
		values[1] = CStringGetTextDatum(note->part);
		values[2] = CStringGetTextDatum(note->payload);
		if (SPI_execute_with_args("INSERT INTO concord.call_record (id, part, at, payload)"
								  " SELECT $1, $2, (p.p ->> 'at')::timestamptz, p.p"
								  " FROM (SELECT $3::jsonb AS p) p"
								  " ON CONFLICT DO NOTHING",
								  lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not store the record of a call");
	}
}

/*
 * concord_notes_retain forgets old ones.  What began a call is older than its
 * end, so it goes first.
 */
bool
concord_notes_retain(void)
{
	static ConcordTrim trim = {
		"call_record",
		"at < pg_catalog.now() - pg_catalog.make_interval(mins => $1)",
		"at"
	};

	return concord_trim(&trim, concord_delivery_retention);
}
