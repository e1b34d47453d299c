-- Outcome rules: what is refused when they are written, what they make of
-- answers, which rules a connector has, and connectors that extend others.
\set VERBOSITY default

-- ---- what is refused, with the rule's place and name and the member
CREATE FUNCTION try(rule text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO concord.connector (name, protocol, definition)
	VALUES ('outcome_bad', 'rest', pg_catalog.jsonb_build_object('outcomes', pg_catalog.jsonb_build_array(
		'{"name": "first", "status": 200, "outcome": "done"}'::jsonb, rule::jsonb)))
$$;
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT try('[]');
SELECT try('"text"');
\set VERBOSITY default
SELECT try('{"status": 400}');
SELECT try('{"name": "x", "outcome": "fine"}');
SELECT try('{"name": "x", "outcome": 5}');
SELECT try('{"name": "x", "outcom": "done"}');
SELECT try('{"name": "x", "status": 600, "outcome": "done"}');
SELECT try('{"name": "x", "status": "6xx", "outcome": "done"}');
SELECT try('{"name": "x", "status": "503-500", "outcome": "done"}');
SELECT try('{"name": "x", "status": "400-4000", "outcome": "done"}');
SELECT try('{"name": "x", "status": [400, "abc"], "outcome": "done"}');
SELECT try('{"name": "x", "status": [], "outcome": "done"}');
SELECT try('{"name": "x", "status": true, "outcome": "done"}');
SELECT try('{"name": "x", "status": 400.5, "outcome": "done"}');
SELECT try('{"name": "x", "operation": "insert", "outcome": "done"}');
SELECT try('{"name": "x", "method": "post", "outcome": "done"}');
SELECT try('{"name": "x", "header": 1, "outcome": "done"}');
SELECT try('{"name": "x", "header": {"A": "("}, "outcome": "done"}');
SELECT try('{"name": "x", "header": {"A": true}, "outcome": "done"}');
SELECT try('{"name": "x", "path": "a..b", "outcome": "done"}');
SELECT try('{"name": "x", "path": "", "outcome": "done"}');
SELECT try('{"name": "x", "path": "a[b]", "outcome": "done"}');
SELECT try('{"name": "x", "path": "a[", "outcome": "done"}');
SELECT try('{"name": "x", "path": "a.", "outcome": "done"}');
SELECT try('{"name": "x", "path": "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17", "outcome": "done"}');
SELECT try('{"name": "x", "exists": true, "outcome": "done"}');
SELECT try('{"name": "x", "path": "a", "exists": "yes", "outcome": "done"}');
SELECT try('{"name": "x", "path": "a", "exists": false, "match": "b", "outcome": "done"}');
SELECT try('{"name": "x", "equals": 1, "outcome": "done"}');
SELECT try('{"name": "x", "path": "a", "equals": {"b": 1}, "outcome": "done"}');
SELECT try('{"name": "x", "path": "a", "equals": [1, null], "outcome": "done"}');
SELECT try('{"name": "x", "match": "*", "outcome": "done"}');
SELECT try('{"name": "x", "text": "[", "outcome": "done"}');
SELECT try('{"name": "x", "text": "a", "match": "b", "outcome": "done"}');
SELECT try('{"name": "x", "operation": "update", "outcome": "exists"}');
SELECT try('{"name": "x", "operation": ["create", "update"], "outcome": "gone"}');
SELECT try('{"name": "x", "outcome": "dead", "retry_after": "5s"}');
SELECT try('{"name": "x", "outcome": "throttle", "retry_after": "5"}');
SELECT try('{"name": "x", "outcome": "throttle", "retry_after": "-5s"}');
SELECT try('{"name": "x", "outcome": "throttle", "retry_after": {}}');
SELECT try('{"name": "x", "outcome": "throttle", "retry_after": {"path": "a", "header": "b"}}');
SELECT try('{"name": "x", "outcome": "throttle", "retry_after": {"path": "a", "unit": "h"}}');
SELECT try('{"name": "x", "outcome": "throttle", "retry_after": {"path": "a", "units": "s"}}');
SELECT try('{"name": "x", "outcome": "throttle", "retry_after": {"path": "a]["}}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_bad', 'rest', '{"outcomes": {"a": 1}}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_bad', 'rest', '{"message_path": ["a", "b["]}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_bad', 'rest', '{"remote_id_path": "a..b"}');
SELECT count(*) FROM concord.connector WHERE name = 'outcome_bad';

-- ---- the defaults
SELECT s.status, e.rule, e.outcome, e.otherwise
  FROM unnest('{200,204,300,302,400,401,403,404,407,408,409,410,412,413,422,423,424,425,428,429,500,501,502,503,504,507,99}'::int[]) s (status),
	   concord.explain_outcome('rest', s.status, operation => 'update') e;
SELECT o.operation, s.status, e.rule, e.outcome, e.otherwise
  FROM unnest('{create,delete,read,send}'::text[]) o (operation), unnest('{201,404,409,410,500}'::int[]) s (status),
	   concord.explain_outcome('rest', s.status, operation => o.operation) e;
SELECT b.body, e.rule, e.outcome, e.otherwise, e.message
  FROM (VALUES ('{"error": {"message": "name must be unique"}}'), ('{"message": "already exists"}'), ('{"message": "too long"}')) b (body),
	   concord.explain_outcome('rest', 422, body => b.body) e;
SELECT h.type, o.operation, e.rule, e.outcome
  FROM (VALUES ('text/html; charset=utf-8'), ('TEXT/HTML'), ('application/json')) h (type), unnest('{create,send}'::text[]) o (operation),
	   concord.explain_outcome('rest', 200, jsonb_build_object('Content-Type', h.type), E'\n<!-- x -->\n<!DOCTYPE html><html><body>Log in', operation => o.operation) e;
SELECT rule, outcome FROM concord.explain_outcome('rest', 200, '{"Content-Type": "text/html"}', '{"id": 5}', 'PATCH');
SELECT retry_after FROM concord.explain_outcome('rest', 429, '{"Retry-After": "7"}');
SELECT retry_after BETWEEN '100 s' AND '130 s' AS as_a_date
  FROM concord.explain_outcome('rest', 503, jsonb_build_object('Retry-After',
	to_char((now() AT TIME ZONE 'UTC') + interval '2 min', 'Dy, DD Mon YYYY HH24:MI:SS "GMT"')));
SELECT retry_after FROM concord.explain_outcome('rest', 503, '{"Retry-After": "1e9"}');
SELECT retry_after FROM concord.explain_outcome('rest', 503, '{"Retry-After": "soon"}');

-- ---- conditions, one by one; the last rule of each says that none before held
CREATE FUNCTION judge(conditions text, status int, headers jsonb, body text, method text DEFAULT 'POST', operation text DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	held bool;
BEGIN
	INSERT INTO concord.connector (name, protocol, definition)
	VALUES ('outcome_one', 'rest', jsonb_build_object('outcomes', jsonb_build_array(
		conditions::jsonb || '{"name": "it", "outcome": "throttle"}', '{"name": "none", "outcome": "dead"}'::jsonb)));
	SELECT rule = 'it' INTO held FROM concord.explain_outcome('outcome_one', status, headers, body, method, operation);
	DELETE FROM concord.connector WHERE name = 'outcome_one';
	RETURN held;
END $$;
\a
SELECT c.conditions, c.status, c.headers, c.body, judge(c.conditions, c.status, c.headers, c.body) AS holds
  FROM (VALUES
	('{}', 200, NULL::jsonb, NULL),
	('{"status": 400}', 400, NULL, NULL), ('{"status": 400}', 401, NULL, NULL),
	('{"status": "400"}', 400, NULL, NULL),
	('{"status": [400, "5xx", "410-412"]}', 400, NULL, NULL), ('{"status": [400, "5xx", "410-412"]}', 503, NULL, NULL),
	('{"status": [400, "5xx", "410-412"]}', 412, NULL, NULL), ('{"status": [400, "5xx", "410-412"]}', 413, NULL, NULL),
	('{"header": "X-A"}', 400, '{"x-a": "1"}', NULL), ('{"header": "X-A"}', 400, '{"X-B": "1"}', NULL), ('{"header": "X-A"}', 400, NULL, NULL),
	('{"header": "X-A", "match": "^req"}', 400, '{"X-A": "Required"}', NULL), ('{"header": "X-A", "match": "^req"}', 400, '{"X-A": "not required"}', 'required'),
	('{"header": {"X-A": "^r", "X-B": "."}}', 400, '{"X-A": "r", "X-B": "b"}', NULL), ('{"header": {"X-A": "^r", "X-B": "."}}', 400, '{"X-A": "r"}', NULL),
	('{"text": "busy"}', 400, NULL, 'we are BUSY'), ('{"text": "busy"}', 400, NULL, 'idle'), ('{"match": "busy"}', 400, NULL, '{"a": "busy"}'),
	('{"path": "error"}', 200, NULL, '{"error": {"code": 1}}'), ('{"path": "error"}', 200, NULL, '{"error": {}}'),
	('{"path": "error"}', 200, NULL, '{"error": null}'), ('{"path": "error"}', 200, NULL, '{"error": false}'),
	('{"path": "error"}', 200, NULL, '{"error": ""}'), ('{"path": "error"}', 200, NULL, '{"error": 0}'),
	('{"path": "error"}', 200, NULL, '{"error": true}'), ('{"path": "error"}', 200, NULL, '{"errors": true}'), ('{"path": "error"}', 200, NULL, ''),
	('{"path": "errors"}', 200, NULL, '{"errors": []}'), ('{"path": "errors"}', 200, NULL, '{"errors": [ ] }'), ('{"path": "errors"}', 200, NULL, '{"errors": [0]}'),
	('{"path": "error", "exists": false}', 200, NULL, '{"error": null}'), ('{"path": "error", "exists": false}', 200, NULL, '{"error": 1}'),
	('{"path": "error", "exists": false}', 200, NULL, 'no JSON'), ('{"path": "error", "exists": true}', 200, NULL, '{"error": 1}'),
	('{"path": "a.b"}', 200, NULL, '{"a": {"b": 1}}'), ('{"path": "a.b"}', 200, NULL, '{"a": [{"b": 1}]}'), ('{"path": "a.0.b"}', 200, NULL, '{"a": [{"b": 1}]}'),
	('{"path": "a[0].b"}', 200, NULL, '{"a": [{"b": 1}]}'), ('{"path": "a[1].b"}', 200, NULL, '{"a": [{"b": 1}]}'), ('{"path": "a[1].b"}', 200, NULL, '{"a": [{"b": 1}, {"b": 2}]}'),
	('{"path": "[0].code", "equals": "X"}', 200, NULL, '[{"code": "X"}]'), ('{"path": "[0].code", "equals": "X"}', 200, NULL, '[{"code": "Y"}, {"code": "X"}]'),
	('{"path": "[*].code", "equals": "X"}', 200, NULL, '[{"code": "Y"}, {"code": "X"}]'), ('{"path": "[*].code", "equals": "X"}', 200, NULL, '{"a": {"code": "X"}}'),
	('{"path": "[*].code", "equals": "X"}', 200, NULL, '[]'), ('{"path": "[*].code", "equals": "X"}', 200, NULL, '[1, "X", [], {"code": ["X"]}]'),
	('{"path": "data.*.userErrors"}', 200, NULL, '{"data": {"a": {"userErrors": []}, "b": {"userErrors": [{"message": "no"}]}}}'),
	('{"path": "data.*.userErrors"}', 200, NULL, '{"data": {"a": {"userErrors": []}}}'),
	('{"path": "[\"@odata.error\"].code"}', 200, NULL, '{"@odata.error": {"code": 1}}'), ('{"path": "a[\"b.c\"][*]"}', 200, NULL, '{"a": {"b.c": [null, 2]}}'),
	('{"path": "code", "equals": 301}', 200, NULL, '{"code": 301}'), ('{"path": "code", "equals": 301}', 200, NULL, '{"code": "301"}'),
	('{"path": "code", "equals": "301"}', 200, NULL, '{"code": 301.0}'), ('{"path": "code", "equals": 301}', 200, NULL, '{"code": "301a"}'),
	('{"path": "code", "equals": ["A", "B"]}', 200, NULL, '{"code": "B"}'), ('{"path": "code", "equals": ["A", "B"]}', 200, NULL, '{"code": "b"}'),
	('{"path": "ok", "equals": false}', 200, NULL, '{"ok": false}'), ('{"path": "ok", "equals": false}', 200, NULL, '{"ok": null}'), ('{"path": "ok", "equals": false}', 200, NULL, '{}'),
	('{"path": "code", "match": "^B"}', 200, NULL, '{"code": "busy"}'), ('{"path": "code", "match": "^B"}', 200, NULL, '{"code": "a busy"}'),
	('{"path": "ok", "match": "^false$"}', 200, NULL, '{"ok": false}'), ('{"path": "ok", "match": "."}', 200, NULL, '{"ok": null}'),
	('{"path": "code", "match": "é"}', 200, NULL, '{"code": "\u00e9"}'), ('{"path": "e", "match": "\"c\": 5"}', 200, NULL, '{"e": {"c": 5}}'),
	('{"path": "code", "equals": "A", "text": "now"}', 200, NULL, '{"code": "A", "m": "not now"}'), ('{"path": "code", "equals": "A", "text": "now"}', 200, NULL, '{"code": "A"}'),
	('{"path": "code", "equals": "A"}', 200, NULL, '{"code": "A"'), ('{"path": "code", "equals": "A"}', 200, NULL, '{"x": [{]}, "code": "A"}'),
	('{"path": "code", "equals": "A"}', 200, NULL, '{"x" "code": "A"}'), ('{"path": "code"}', 200, NULL, '[')
  ) c (conditions, status, headers, body);
SELECT judge('{"path": "code"}', 200, NULL, repeat(t, 100000)) AS deep FROM unnest('{[,"{\"a\":"}'::text[]) t;
SELECT c.conditions, c.method, c.operation, judge(c.conditions, 200, NULL, NULL, c.method, c.operation) AS holds
  FROM (VALUES ('{"method": "POST"}', 'POST', NULL), ('{"method": "POST"}', 'PUT', NULL), ('{"method": ["PUT", "PATCH"]}', 'PATCH', NULL),
	('{"operation": "create"}', 'POST', NULL), ('{"operation": "create"}', 'PATCH', NULL), ('{"operation": ["update", "delete"]}', 'DELETE', NULL),
	('{"operation": "create"}', 'PUT', 'create'), ('{"operation": "send"}', 'POST', 'send'), ('{"operation": "read"}', 'GET', NULL)) c (conditions, method, operation);
SELECT * FROM concord.explain_outcome('rest', 200, operation => 'insert');
SELECT * FROM concord.explain_outcome('rest', 200, headers => '[]');
SELECT * FROM concord.explain_outcome('nothing', 200);

-- ---- how long to wait
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_wait', 'rest', '{"outcomes": [
	{"name": "fixed", "status": 401, "outcome": "throttle", "retry_after": "15min"},
	{"name": "ms header", "status": 402, "outcome": "throttle", "retry_after": {"header": "X-Reset-Ms", "unit": "ms"}},
	{"name": "path", "status": 403, "outcome": "retry", "retry_after": {"path": "errors[*].wait"}},
	{"name": "at", "status": 404, "outcome": "down", "retry_after": {"header": "X-Reset", "unit": "at"}}]}');
SELECT e.rule, e.outcome, e.retry_after
  FROM (VALUES (401, NULL::jsonb, NULL), (401, '{"Retry-After": "3"}', NULL), (402, '{"X-Reset-Ms": "1500"}', NULL), (402, '{"X-Reset-Ms": "1500", "Retry-After": "3"}', NULL),
	(402, '{"Retry-After": "3"}', NULL), (402, '{"X-Reset-Ms": "x"}', NULL), (403, NULL, '{"errors": [{}, {"wait": "2.5"}]}'), (403, NULL, '{"errors": []}'),
	(404, '{"X-Reset": "1000"}', NULL)) a (status, headers, body), concord.explain_outcome('outcome_wait', a.status, a.headers, a.body) e;
SELECT retry_after BETWEEN '50 s' AND '62 s' AS at
  FROM concord.explain_outcome('outcome_wait', 404, jsonb_build_object('X-Reset', extract(epoch FROM clock_timestamp() + interval '1 min')::int));

-- ---- answers as systems document them
INSERT INTO concord.connector (name, protocol, definition) VALUES
-- developer.salesforce.com, REST API Developer Guide, "Status Codes and Error Responses"
('outcome_salesforce', 'rest', '{"outcomes": [
	{"name": "daily quota", "status": 403, "path": "[*].errorCode", "equals": "REQUEST_LIMIT_EXCEEDED", "text": "TotalRequests", "outcome": "throttle", "retry_after": "15min"},
	{"name": "request limit", "status": 403, "path": "[*].errorCode", "equals": "REQUEST_LIMIT_EXCEEDED", "outcome": "throttle"},
	{"name": "row lock", "path": "[*].errorCode", "equals": "UNABLE_TO_LOCK_ROW", "outcome": "retry"},
	{"name": "several records", "status": 300, "outcome": "dead"},
	{"name": "deleted", "path": "[*].errorCode", "equals": "ENTITY_IS_DELETED", "outcome": "gone"}]}'),
-- help.sap.com, SAP Gateway, CSRF token handling; a stale ETag is 412, none 428
('outcome_gateway', 'odata', '{"extends": "odata", "outcomes": [
	{"name": "CSRF token", "status": 403, "header": {"X-CSRF-Token": "^required$"}, "outcome": "retry"}]}'),
-- docs.oracle.com, NetSuite REST, "Idempotency" and concurrency errors of RESTlets
('outcome_netsuite', 'rest', '{"outcomes": [
	{"name": "repeated", "status": 400, "path": "[\"o:errorDetails\"][*][\"o:errorCode\"]", "equals": "IDEMPOTENCY_ERROR", "outcome": "done"},
	{"name": "concurrency", "status": 400, "path": "error.code", "equals": "SSS_REQUEST_LIMIT_EXCEEDED", "outcome": "throttle"},
	{"name": "changed", "path": "[\"o:errorDetails\"][*][\"o:errorCode\"]", "equals": "RCRD_HAS_BEEN_CHANGED", "outcome": "conflict"}]}'),
-- Odoo external API: JSON-RPC answers errors with 200
('outcome_odoo', 'rest', '{"message_path": "error.data.message", "outcomes": [
	{"name": "lock", "status": 200, "path": "error.data.name", "match": "OperationalError|LockNotAvailable|Serialization", "outcome": "retry"},
	{"name": "missing", "status": 200, "path": "error.data.name", "match": "MissingError$", "outcome": "gone"},
	{"name": "error", "status": 200, "path": "error", "outcome": "dead"}]}'),
-- shopify.dev, GraphQL Admin API: rate limits, userErrors
('outcome_shopify', 'rest', '{"outcomes": [
	{"name": "cost limit", "status": 200, "path": "errors[*].extensions.code", "equals": "THROTTLED", "outcome": "throttle"},
	{"name": "errors", "status": 200, "path": "errors", "outcome": "dead"},
	{"name": "taken", "status": 200, "path": "data.*.userErrors[*].message", "match": "already been taken", "outcome": "exists"},
	{"name": "user errors", "status": 200, "path": "data.*.userErrors", "outcome": "dead"}]}'),
-- SAP Business One Service Layer, user's manual
('outcome_b1', 'odata', '{"extends": "odata", "outcomes": [
	{"name": "session", "status": 401, "path": "error.code", "equals": 301, "outcome": "retry"},
	{"name": "exists", "path": "error.code", "equals": -2035, "outcome": "exists"},
	{"name": "changed meanwhile", "path": "error.code", "equals": -2039, "outcome": "conflict"}]}'),
-- learn.microsoft.com, Dataverse service protection limits; 412 is also a duplicate
('outcome_dataverse', 'odata', '{"extends": "odata", "outcomes": [
	{"name": "service protection", "path": "error.code", "equals": ["0x80072322", "0x80072321", "0x80072326"], "outcome": "throttle"},
	{"name": "duplicate", "status": 412, "path": "error.code", "equals": ["0x80040237", "0x80060892"], "outcome": "exists"}]}');

SELECT a.connector, e.rule, e.outcome, e.otherwise, e.retry_after, e.message
  FROM (VALUES
	('outcome_salesforce', 403, NULL::jsonb, '[{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]', 'PATCH'),
	('outcome_salesforce', 403, NULL, '[{"message": "ConcurrentRequests (Concurrent API Requests) Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]', 'PATCH'),
	('outcome_salesforce', 403, NULL, '[{"message": "insufficient access", "errorCode": "INSUFFICIENT_ACCESS"}]', 'PATCH'),
	('outcome_salesforce', 400, NULL, '[{"message": "unable to obtain exclusive access to this record", "errorCode": "UNABLE_TO_LOCK_ROW", "fields": []}]', 'PATCH'),
	('outcome_salesforce', 300, NULL, '["/services/data/v60.0/sobjects/Account/001"]', 'PATCH'),
	('outcome_salesforce', 404, NULL, '[{"errorCode": "ENTITY_IS_DELETED", "message": "entity is deleted"}]', 'DELETE'),
	('outcome_salesforce', 204, NULL, NULL, 'PATCH'),
	('outcome_gateway', 403, '{"x-csrf-token": "Required"}', 'CSRF token validation failed', 'POST'),
	('outcome_gateway', 403, NULL, '{"error": {"code": "/IWFND/MED/170", "message": {"lang": "en", "value": "No authorization"}}}', 'POST'),
	('outcome_gateway', 400, NULL, '{"error": {"message": {"value": "Customer 17 is locked by user MILLER"}}}', 'PATCH'),
	('outcome_gateway', 412, NULL, NULL, 'PATCH'),
	('outcome_gateway', 428, NULL, NULL, 'PATCH'),
	('outcome_netsuite', 400, NULL, '{"type": "x", "title": "Bad Request", "status": 400, "o:errorDetails": [{"detail": "seen before", "o:errorCode": "IDEMPOTENCY_ERROR"}]}', 'POST'),
	('outcome_netsuite', 400, NULL, '{"title": "Bad Request", "o:errorDetails": [{"detail": "Invalid content in the request body.", "o:errorCode": "INVALID_CONTENT"}]}', 'POST'),
	('outcome_netsuite', 400, NULL, '{"error": {"code": "SSS_REQUEST_LIMIT_EXCEEDED", "message": "{\"type\":\"error.SuiteScriptError\"}"}}', 'POST'),
	('outcome_netsuite', 400, NULL, '{"o:errorDetails": [{"detail": "Record has been changed.", "o:errorCode": "RCRD_HAS_BEEN_CHANGED"}]}', 'PATCH'),
	('outcome_odoo', 200, NULL, '{"jsonrpc": "2.0", "id": 1, "result": 42}', 'POST'),
	('outcome_odoo', 200, NULL, '{"jsonrpc": "2.0", "id": 1, "error": {"code": 200, "message": "Odoo Server Error", "data": {"name": "odoo.exceptions.ValidationError", "debug": "Traceback", "message": "The VAT number is not valid."}}}', 'POST'),
	('outcome_odoo', 200, NULL, '{"error": {"message": "Odoo Server Error", "data": {"name": "psycopg2.errors.LockNotAvailable", "message": "could not obtain lock"}}}', 'POST'),
	('outcome_odoo', 200, NULL, '{"error": {"message": "Odoo Server Error", "data": {"name": "odoo.exceptions.MissingError", "message": "Record does not exist"}}}', 'PUT'),
	('outcome_shopify', 200, NULL, '{"data": {"customerCreate": {"customer": {"id": "gid://shopify/Customer/1"}, "userErrors": []}}}', 'POST'),
	('outcome_shopify', 200, NULL, '{"data": {"customerCreate": {"customer": null, "userErrors": [{"field": ["email"], "message": "Email is invalid"}]}}}', 'POST'),
	('outcome_shopify', 200, NULL, '{"data": {"customerCreate": {"userErrors": [{"field": ["email"], "message": "Email has already been taken"}]}}}', 'POST'),
	('outcome_shopify', 200, NULL, '{"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}], "extensions": {"cost": {"requestedQueryCost": 202}}}', 'POST'),
	('outcome_shopify', 422, NULL, '{"errors": {"title": ["can''t be blank"]}}', 'POST'),
	('outcome_b1', 401, NULL, '{"error": {"code": 301, "message": {"lang": "en-us", "value": "Invalid session or session already timeout."}}}', 'PATCH'),
	('outcome_b1', 401, NULL, '{"error": {"code": "301", "message": "Invalid session or session already timeout."}}', 'PATCH'),
	('outcome_b1', 401, NULL, '{"error": {"code": 100000027, "message": "wrong password"}}', 'PATCH'),
	('outcome_b1', 400, NULL, '{"error": {"code": -2035, "message": {"value": "This entry already exists in the following tables (ODBC -2035)"}}}', 'POST'),
	('outcome_b1', 412, NULL, '{"error": {"code": -2039, "message": {"value": "Another user modified the table"}}}', 'PATCH'),
	('outcome_dataverse', 429, '{"Retry-After": "23"}', '{"error": {"code": "0x80072322", "message": "Number of requests exceeded the limit of 6000 over time window of 300 seconds."}}', 'PATCH'),
	('outcome_dataverse', 412, NULL, '{"error": {"code": "0x80060882", "message": "The version of the existing record doesn''t match the RowVersion property provided."}}', 'PATCH'),
	('outcome_dataverse', 412, NULL, '{"error": {"code": "0x80040237", "message": "A record with matching key values already exists."}}', 'POST')
  ) a (connector, status, headers, body, method), concord.explain_outcome(a.connector::name, a.status, a.headers, a.body, a.method) e;

-- ---- which rules a connector has
SELECT "position", rule, defined_by, outcome, definition FROM concord.outcome_rule WHERE connector = 'outcome_b1' AND defined_by IS NOT NULL ORDER BY "position";
SELECT count(*) > 20 AS defaults, count(*) FILTER (WHERE defined_by IS NULL) = count(*) AS only_they
  FROM concord.outcome_rule WHERE connector = 'webhook';

-- ---- extends: members replace, rules come before
INSERT INTO concord.connector (name, protocol, definition) VALUES
('outcome_base', 'rest', '{"update": {"method": "PUT", "path": "{object}/by-key/{key}"}, "remote_id_path": "data.id",
	"outcomes": [{"name": "base", "status": 418, "outcome": "retry"}]}'),
('outcome_middle', 'rest', '{"extends": "outcome_base", "update": {"method": "PATCH"}, "outcomes": [{"name": "middle", "status": "4xx", "outcome": "dead"}]}'),
('outcome_top', 'rest', '{"extends": "outcome_middle", "outcomes": [{"name": "top", "status": 419, "outcome": "throttle"}]}');
SELECT "position", rule, defined_by FROM concord.outcome_rule WHERE connector = 'outcome_top' AND defined_by IS NOT NULL ORDER BY "position";
SELECT s, rule FROM unnest('{418,419}'::int[]) s, concord.explain_outcome('outcome_top', s);
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_x', 'rest', '{"extends": "nothing"}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_x', 'odata', '{"extends": "rest"}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_x', 'rest', '{"extends": 1}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('outcome_x', 'rest', '{"extends": "outcome_x"}');
UPDATE concord.connector SET definition = '{"extends": "outcome_top"}' WHERE name = 'outcome_base';
DELETE FROM concord.connector WHERE name = 'outcome_middle';
-- one statement may bring both, in any order, as a dump does
INSERT INTO concord.connector (name, protocol, definition) VALUES
('outcome_child', 'rest', '{"extends": "outcome_parent"}'), ('outcome_parent', 'rest', '{}');

DELETE FROM concord.connector WHERE name LIKE 'outcome%';
DROP FUNCTION try, judge;
