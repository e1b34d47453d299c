/* ---------------------------------------------------------------------
 * 51_catalogue.sql: systems whose connectors are shipped
 *
 * One row each; doc/connectors/ has a page for each with its sources, and
 * test/dialects the system's side of the wire.
 * ------------------------------------------------------------------- */

-- Salesforce: records by an external id, which is the mapping's key; the
-- field must not stand in the body.  REST API Developer Guide, "sObject Rows
-- by External ID", "Status Codes and Error Responses"; batches: "Upsert Multiple
-- Records with Fewer Round-Trips" (200 records of a type), "Composite" (25 requests).
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('salesforce', 'rest', 'Salesforce REST API: upsert by external id',
	 '{"create": {"method": "PATCH", "path": "sobjects/{object}/{key.name}/{key}", "body": "{fields}"},
	   "update": {"method": "PATCH", "path": "sobjects/{object}/{key.name}/{key}", "body": "{fields}"},
	   "delete": {"path": "sobjects/{object}/{key.name}/{key}"},
	   "probe": {"path": "sobjects/{object}/{key.name}/{key}"}, "key_change": "recreate",
	   "rename": {"path": "sobjects/{object}/{remote_id}", "body": "{record}"},
	   "create_repeats": "yes",
	   "remote_id_path": "id", "idempotency_header": "",
	   "batch": [
		 {"format": "salesforce_collections", "operations": ["create", "update"], "method": "PATCH",
		  "path": "composite/sobjects/{object}/{key.name}",
		  "item": {"attributes": {"type": "{object}"}, "{key.name}": "{key}", "...": "{request.body}"}},
		 {"format": "salesforce_composite"}],
	   "limits": {"form": "ratio", "header": "Sforce-Limit-Info", "name": "api-usage", "window": "1d"},
	   "outcomes": [
		 {"name": "daily limit", "status": 403, "match": "REQUEST_LIMIT_EXCEEDED", "outcome": "throttle"},
		 {"name": "session expired", "status": 401, "outcome": "down"},
		 {"name": "several records match", "status": 300, "outcome": "dead"},
		 {"name": "row is locked", "status": 400, "match": "UNABLE_TO_LOCK_ROW", "outcome": "retry"},
		 {"name": "query timeout", "status": 400, "match": "QUERY_TIMEOUT", "outcome": "retry"}]}',
	 true);

-- Odoo 19 and later, JSON-2: methods of models, named arguments, ids that the
-- system gives.  odoo/documentation, external_api.  A call is a transaction:
-- a create of many answers their ids in their order, or refuses all.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('odoo', 'rest', 'Odoo JSON-2 API: create, write, unlink',
	 '{"create": {"path": "json/2/{object}/create", "body": {"vals_list": ["{record}"]}},
	   "update": {"method": "POST", "path": "json/2/{object}/write", "body": {"ids": ["{key:json}"], "vals": "{body}"}},
	   "delete": {"method": "POST", "path": "json/2/{object}/unlink", "body": {"ids": ["{key:json}"]}},
	   "probe": {"method": "POST", "path": "json/2/{object}/read", "body": {"ids": ["{key:json}"], "fields": ["id"]}},
	   "lookup": {"method": "POST", "path": "json/2/{object}/read", "body": {"ids": ["{key:json}"]}},
	   "find": {"method": "POST", "path": "json/2/{object}/search_read",
		 "body": {"domain": [["{key.name}", "=", "{key}"]], "fields": ["id", "{key.name}"], "limit": 2}}, "find_path": "0.id",
	   "remote_id": "assigned", "remote_id_path": "0", "idempotency_header": "",
	   "batch": [
		 {"format": "template", "operations": ["create"], "body": {"vals_list": "{items}"}, "item": "{record}",
		  "answer": {"list": "", "wrap": "array", "missing": "unknown"}},
		 {"format": "template", "operations": ["delete"], "body": {"ids": "{items}"}, "item": "{key:json}"}],
	   "outcomes": [
		 {"name": "record is locked", "match": "LockNotAvailable|SerializationFailure|could not serialize access", "outcome": "retry"}]}',
	 true);
