/*-------------------------------------------------------------------------
 *
 * pulling.c
 *	  Member "pull" of a connector: how a system tells what has changed.
 *
 *	{"methods": ["delta", "since", "full"], "changed": "modifiedAt",
 *	 "time": "iso" | "plain" | "date" | "seconds", "overlap": 60,
 *	 "prefer": "odata.track-changes", "link": "@odata.deltaLink"}
 *
 * What is left out is the row's that is extended, or else the protocol's: OData
 * has change tracking (OData 4.01 Protocol, 11.3) and filters; of REST it is
 * known only that a list can be read and compared.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include "connector/protocols.h"
#include "connector/pulling.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define PLG_MAX_OVERLAP		(7 * 86400)

static const char *const plg_names[] = {
	"methods", "changed", "time", "overlap", "prefer", "link",
};

/* plg_bad names a member of "pull". */
static void
plg_bad(const char *name, const char *why)
{
	concord_member_bad(psprintf("pull.%s", name), why);
}

/* plg_methods reads which ways there are. */
static uint32
plg_methods(JsonbValue *value)
{
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;
	uint32		methods = 0;

	if (array == NULL || !JsonContainerIsArray(array))
		plg_bad("methods", "is not an array");
	for (int i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array, i);
		int			which = item->type != jbvString ? -1 :
			concord_member_choose("delta|since|full",
								  pnstrdup(item->val.string.val,
										   item->val.string.len));

		if (which < 0)
			plg_bad("methods", "has something that is none of delta, since and full");
		methods |= 1 << (CONCORD_PULL_DELTA + which);
	}
	return methods;
}

/* plg_overlap reads seconds. */
static int
plg_overlap(JsonbValue *value)
{
	int			seconds;

	if (value->type != jbvNumeric)
		plg_bad("overlap", "is not a number of seconds");
	seconds = DatumGetInt32(DirectFunctionCall1(numeric_int4,
												NumericGetDatum(value->val.numeric)));
	if (seconds < 0 || seconds > PLG_MAX_OVERLAP)
		plg_bad("overlap", "is not between 0 seconds and a week");
	return seconds * 1000;
}

/* concord_member_pull parses member "pull". */
void
concord_member_pull(ConcordConnector *connector, const ConcordMember *member,
					JsonbValue *value)
{
	JsonbContainer *object = value->val.binary.data;
	ConcordPulling *pulling = palloc(sizeof(ConcordPulling));
	JsonbValue	v;
	char	   *text;
	int			which;

	if (value->type != jbvBinary || !JsonContainerIsObject(object))
		concord_member_bad(member->name, "is not an object");
	concord_member_names(object, plg_names, lengthof(plg_names));
	*pulling = *concord_connector_pulling(connector);
	if (concord_member_get(object, "methods", &v) != NULL)
		pulling->methods = plg_methods(&v);
	if ((text = concord_member_of(object, "changed")) != NULL)
		pulling->changed = text;
	if ((text = concord_member_of(object, "time")) != NULL)
	{
		which = concord_member_choose("iso|plain|date|seconds", text);
		if (which < 0)
			plg_bad("time", "is none of iso, plain, date and seconds");
		pulling->time = (ConcordPullTime) which;
	}
	if (concord_member_get(object, "overlap", &v) != NULL)
		pulling->overlap_ms = plg_overlap(&v);
	if ((text = concord_member_of(object, "prefer")) != NULL)
		pulling->prefer = text;
	if ((text = concord_member_of(object, "link")) != NULL)
		pulling->link = text;
	if ((pulling->methods & (1 << CONCORD_PULL_DELTA)) && pulling->link == NULL)
		plg_bad("link", "is missing: where the last page has the address of what is to come");
	connector->pulling = pulling;
}

#define PLG_METHOD(method)	(1u << (method))

/* What OData and plain REST have where a row says nothing. */
static const ConcordPulling plg_odata4 = {
	.methods = PLG_METHOD(CONCORD_PULL_DELTA) | PLG_METHOD(CONCORD_PULL_SINCE) |
	PLG_METHOD(CONCORD_PULL_FULL),
	.overlap_ms = 60000,.prefer = "odata.track-changes",
	.link = "@odata.deltaLink",
};

static const ConcordPulling plg_odata2 = {
	.methods = PLG_METHOD(CONCORD_PULL_SINCE) | PLG_METHOD(CONCORD_PULL_FULL),
	.overlap_ms = 60000,
};

static const ConcordPulling plg_rest = {
	.methods = PLG_METHOD(CONCORD_PULL_FULL),.overlap_ms = 60000,
};

/* concord_connector_pulling says how changes are come by. */
const ConcordPulling *
concord_connector_pulling(const ConcordConnector *connector)
{
	if (connector->pulling != NULL)
		return connector->pulling;
	if (connector->protocol == &concord_protocol_odata)
		return connector->odata2 ? &plg_odata2 : &plg_odata4;
	return &plg_rest;
}

/* plg_list names the ways that a connector has. */
static char *
plg_list(uint32 methods)
{
	static const char *const names[] = {"", "delta", "since", "full"};
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = CONCORD_PULL_DELTA; i <= CONCORD_PULL_FULL; i++)
	{
		if (methods & PLG_METHOD(i))
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", names[i]);
	}
	return buf.data;
}

/* concord_pulling_check refuses a way that there is not. */
void
concord_pulling_check(const ConcordConnector *connector,
					  const ConcordMapping *mapping)
{
	const ConcordPulling *pulling = concord_connector_pulling(connector);
	const ConcordPullOptions *pull = mapping->options.pull;

	if (pulling->methods == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("connector \"%s\" has no lists to pull", connector->name),
				 errhint("Have the system send messages, and take them with concord.receive().")));
	if (pull->method != CONCORD_PULL_DEFAULT &&
		(pulling->methods & PLG_METHOD(pull->method)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connector \"%s\" cannot be pulled in the way that member \"method\" of mapping option \"pull\" names",
						connector->name),
				 errhint("It has %s.", plg_list(pulling->methods))));
	if (pull->method == CONCORD_PULL_SINCE && pull->changed == NULL &&
		pulling->changed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("method \"since\" of mapping option \"pull\" needs member \"changed\""),
				 errhint("Name the field of the record that says when it was changed, such as modifiedAt.")));
}

/* plg_time writes a time as filters have it, not encoded. */
static char *
plg_time(ConcordPullTime form, TimestampTz at)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (form == CONCORD_TIME_SECONDS)
		return psprintf(INT64_FORMAT, (int64) timestamptz_to_time_t(at));
	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	switch (form)
	{
		case CONCORD_TIME_DATE:
			return psprintf("%04d-%02d-%02d", tm.tm_year, tm.tm_mon, tm.tm_mday);
		case CONCORD_TIME_PLAIN:
			return psprintf("%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year,
							tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min,
							tm.tm_sec);
		default:
			return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year,
							tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min,
							tm.tm_sec, (int) fsec);
	}
}

/* plg_filter writes the filter in the connector's own words. */
static void
plg_filter(StringInfo buf, const ConcordConnector *connector,
		   const char *changed, TimestampTz at)
{
	const ConcordReading *reading = concord_connector_reading(connector);
	const ConcordPulling *pulling = concord_connector_pulling(connector);
	char	   *value = plg_time(pulling->time, at);
	const char *template = reading->templates[CONCORD_OP_GE];

	if (reading->odata && connector->odata2)
		value = psprintf("datetimeoffset'%s'", value);
	if (reading->odata)
	{
		appendStringInfoString(buf, "$filter=");
		concord_url_escape(buf, changed, "/");
		appendStringInfoString(buf, "%20ge%20");
		concord_url_escape(buf, value, ":'");
		return;
	}
	for (const char *p = template; *p;)
	{
		if (strncmp(p, "{name}", 6) == 0)
		{
			concord_url_escape(buf, changed, "");
			p += 6;
		}
		else if (strncmp(p, "{value}", 7) == 0)
		{
			concord_url_escape(buf, value, ":");
			p += 7;
		}
		else
			appendStringInfoChar(buf, *p++);
	}
}

/* plg_order asks for the order of changes. */
static void
plg_order(StringInfo buf, const ConcordReading *reading, const char *changed)
{
	const char *place;

	if (reading->order == NULL)
		return;
	if (buf->len > 0)
		appendStringInfoChar(buf, '&');
	concord_url_escape(buf, reading->order, "$");
	appendStringInfoChar(buf, '=');
	place = strstr(reading->ascending, "{name}");
	concord_url_escape(buf, psprintf("%.*s%s%s",
									 (int) (place - reading->ascending),
									 reading->ascending, changed,
									 place + strlen("{name}")), "/,");
}

/* concord_pulling_since writes the parameters of a list of changes. */
char *
concord_pulling_since(const ConcordConnector *connector, const char *changed,
					  const TimestampTz *at)
{
	const ConcordReading *reading = concord_connector_reading(connector);
	StringInfoData buf;

	initStringInfo(&buf);
	if (at != NULL)
		plg_filter(&buf, connector, changed, *at);
	plg_order(&buf, reading, changed);
	return buf.data;
}
