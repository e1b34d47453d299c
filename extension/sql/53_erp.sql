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
	 '{"extends": "sap_s4", "version": "v2"}',
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
	   "remote_id": "assigned", "remote_id_path": "id", "remote_id_type": "uuid",
	   "outcomes": [
		 {"name": "changed by another", "path": "error.code", "match": "^(Request_EntityChanged|BadRequest_InvalidToken)$", "outcome": "conflict"},
		 {"name": "exists", "operation": "create", "path": "error.code", "equals": "Internal_EntityWithSameKeyExists", "outcome": "exists"},
		 {"name": "tenant is not available", "path": "error.code", "match": "^(Internal_TenantUnavailable|Internal_CompanyNotFound)$", "outcome": "down"},
		 {"name": "queue is full", "status": 503, "outcome": "throttle"}]}',
	 true);
