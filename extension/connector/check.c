/*-------------------------------------------------------------------------
 *
 * check.c
 *	  What protocols refuse of a mapping when it is defined.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/answer.h"

/* concord_object_check refuses an object that is no path under the url. */
void
concord_object_check(const ConcordConnector *connector,
					 const ConcordMapping *mapping, bool needs_object)
{
	const char *object = mapping->object ? mapping->object : "";
	const char *service = mapping->options.service;

	if (needs_object && strspn(object, "/ ") == strlen(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connector \"%s\" needs an object", connector->name),
				 errhint("Name the collection or entity set at the system.")));
	if (strpbrk(object, "?#\\%") != NULL || strstr(object, "://") != NULL ||
		concord_path_climbs(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("object \"%s\" is not a path under the server's url",
						object),
				 errdetail("It has one of ? # \\ %%, a scheme, or a part of dots alone."),
				 errhint("Name the collection or entity set by its path, such as customers.")));
	if (service != NULL && (strpbrk(service, "?#\\%") != NULL ||
							strstr(service, "://") != NULL ||
							concord_path_climbs(service)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("service \"%s\" is not a path under the server's url",
						service),
				 errdetail("It has one of ? # \\ %%, a scheme, or a part of dots alone."),
				 errhint("Name the service by its path below the url.")));
}

/* chk_choice refuses a value that is none of a|b|c. */
static void
chk_choice(const char *option, const char *value, const char *choices)
{
	Size		len;

	if (value == NULL)
		return;
	len = strlen(value);
	for (const char *p = choices; p != NULL;)
	{
		if (strncmp(p, value, len) == 0 && (p[len] == '|' || p[len] == '\0'))
			return;
		p = strchr(p, '|');
		if (p != NULL)
			p++;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", option, value),
			 errhint("It may be %s.", choices)));
}

/* chk_refuse refuses an option that means nothing to a connector. */
static void
chk_refuse(const ConcordConnector *connector, const char *option,
		   const char *value)
{
	if (value != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connector \"%s\" does not take option \"%s\"",
						connector->name, option),
				 errdetail("Its protocol is \"%s\".", connector->protocol->name),
				 errhint("Leave the option out.")));
}

/* concord_connector_options_check checks the options that connectors read. */
void
concord_connector_options_check(const ConcordConnector *connector,
								const ConcordMapping *mapping, bool takes_tags,
								bool takes_cloudevents)
{
	const ConcordMappingOptions *options = &mapping->options;
	const char *why;

	if (options->remote_id_path != NULL &&
		concord_path_parse(options->remote_id_path, &why) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						"remote_id_path", options->remote_id_path),
				 errdetail("It %s.", why),
				 errhint("Name where an answer has the record's id, such as data.id.")));
	chk_choice("upsert", options->upsert, "post|put|patch");
	chk_choice("if_match", options->if_match, "etag|star|none");
	chk_choice("cloudevents", options->cloudevents, "binary|structured|off");
	if (!takes_tags)
	{
		chk_refuse(connector, "upsert", options->upsert);
		chk_refuse(connector, "if_match", options->if_match);
	}
	if (!takes_cloudevents)
		chk_refuse(connector, "cloudevents", options->cloudevents);
}

/*
 * concord_patch_check refuses to send changed fields alone to a system where
 * an update replaces the record.
 */
void
concord_patch_check(const ConcordConnector *connector,
					const ConcordMapping *mapping, const char *update_method)
{
	if (mapping->options.patch_changed && strcmp(update_method, "PUT") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connector \"%s\" does not take option \"patch\"",
						connector->name),
				 errdetail("It updates with PUT, which replaces the record: what is left out would be emptied."),
				 errhint("Leave the option out, or use a connector whose \"update\" is a PATCH.")));
}

/* concord_key_check refuses a mapping without a key. */
void
concord_key_check(const ConcordConnector *connector,
				  const ConcordMapping *mapping)
{
	if (mapping->key != NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("mapping \"%s\" has no key", mapping->name),
			 errdetail("Connector \"%s\" addresses records by their key.",
					   connector->name),
			 errhint("Give argument key, for example {\"ID\": \"id\"}.")));
}
