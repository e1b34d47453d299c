/*
 * Connector room: the foreign-data wrapper, the connectors we ship, ping.
 */

CREATE FUNCTION concord.fdw_validator(options text[], catalog oid) RETURNS void
	LANGUAGE c STRICT
	AS 'MODULE_PATHNAME', 'concord_fdw_validator';

-- Foreign tables: extension/fdw.
CREATE FUNCTION concord.fdw_handler() RETURNS fdw_handler
	LANGUAGE c STRICT
	AS 'MODULE_PATHNAME', 'concord_fdw_handler';

CREATE FOREIGN DATA WRAPPER concord
	HANDLER concord.fdw_handler VALIDATOR concord.fdw_validator;

-- A definition that cannot be used is refused when it is written.
CREATE FUNCTION concord.connector_check() RETURNS trigger
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'concord_connector_check';
CREATE TRIGGER connector_check
	BEFORE INSERT OR UPDATE OR DELETE ON concord.connector
	FOR EACH ROW EXECUTE FUNCTION concord.connector_check();

-- What a definition extends is looked for when all rows of a statement are in.
CREATE FUNCTION concord.connector_check_all() RETURNS trigger
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'concord_connector_check_all';
CREATE TRIGGER connector_check_all
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON concord.connector
	FOR EACH STATEMENT EXECUTE FUNCTION concord.connector_check_all();

INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('rest', 'rest', 'JSON over plain HTTP verbs: POST object, PATCH object/key, DELETE object/key',
	 '{"create": {"method": "POST", "path": "{object}"},
	   "update": {"method": "PATCH", "path": "{object}/{key}"},
	   "delete": {"method": "DELETE", "path": "{object}/{key}"},
	   "probe": {"method": "GET", "path": "{object}/{key}"},
	   "remote_id_path": "id", "unchanged": "suppress", "replay": "state",
	   "limits": [{"form": "ietf"},
	              {"remaining": "x-ratelimit-remaining", "limit": "x-ratelimit-limit", "reset": "x-ratelimit-reset"}],
	   "batch": {"format": "json_array", "operations": ["create"]}}',
	 true),
	('odata', 'odata', 'OData 4: entities with or without ETags',
	 '{"upsert": "post", "if_match": "etag", "unchanged": "suppress", "replay": "state",
	   "batch": {"format": "odata_batch_multipart"},
	   "outcomes": [{"name": "record is locked", "status": 400,
	                 "match": "locked by|object is locked", "outcome": "retry"}],
	   "limits": [{"form": "ietf"},
	              {"remaining": "x-ratelimit-remaining", "limit": "x-ratelimit-limit", "reset": "x-ratelimit-reset"}]}',
	 true),
	('webhook', 'webhook', 'One POST per event: JSON with CloudEvents headers, Standard Webhooks signature',
	 '{"unchanged": "send", "replay": "events", "batch": {"format": "cloudevents"},
	   "limits": [{"form": "ietf"},
	              {"remaining": "x-ratelimit-remaining", "limit": "x-ratelimit-limit", "reset": "x-ratelimit-reset"}]}',
	 true);

CREATE FUNCTION concord.ping(server name, role name DEFAULT CURRENT_USER,
	OUT ok bool, OUT status int, OUT elapsed interval, OUT error text)
	RETURNS record
	LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'concord_ping';
COMMENT ON FUNCTION concord.ping(name, name) IS
	'one authenticated request to a server; tells whether it answers';

-- Which rules decide about answers, in the order in which they are tried.
CREATE FUNCTION concord.outcome_rules(connector name,
	OUT ord int, OUT rule text, OUT defined_by name, OUT outcome text, OUT definition jsonb)
	RETURNS SETOF record
	LANGUAGE c STRICT STABLE
	AS 'MODULE_PATHNAME', 'concord_outcome_rules';
COMMENT ON FUNCTION concord.outcome_rules(name) IS
	'the outcome rules of a connector: its own, those it extends, the defaults (defined_by null)';

CREATE VIEW concord.outcome_rule AS
	SELECT c.name AS connector, r.ord AS "position", r.rule, r.defined_by, r.outcome, r.definition
	FROM concord.connector c
	CROSS JOIN LATERAL concord.outcome_rules(c.name) r;
COMMENT ON VIEW concord.outcome_rule IS 'what answers mean: the outcome rules of each connector in their order';

CREATE FUNCTION concord.explain_outcome(connector name, status int, headers jsonb DEFAULT NULL,
	body text DEFAULT NULL, method text DEFAULT NULL, operation text DEFAULT NULL,
	OUT rule text, OUT outcome text, OUT otherwise text, OUT retry_after interval, OUT message text)
	RETURNS record
	LANGUAGE c STABLE
	AS 'MODULE_PATHNAME', 'concord_explain_outcome';
COMMENT ON FUNCTION concord.explain_outcome(name, int, jsonb, text, text, text) IS
	'what a connector makes of an answer, and by which rule; operation is create, update, delete, read or send';
