/*-------------------------------------------------------------------------
 *
 * definition.h
 *	  Members of a connector's definition; private to connector/.
 *
 * A member is a row of the table in connector_row.c: its name and the
 * function that takes its value over into the ConcordConnector.  A member of
 * its own kind has its function in a file of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_DEFINITION_H
#define CONCORD_CONNECTOR_DEFINITION_H

#include "connector/connector.h"
#include "utils/jsonb.h"

typedef struct ConcordMember
{
	const char *name;

	/*
	 * parse takes a value that is not null over, in the current context;
	 * raises by concord_member_bad() where it is of no use.  Where the
	 * definition extends another, it was called for that one before.
	 */
	void		(*parse) (ConcordConnector *connector,
						  const struct ConcordMember *member,
						  JsonbValue *value);
	size_t		offset;			/* of the field in ConcordConnector */
	const char *choices;		/* "no|yes"; of a text: what it may be */
} ConcordMember;

/* definition.c: members of simple kinds */
extern void concord_member_request(ConcordConnector *connector,
								   const ConcordMember *member,
								   JsonbValue *value);
extern void concord_member_headers(ConcordConnector *connector,
								   const ConcordMember *member,
								   JsonbValue *value);
extern void concord_member_text(ConcordConnector *connector,
								const ConcordMember *member, JsonbValue *value);
extern void concord_member_choice(ConcordConnector *connector,
								  const ConcordMember *member,
								  JsonbValue *value);

extern void concord_member_path(ConcordConnector *connector,
								const ConcordMember *member, JsonbValue *value);
extern void concord_member_paths(ConcordConnector *connector,
								 const ConcordMember *member,
								 JsonbValue *value);

/* shape.c: the name of a header that a request may have; "": none */
extern void concord_member_header(ConcordConnector *connector,
								  const ConcordMember *member,
								  JsonbValue *value);

/* rules.c */
extern void concord_member_outcomes(ConcordConnector *connector,
									const ConcordMember *member,
									JsonbValue *value);

/* limit_headers.c: where answers tell the system's own limits */
extern void concord_member_limits(ConcordConnector *connector,
								  const ConcordMember *member,
								  JsonbValue *value);

/* reading.c */
extern void concord_member_read(ConcordConnector *connector,
								const ConcordMember *member, JsonbValue *value);

/* pulling.c */
extern void concord_member_pull(ConcordConnector *connector,
								const ConcordMember *member, JsonbValue *value);

/* receiving.c */
extern void concord_member_receive(ConcordConnector *connector,
								   const ConcordMember *member,
								   JsonbValue *value);

/* batch_row.c */
extern void concord_member_batch(ConcordConnector *connector,
								 const ConcordMember *member,
								 JsonbValue *value);

/* concord_member_bad raises: member is a name or a path of names. */
extern void concord_member_bad(const char *member, const char *why)
			pg_attribute_noreturn();

/* concord_member_get looks a member of a JSON object up; NULL: none. */
extern JsonbValue *concord_member_get(JsonbContainer *object, const char *name,
									  JsonbValue *value);

/* concord_member_of returns a member as text; NULL where it is not there. */
extern char *concord_member_of(JsonbContainer *object, const char *name);

/* concord_member_names refuses members of an object that are none of n. */
extern void concord_member_names(JsonbContainer *object,
								 const char *const *names, int n);

/* concord_member_unknown returns the first member that is none of n, or NULL. */
extern char *concord_member_unknown(JsonbContainer *object,
									const char *const *names, int n);

/* concord_member_choose returns which of "a|b|c" a text is, or -1. */
extern int	concord_member_choose(const char *choices, const char *text);

#endif							/* CONCORD_CONNECTOR_DEFINITION_H */
