/*-------------------------------------------------------------------------
 *
 * template.h
 *	  Requests as data: texts and JSON with places for what varies.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_TEMPLATE_H
#define CONCORD_CONNECTOR_TEMPLATE_H

#include "connector/connector.h"
#include "utils/jsonb.h"

typedef struct ConcordTemplate ConcordTemplate;

/* What a template's result goes into, which decides how values are escaped. */
typedef enum ConcordTemplateUse
{
	CONCORD_TEMPLATE_PATH,		/* percent-encoded; object keeps its slashes */
	CONCORD_TEMPLATE_QUERY,		/* percent-encoded */
	CONCORD_TEMPLATE_HEADER,	/* one line of printable ASCII, the rest
								 * percent-encoded (as CloudEvents' HTTP
								 * binding, 3.1.3.2) */
	CONCORD_TEMPLATE_JSON,
} ConcordTemplateUse;

/* What the places are filled from. */
typedef struct ConcordTemplateScope
{
	ConcordExchange *exchange;
	const ConcordValue *keys;	/* of the record as the system knows it */
	int			body_flags;		/* of {body}: CONCORD_BODY_... */
	const ConcordRequest *request;	/* of an item of a batch, or NULL */
	const char *id_prefix;
	int			index;			/* its place in the batch, from 0 */
	const char *ids;			/* of all items */
	const char *items;			/* of {items}: JSON values with commas; NULL:
								 * there are none */
	Size		items_len;
} ConcordTemplateScope;

/*
 * concord_template_parse makes a template of a JSON value (use JSON) or of a
 * text, in the current context.  member is what an error names.  items says
 * whether places of a batch may stand in it.
 */
extern ConcordTemplate *concord_template_parse(const char *member,
											   JsonbValue *value,
											   ConcordTemplateUse use,
											   bool items);

/*
 * concord_template_write appends what a template gives for a scope.  Errors:
 * ERRCODE_INVALID_PARAMETER_VALUE where a path would leave the server's url.
 */
extern void concord_template_write(const ConcordTemplate *template,
								   const ConcordTemplateScope *scope,
								   StringInfo buf);

/* These say whether {items}, {request.id} or {request.headers} stand in it. */
extern bool concord_template_has_items(const ConcordTemplate *template);
extern bool concord_template_has_id(const ConcordTemplate *template);
extern bool concord_template_has_headers(const ConcordTemplate *template);

/* concord_template_constant: it has no places. */
extern bool concord_template_constant(const ConcordTemplate *template);

/* concord_template_ascii escapes what is beyond ASCII in a JSON text. */
extern char *concord_template_ascii(const char *json, Size len);

/*
 * concord_shape_parse reads "query", "headers", "body" and "content_type" of a
 * verb's definition; NULL where it has none of them.
 */
extern ConcordShape *concord_shape_parse(const char *member,
										 JsonbContainer *object);

/* concord_shape_headers makes a shape of headers alone. */
extern ConcordShape *concord_shape_headers(const char *member,
										   JsonbValue *value);

/*
 * concord_shape_names_header says whether a shape has a header of a name, null
 * (not to be sent) or not.
 */
extern bool concord_shape_names_header(const ConcordShape *shape,
									   const char *name);

/* concord_shape_query appends a shape's query to an address. */
extern void concord_shape_query(const ConcordShape *shape,
								const ConcordTemplateScope *scope,
								StringInfo url);

/*
 * concord_shape_apply adds a shape's headers and its body, where it has one,
 * to a request; true where the body is set.
 */
extern bool concord_shape_apply(const ConcordShape *shape,
								const ConcordTemplateScope *scope,
								ConcordRequest *request);

/* concord_shape_constants adds those headers of a shape that have no places. */
extern void concord_shape_constants(const ConcordShape *shape,
									ConcordRequest *request);

#endif							/* CONCORD_CONNECTOR_TEMPLATE_H */
