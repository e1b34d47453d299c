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
