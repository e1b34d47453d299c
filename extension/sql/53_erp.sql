/* ---------------------------------------------------------------------
 * 53_erp.sql: ERP systems
 * ------------------------------------------------------------------- */

-- SAP S/4HANA and all that stands behind SAP Gateway, in both versions of
-- OData.  Sessions with CSRF tokens are the credentials' part (auth
-- 'session'); a token that is still refused, or a service that is not
-- activated, is no record's fault.  Locks of the application come as a 400.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('sap_s4', 'odata', 'SAP S/4HANA, SAP Gateway: OData V4',
	 '{"extends": "odata", "idempotency_header": "",
	   "outcomes": [
		 {"name": "CSRF token refused", "status": 403, "header": {"X-CSRF-Token": "required"}, "outcome": "down"},
		 {"name": "service is not active", "status": [403, 404], "path": "error.code", "match": "^/IWFND/MED/170", "outcome": "down"},
		 {"name": "record is locked", "status": [400, 409, 422, 500],
		  "match": "locked by|is (currently )?locked|(being|currently) (processed|edited) by", "outcome": "retry"}]}',
	 true),
	('sap_s4_v2', 'odata', 'SAP S/4HANA, SAP Gateway: OData V2',
	 '{"extends": "sap_s4", "version": "v2",
	   "batch": {"format": "odata_batch_multipart", "change_sets": "each",
		 "headers": {"DataServiceVersion": "2.0", "MaxDataServiceVersion": "2.0", "Accept": "multipart/mixed"}}}',
	 true);

-- SAP Business One, Service Layer (/b1s/v2).
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('sap_b1', 'odata', 'SAP Business One: Service Layer, version 2',
	 '{"extends": "odata", "idempotency_header": "", "remote_id_type": "number",
	   "outcomes": [
		 {"name": "session is over", "path": "error.code", "equals": "301", "outcome": "down"},
		 {"name": "exists", "operation": "create", "path": "error.code", "equals": "-2035", "outcome": "exists"},
		 {"name": "no such record", "operation": ["update", "delete", "read"], "path": "error.code", "equals": "-2028", "outcome": "gone"},
		 {"name": "changed by another", "path": "error.code", "equals": "-2039", "outcome": "conflict"}]}',
	 true);

-- Dataverse (Dynamics 365): rows by an alternate key, which PATCH creates or
-- updates.  A 412 is a stale row version, or a duplicate of another row.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('dataverse', 'odata', 'Microsoft Dataverse, Dynamics 365: upsert by alternate key',
	 '{"extends": "odata", "upsert": "patch", "key_names": "always", "idempotency_header": "",
	   "limits": {"remaining": "x-ms-ratelimit-burst-remaining-xrm-requests", "limit": 6000, "window": "5min"},
	   "outcomes": [
		 {"name": "service protection limit", "status": 429, "outcome": "throttle"},
		 {"name": "service protection limit", "path": "error.code", "equals": ["0x80072322", "0x80072321", "0x80072326"], "outcome": "throttle"},
		 {"name": "row version", "status": 412, "path": "error.code", "equals": "0x80060882", "outcome": "conflict"},
		 {"name": "duplicate", "operation": "create", "status": 412, "path": "error.code", "equals": ["0x80040237", "0x80060892"], "outcome": "exists"},
		 {"name": "duplicate of another row", "status": 412, "path": "error.code", "equals": ["0x80040237", "0x80060892", "0x80040333"], "outcome": "dead"},
		 {"name": "deadlock or timeout in SQL", "path": "error.code", "equals": ["0x80044151", "0x80048543"], "outcome": "retry"}]}',
	 true);

-- Business Central, API v2.0: ids that the system gives, If-Match with every
-- change.  The company is a part of the service's path.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('business_central', 'odata', 'Microsoft Dynamics 365 Business Central, API v2.0',
	 '{"extends": "odata", "idempotency_header": "", "if_match": "star",
	   "remote_id": "assigned", "remote_id_path": "id", "remote_id_type": "uuid", "key_case": "upper",
	   "batch": {"format": "odata_batch_json", "max_count": 100},
	   "outcomes": [
		 {"name": "changed by another", "path": "error.code", "match": "^(Request_EntityChanged|BadRequest_InvalidToken)$", "outcome": "conflict"},
		 {"name": "exists", "operation": "create", "path": "error.code", "equals": "Internal_EntityWithSameKeyExists", "outcome": "exists"},
		 {"name": "tenant is not available", "path": "error.code", "match": "^(Internal_TenantUnavailable|Internal_CompanyNotFound)$", "outcome": "down"},
		 {"name": "queue is full", "status": 503, "outcome": "throttle"}]}',
	 true);

-- NetSuite, SuiteTalk REST: records by an external id, which is the mapping's
-- key; PUT creates or updates.  Names that NetSuite does not know are errors.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('netsuite', 'rest', 'Oracle NetSuite, SuiteTalk REST: upsert by external id',
	 '{"create": {"method": "PUT", "path": "record/v1/{object}/eid:{key}", "body": "{fields}"},
	   "update": {"method": "PATCH", "path": "record/v1/{object}/eid:{key}", "body": "{fields}"},
	   "delete": {"path": "record/v1/{object}/eid:{key}"},
	   "probe": {"path": "record/v1/{object}/eid:{key}"},
	   "create_repeats": "yes", "idempotency_header": "",
	   "headers": {"X-NetSuite-PropertyNameValidation": "Error", "X-NetSuite-PropertyValueValidation": "Error"},
	   "message_path": "[\"o:errorDetails\"][*].detail",
	   "outcomes": [
		 {"name": "already submitted", "status": 400, "path": "[\"o:errorDetails\"][*][\"o:errorCode\"]", "equals": "IDEMPOTENCY_ERROR", "outcome": "done"},
		 {"name": "concurrency limit", "path": "[\"o:errorDetails\"][*][\"o:errorCode\"]",
		  "match": "CONCURR|REQUEST_LIMIT_EXCEEDED|WS_REQUEST_BLOCKED", "outcome": "throttle"},
		 {"name": "changed by another", "path": "[\"o:errorDetails\"][*][\"o:errorCode\"]", "equals": "RCRD_HAS_BEEN_CHANGED", "outcome": "retry"},
		 {"name": "credentials refused", "path": "[\"o:errorDetails\"][*][\"o:errorCode\"]", "match": "^INVALID_LOGIN", "outcome": "down"}]}',
	 true);

-- Sage Intacct, REST API: keys that Intacct gives, records found by a query.
-- Results stand in ia::result.  Batches: "Batch, bulk, and composite requests",
-- at most 500 records; an address may be a list of keys with commas.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('sage_intacct', 'rest', 'Sage Intacct REST API',
	 '{"create": {"path": "objects/{object}", "body": "{record}"},
	   "update": {"method": "PATCH", "path": "objects/{object}/{key:single}", "body": "{body}"},
	   "delete": {"path": "objects/{object}/{key:single}"},
	   "probe": {"path": "objects/{object}/{key:single}"},
	   "find": {"method": "POST", "path": "services/core/query",
		 "body": {"object": "{object}", "fields": ["key", "{key.name}"], "filters": [{"$eq": {"{key.name}": "{key}"}}], "start": 1, "size": 2}},
	   "find_path": "[\"ia::result\"].0.key",
	   "remote_id": "assigned", "remote_id_path": "[\"ia::result\"].key", "idempotency_header": "",
	   "batch": [
		 {"format": "template", "operations": ["create"], "max_count": 500, "path": "objects/{object}",
		  "body": "{items}", "item": "{request.body}",
		  "answer": {"list": "ia::result", "wrap": "member", "status": "[\"ia::status\"]", "missing": "unknown"}},
		 {"format": "template", "operations": ["update"], "max_count": 500, "method": "PATCH", "path": "objects/{object}",
		  "body": "{items}", "item": {"key": "{key}", "...": "{request.body}"},
		  "answer": {"list": "ia::result", "wrap": "member", "status": "[\"ia::status\"]", "missing": "unknown"}}],
	   "message_path": "[\"ia::result\"][\"ia::error\"].message",
	   "outcomes": [
		 {"name": "not all of it", "status": 207, "outcome": "dead"},
		 {"name": "refused within a success", "status": "2xx", "path": "[\"ia::result\"][\"ia::error\"].code", "outcome": "dead"},
		 {"name": "idempotency key with another body", "status": 409, "match": "idempotency", "outcome": "dead"}]}',
	 true);

-- Tryton, JSON-RPC 1.0 of trytond: methods of models, errors within a 200.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('tryton', 'rest', 'Tryton: JSON-RPC of trytond',
	 '{"create": {"path": "", "body": {"id": 1, "method": "model.{object}.create", "params": [["{record}"], {}]}},
	   "update": {"method": "POST", "path": "", "body": {"id": 1, "method": "model.{object}.write", "params": [["{key:json}"], "{body}", {}]}},
	   "delete": {"method": "POST", "path": "", "body": {"id": 1, "method": "model.{object}.delete", "params": [["{key:json}"], {}]}},
	   "probe": {"method": "POST", "path": "", "body": {"id": 1, "method": "model.{object}.search_read",
		 "params": [[["id", "=", "{key:json}"]], 0, 1, null, ["id"], {}]}},
	   "find": {"method": "POST", "path": "", "body": {"id": 1, "method": "model.{object}.search_read",
		 "params": [[["{key.name}", "=", "{key}"]], 0, 2, null, ["id", "{key.name}"], {}]}},
	   "find_path": "result.0.id",
	   "remote_id": "assigned", "remote_id_path": "result.0", "idempotency_header": "",
	   "message_path": ["error[1][0]", "error[1]", "error[0]"],
	   "outcomes": [
		 {"name": "changed by another", "status": 200, "path": "error[0]", "equals": "ConcurrencyException", "outcome": "retry"},
		 {"name": "failure in the database", "status": 200, "path": "error[0]",
		  "match": "could not serialize|could not obtain lock|deadlock detected|database is locked", "outcome": "retry"},
		 {"name": "rate limit", "status": 200, "path": "error[0]", "equals": "RateLimitException", "outcome": "throttle"},
		 {"name": "login", "status": 200, "path": "error[0]", "match": "^(LoginException|NotLogged)$", "outcome": "down"},
		 {"name": "warning", "status": 200, "path": "error[0]", "equals": "UserWarning", "outcome": "dead"},
		 {"name": "refused by Tryton", "status": 200, "path": "error[0]", "outcome": "dead"}]}',
	 true);

-- Sage X3, GraphQL of Sage X3 Services: object is package/node, values are
-- literals of the document, since nodes say their inputs' types only at runtime.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('sage_x3', 'rest', 'Sage X3: GraphQL API, create, update and delete of nodes',
	 '{"create": {"path": "api", "body": {"query": "mutation { {object.first} { {object.rest} { create(data: {record:graphql}) { {key.name} } } } }"}},
	   "update": {"method": "POST", "path": "api", "body": {"query": "mutation { {object.first} { {object.rest} { update(data: {record:graphql}) { {key.name} } } } }"}},
	   "delete": {"method": "POST", "path": "api", "body": {"query": "mutation { {object.first} { {object.rest} { delete({key.name}: {key:graphql}) } } }"}},
	   "probe": {"method": "POST", "path": "api", "body": {"query": "{ {object.first} { {object.rest} { read(_id: {key:graphql}) { {key.name} } } } }"}},
	   "key_change": "recreate",
	   "idempotency_header": "",
	   "message_path": "errors[*].message",
	   "outcomes": [
		 {"name": "exists", "operation": "create", "status": 200, "path": "errors[*].message", "match": "already exist|duplicate", "outcome": "exists"},
		 {"name": "gone", "operation": ["update", "delete", "read"], "status": 200, "path": "errors[*].message", "match": "not found|does not exist", "outcome": "gone"},
		 {"name": "gone", "operation": "read", "status": 200, "path": "data.*.*.read", "exists": false, "outcome": "gone"},
		 {"name": "record is locked", "status": 200, "path": "errors[*].message", "match": "locked by|is locked|being modified", "outcome": "retry"},
		 {"name": "refused by Sage X3", "status": 200, "path": "errors[*].message", "outcome": "dead"}]}',
	 true);
