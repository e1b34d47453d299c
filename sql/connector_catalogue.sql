-- The catalogue as a whole: which requests each row makes, that none of them is
-- missing or goes to an address made up by a default, and what the answers mean
-- that each system documents for too many requests and for credentials.
-- test/dialects has the systems themselves, pages in doc/connectors the sources.
\set VERBOSITY terse
\set SHOW_CONTEXT never

-- ---- verbs: every row of protocol rest states all four, since the default
-- addresses are those of no system in particular; the other protocols have theirs
SELECT c.name, v.verb AS "not stated"
FROM concord.connector c, unnest('{create,update,delete,probe}'::text[]) AS v (verb)
WHERE c.builtin AND c.protocol = 'rest' AND c.name <> 'rest' AND c.definition -> v.verb -> 'path' IS NULL
ORDER BY 1, 2;

SELECT c.name, v.verb,
	coalesce(c.definition -> v.verb ->> 'method', CASE v.verb WHEN 'create' THEN 'POST' WHEN 'update' THEN 'PATCH' WHEN 'delete' THEN 'DELETE' ELSE 'GET' END) AS method,
	c.definition -> v.verb ->> 'path' AS path
FROM concord.connector c, unnest('{create,update,delete,probe,find}'::text[]) WITH ORDINALITY AS v (verb, n)
WHERE c.builtin AND c.protocol <> 'odata' AND c.definition -> v.verb IS NOT NULL
ORDER BY c.name COLLATE "C", v.n;

-- messages have one verb, and no record that could be looked up
SELECT c.name, v.verb AS "has no meaning"
FROM concord.connector c, unnest('{update,delete,probe,find}'::text[]) AS v (verb)
WHERE c.builtin AND c.protocol = 'webhook' AND c.definition ? v.verb;

-- ---- records: what becomes of a create that may have arrived
SELECT c.name, c.definition ->> 'remote_id' AS ids,
	CASE WHEN c.definition ? 'find' THEN 'is searched for'
		WHEN c.definition ->> 'create_repeats' = 'yes' THEN 'is repeated'
		WHEN c.definition ->> 'remote_id' = 'assigned' THEN 'is repeated and may be there twice'
		ELSE 'is looked up by its key' END AS "a create that may have arrived",
	coalesce(c.definition ->> 'key_change', 'update') AS "a changed key"
FROM concord.connector c
WHERE c.builtin AND c.protocol = 'rest'
ORDER BY c.name COLLATE "C";

-- a search that names the key answers the key too, so that another record is noticed
SELECT c.name AS "finds what it cannot check"
FROM concord.connector c
WHERE c.builtin AND c.definition ? 'find' AND NOT (c.definition -> 'find')::text ~ '"fields": \[[^]]*\{key\.name\}|sysparm_fields": "[^"]*\{key\.name\}|\["id", "\{key\.name\}"\]'
	AND c.name !~ '^bigcommerce'		-- answers whole records
ORDER BY 1;

-- ---- batches: how much goes in a request, and how results are known
SELECT c.name, b.form ->> 'format' AS format, b.form -> 'operations' AS operations, b.form -> 'max_count' AS max_count, b.form -> 'max_bytes' AS max_bytes,
	coalesce(b.form -> 'answer' ->> 'match', 'index') AS match
FROM concord.connector c,
	jsonb_array_elements(CASE jsonb_typeof(c.definition -> 'batch') WHEN 'array' THEN c.definition -> 'batch' ELSE jsonb_build_array(c.definition -> 'batch') END) AS b (form)
WHERE c.builtin AND c.definition ? 'batch'
ORDER BY c.name COLLATE "C", b.form ->> 'format', b.form ->> 'operations';

-- ---- what every system means by these, whatever else its row says
SELECT c.name, a.status, o.outcome, o.rule
FROM concord.connector c, (VALUES (401, '{down}'::text[]), (429, '{throttle}'), (500, '{retry}'), (502, '{down}'), (503, '{down,throttle}'), (504, '{down}')) AS a (status, good),
	LATERAL concord.explain_outcome(c.name, a.status, operation => CASE c.protocol WHEN 'webhook' THEN 'send' ELSE 'update' END) AS o
WHERE c.builtin AND NOT o.outcome = ANY (a.good)
ORDER BY 1, 2;

-- ---- what they document in words of their own
CREATE TEMP TABLE documented (connector name, about text, status int, headers jsonb, body text, operation text, outcome text);
INSERT INTO documented VALUES
	('salesforce', 'throttling', 403, NULL, '[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]', 'update', 'throttle'),
	('salesforce', 'credentials', 401, NULL, '[{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]', 'update', 'down'),
	('salesforce', 'lock in a batch', 400, NULL, '{"success": false, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "x"}]}', 'update', 'retry'),
	('odoo', 'credentials', 401, NULL, '{"name": "werkzeug.exceptions.Unauthorized", "message": "Invalid apikey"}', 'create', 'down'),
	('odoo', 'throttling', 429, NULL, '{"name": "werkzeug.exceptions.TooManyRequests"}', 'create', 'throttle'),
	('google_pubsub', 'throttling', 429, NULL, '{"error": {"status": "RESOURCE_EXHAUSTED"}}', 'send', 'throttle'),
	('google_pubsub', 'credentials', 401, NULL, '{"error": {"status": "UNAUTHENTICATED"}}', 'send', 'down'),
	('google_pubsub', 'conflict', 409, NULL, '{"error": {"status": "ABORTED"}}', 'send', 'retry'),
	('kafka_rest', 'throttling', 429, NULL, '{"error_code": 429}', 'send', 'throttle'),
	('kafka_rest', 'credentials', 401, NULL, '{"error_code": 40101}', 'send', 'down'),
	('kafka_rest', 'retriable', 200, NULL, '{"offsets": [{"error_code": 2, "error": "x"}]}', 'send', 'retry'),
	('kafka_rest', 'not retriable', 200, NULL, '{"offsets": [{"error_code": 1, "error": "x"}]}', 'send', 'dead'),
	('kafka_rest', 'success', 200, NULL, '{"offsets": [{"partition": 0, "offset": 1, "error_code": null, "error": null}]}', 'send', 'done'),
	('azure_service_bus', 'throttling', 403, NULL, '<Error><Code>403</Code><Detail>The maximum entity size has been reached or exceeded for Queue: q. Quota exceeded</Detail></Error>', 'send', 'throttle'),
	('azure_service_bus', 'credentials', 401, NULL, '<Error><Code>401</Code></Error>', 'send', 'down'),
	('azure_service_bus', 'not allowed', 403, NULL, '<Error><Code>403</Code><Detail>SubCode=40301. Operation is not allowed.</Detail></Error>', 'send', 'dead'),
	('azure_service_bus', 'no such entity', 410, NULL, '<Error><Code>410</Code></Error>', 'send', 'down'),
	('aws_eventbridge', 'throttling', 400, NULL, '{"__type": "ThrottlingException"}', 'send', 'throttle'),
	('aws_eventbridge', 'throttling of an entry', 200, NULL, '{"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}', 'send', 'throttle'),
	('aws_eventbridge', 'credentials', 400, NULL, '{"__type": "UnrecognizedClientException"}', 'send', 'down'),
	('aws_eventbridge', 'success', 200, NULL, '{"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}', 'send', 'done'),
	('sqs', 'throttling', 400, NULL, '{"__type": "com.amazonaws.sqs#RequestThrottled"}', 'send', 'throttle'),
	('sqs', 'throttling of an entry', 400, NULL, '{"Id": "m1", "SenderFault": true, "Code": "RequestThrottled"}', 'send', 'throttle'),
	('sqs', 'failure of an entry', 400, NULL, '{"Id": "m1", "SenderFault": false, "Code": "InternalError"}', 'send', 'retry'),
	('sqs', 'refusal of an entry', 400, NULL, '{"Id": "m1", "SenderFault": true, "Code": "InvalidMessageContents"}', 'send', 'dead'),
	('sqs', 'credentials', 403, NULL, '{"__type": "com.amazon.coral.service#InvalidSignatureException"}', 'send', 'down'),
	('sqs_fifo', 'throttling', 400, NULL, '{"__type": "com.amazonaws.sqs#KmsThrottled"}', 'send', 'throttle'),
	('sqs_fifo', 'credentials', 403, NULL, '{"__type": "com.amazon.coral.service#ExpiredTokenException"}', 'send', 'down'),
	('slack', 'throttling', 200, NULL, '{"ok": false, "error": "ratelimited"}', 'send', 'throttle'),
	('slack', 'credentials', 200, NULL, '{"ok": false, "error": "invalid_auth"}', 'send', 'down'),
	('sap_s4', 'credentials', 403, '{"X-CSRF-Token": "Required"}', 'CSRF token validation failed', 'update', 'down'),
	('sap_s4', 'throttling', 429, '{"Retry-After": "3"}', NULL, 'update', 'throttle'),
	('sap_s4', 'no such service', 403, NULL, '{"error": {"code": "/IWFND/MED/170", "message": "No service found"}}', 'update', 'down'),
	('sap_s4_v2', 'credentials', 403, '{"X-CSRF-Token": "Required"}', 'CSRF token validation failed', 'update', 'down'),
	('sap_s4_v2', 'throttling', 429, '{"Retry-After": "3"}', NULL, 'update', 'throttle'),
	('sap_b1', 'credentials', 401, NULL, '{"error": {"code": "301", "message": "Invalid session or session already timeout."}}', 'update', 'down'),
	('sap_b1', 'throttling', 429, '{"Retry-After": "3"}', NULL, 'update', 'throttle'),
	('dataverse', 'throttling', 429, '{"Retry-After": "30"}', '{"error": {"code": "0x80072322", "message": "Number of requests exceeded the limit of 6000"}}', 'update', 'throttle'),
	('dataverse', 'concurrency', 400, NULL, '{"error": {"code": "0x80072326", "message": "Number of concurrent requests exceeded the limit of 52."}}', 'update', 'throttle'),
	('dataverse', 'credentials', 401, NULL, NULL, 'update', 'down'),
	('dataverse', 'SQL timeout', 500, NULL, '{"error": {"code": "0x80044151", "message": "SQL timeout expired."}}', 'update', 'retry'),
	('business_central', 'throttling', 503, NULL, NULL, 'update', 'throttle'),
	('business_central', 'credentials', 401, NULL, '{"error": {"code": "Authentication_InvalidCredentials"}}', 'update', 'down'),
	('netsuite', 'throttling', 400, NULL, '{"o:errorDetails": [{"o:errorCode": "SSS_REQUEST_LIMIT_EXCEEDED"}]}', 'update', 'throttle'),
	('netsuite', 'credentials', 401, NULL, '{"o:errorDetails": [{"o:errorCode": "INVALID_LOGIN"}]}', 'update', 'down'),
	('sage_intacct', 'throttling', 429, NULL, NULL, 'update', 'throttle'),
	('sage_intacct', 'credentials', 401, NULL, NULL, 'update', 'down'),
	('sage_intacct', 'partial success', 207, NULL, '{"ia::result": {"key": "1"}}', 'update', 'dead'),
	('tryton', 'throttling', 200, NULL, '{"id": 1, "error": ["RateLimitException", []]}', 'create', 'throttle'),
	('tryton', 'credentials', 401, NULL, NULL, 'create', 'down'),
	('sage_x3', 'throttling', 429, NULL, NULL, 'update', 'throttle'),
	('sage_x3', 'credentials', 401, NULL, NULL, 'update', 'down'),
	('shopify', 'throttling', 200, NULL, '{"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}', 'update', 'throttle'),
	('shopify', 'credentials', 401, NULL, NULL, 'update', 'down'),
	('shopify', 'scope', 200, NULL, '{"errors": [{"message": "Access denied", "extensions": {"code": "ACCESS_DENIED"}}]}', 'update', 'down'),
	('shopify', 'frozen', 402, NULL, NULL, 'update', 'down'),
	('shopify', 'locked', 423, NULL, NULL, 'update', 'down'),
	('shopify', 'no such record', 200, NULL, '{"data": {"record": null}}', 'read', 'gone'),
	('bigcommerce', 'throttling', 429, '{"X-Rate-Limit-Time-Reset-Ms": "300"}', NULL, 'update', 'throttle'),
	('bigcommerce', 'credentials', 403, NULL, NULL, 'update', 'down'),
	('bigcommerce', 'partial success', 207, NULL, '{"data": {"id": 1}, "errors": {}}', 'update', 'dead'),
	('bigcommerce_customers', 'throttling', 429, NULL, NULL, 'update', 'throttle'),
	('bigcommerce_customers', 'credentials', 403, NULL, NULL, 'update', 'down'),
	('magento', 'throttling', 429, NULL, NULL, 'update', 'throttle'),
	('magento', 'credentials', 401, NULL, NULL, 'update', 'down'),
	('shipstation', 'throttling', 429, '{"X-Rate-Limit-Reset": "20"}', NULL, 'update', 'throttle'),
	('shipstation', 'credentials', 401, NULL, NULL, 'update', 'down'),
	('servicenow', 'throttling', 429, '{"Retry-After": "60"}', NULL, 'update', 'throttle'),
	('servicenow', 'credentials', 401, NULL, NULL, 'update', 'down');
SELECT d.connector, d.about, o.outcome, o.rule
FROM documented d, LATERAL concord.explain_outcome(d.connector, d.status, d.headers, d.body, NULL, d.operation) AS o
WHERE o.outcome IS DISTINCT FROM d.outcome
ORDER BY 1, 2;

-- a row that comes later has to be in the list
SELECT c.name AS "says nothing of throttling or credentials"
FROM concord.connector c
WHERE c.builtin AND c.name NOT IN ('rest', 'odata', 'webhook')
	AND (SELECT count(DISTINCT d.about) FROM documented d WHERE d.connector = c.name AND d.about IN ('throttling', 'credentials')) < 2
ORDER BY 1;
