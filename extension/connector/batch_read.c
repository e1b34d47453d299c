/*-------------------------------------------------------------------------
 *
 * batch_read.c
 *	  Several requests that read as one: OData's $batch, with GETs in it.
 *
 * The formats are those in which changes are sent (batch_multipart.c, and the
 * JSON of OASIS OData JSON Format 4.01, 19); GETs stand outside of change sets
 * in all versions.  Which one a connector has follows from its member "batch",
 * unless "read" says it.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/reading.h"

#include "base/json.h"
#include "connector/batch_formats.h"
#include "connector/protocols.h"
#include "connector/template.h"

/* Of the answer in JSON. */
static ConcordBatchList brd_list = {.path = "responses",.before = "",.after = ""};

static const ConcordBatchForm brd_json = {
	.carries_headers = true,.id_prefix = "",.nlists = 1,.lists = &brd_list,
	.match = CONCORD_MATCH_ID,.id_path = "id",.status_path = "status",
	.body_path = "body",.headers_path = "headers",.failed_status = 400,
	.missing = CONCORD_MISSING_UNKNOWN,
};

static const ConcordBatchForm brd_multipart = {
	.multipart = true,.carries_headers = true,.id_prefix = "",
	.missing = CONCORD_MISSING_UNKNOWN,
};

/* concord_reading_batch says in which format reads go together. */
ConcordReadBatch
concord_reading_batch(const ConcordConnector *connector)
{
	const ConcordReading *reading = concord_connector_reading(connector);
	ListCell   *lc;

	if (!reading->odata)
		return CONCORD_READ_BATCH_NONE;
	if (reading->batch != CONCORD_READ_BATCH_AS_WRITES)
		return reading->batch;
	foreach(lc, connector->batches)
	{
		const ConcordBatchForm *form = lfirst(lc);

		if (form->odata)
			return form->multipart ? CONCORD_READ_BATCH_MULTIPART :
				CONCORD_READ_BATCH_JSON;
	}
	return CONCORD_READ_BATCH_NONE;
}

/* brd_member appends "name": "text". */
static void
brd_member(StringInfo buf, const char *name, const char *text)
{
	concord_json_string(buf, name, strlen(name));
	appendStringInfoChar(buf, ':');
	concord_json_string(buf, text, strlen(text));
}

/* brd_pack_json writes the body in JSON. */
static void
brd_pack_json(ConcordRequest *carrier, ConcordRequest *const *reads, int n,
			  Size base)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"requests\":[");
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&buf, "%s{\"id\":\"%d\",\"method\":\"GET\",",
						 i > 0 ? "," : "", i + 1);
		brd_member(&buf, "url", reads[i]->url + base);
		appendStringInfoString(&buf, ",\"headers\":{");
		for (int k = 0; k < reads[i]->nheaders; k++)
		{
			if (k > 0)
				appendStringInfoChar(&buf, ',');
			brd_member(&buf, reads[i]->headers[k].name,
					   reads[i]->headers[k].value);
		}
		appendStringInfoString(&buf, "}}");
	}
	appendStringInfoString(&buf, "]}");
	carrier->body = buf.data;
	carrier->body_len = buf.len;
	concord_request_header(carrier, "Content-Type", "application/json");
	concord_request_set_header(carrier, "Accept", "application/json");
}

/* brd_pack_multipart writes it as parts. */
static void
brd_pack_multipart(ConcordRequest *carrier, ConcordRequest *const *reads, int n,
				   Size base)
{
	StringInfoData buf;

	/* addresses are percent-encoded and headers lines: none is a boundary */
	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(&buf, "--batch_concord\r\n");
		concord_multipart_request(&buf, reads[i], reads[i]->url + base, i + 1);
	}
	appendStringInfoString(&buf, "--batch_concord--\r\n");
	carrier->body = buf.data;
	carrier->body_len = buf.len;
	concord_request_header(carrier, "Content-Type",
						   "multipart/mixed; boundary=batch_concord");
	concord_request_set_header(carrier, "Accept", "multipart/mixed");
}

/* concord_reading_pack makes body and headers of the request that carries reads. */
void
concord_reading_pack(const ConcordConnector *connector, ConcordRequest *carrier,
					 ConcordRequest *const *reads, int n)
{
	Size		base = strstr(carrier->url, "$batch") - carrier->url;
	MemoryContext old = MemoryContextSwitchTo(carrier->context);

	if (connector->odata2)
	{
		concord_request_set_header(carrier, "DataServiceVersion", "2.0");
		concord_request_set_header(carrier, "MaxDataServiceVersion", "2.0");
	}
	else
	{
		concord_request_set_header(carrier, "OData-Version", "4.0");
		concord_request_set_header(carrier, "OData-MaxVersion", "4.01");
		concord_request_set_header(carrier, "Prefer",
								   "odata.continue-on-error");
	}
	if (concord_reading_batch(connector) == CONCORD_READ_BATCH_JSON)
		brd_pack_json(carrier, reads, n, base);
	else
		brd_pack_multipart(carrier, reads, n, base);
	MemoryContextSwitchTo(old);
}

/* concord_reading_unpack gives each read its answer; false where one has none. */
bool
concord_reading_unpack(const ConcordConnector *connector,
					   ConcordRequest *const *reads, int n,
					   const ConcordResponse *response)
{
	ConcordBatchItem *items = palloc0(sizeof(ConcordBatchItem) * n);
	bool		whole;

	for (int i = 0; i < n; i++)
		items[i].request = reads[i];
	whole = response->body != NULL &&
		(concord_reading_batch(connector) == CONCORD_READ_BATCH_JSON ?
		 concord_json_unpack(&brd_json, items, n, response) :
		 concord_multipart_unpack(&brd_multipart, items, n, response));
	for (int i = 0; i < n && whole; i++)
		whole = items[i].answered &&
			reads[i]->response.transfer == CONCORD_TRANSFER_OK;
	pfree(items);
	return whole;
}

/* concord_reading_headers adds what the connector says of all requests. */
void
concord_reading_headers(const ConcordConnector *connector,
						ConcordRequest *request)
{
	if (connector->headers != NULL)
		concord_shape_constants(connector->headers, request);
}
