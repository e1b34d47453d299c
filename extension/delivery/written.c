/*-------------------------------------------------------------------------
 *
 * written.c
 *	  What is known of a record that a statement has written to a foreign table.
 *
 * The statement knew whether the record was to be there, and which version it
 * read; what the link says of earlier deliveries does not matter but for one
 * case.  Where the same transaction has written the record before, the version
 * that was read is gone by our own doing: then it is the one that the delivery
 * before has made.  A transaction's events follow one another in the outbox, so
 * the link's position tells.  Where that delivery ended dead, its link does not
 * say so, and this one meets the same conflict.
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/work.h"

#include "mapping/written.h"

/* wrn_follows: the record's last delivery was of the same transaction. */
static bool
wrn_follows(const ConcordDelivery *d)
{
	return d->link_stored && d->link_seq < d->event->seq &&
		d->link_seq > d->event->seq - d->event->ordinal;
}

/* concord_written_link says what is known of a delivery's record. */
ConcordLink
concord_written_link(const ConcordDelivery *d)
{
	const ConcordWritten *written = d->mapped->written;
	ConcordLink link = {0};

	if (written == NULL)
		return d->link;
	if (written->op == CONCORD_OP_INSERT)
		return link;
	link.exists = true;
	if (d->definition->mapping->options.remote_id_assigned)
		link.remote_id = d->mapped->keys[0].text;
	link.etag = wrn_follows(d) ? d->link.etag : unconstify(char *, written->tag);
	return link;
}
