/*
 * Connector room: the foreign-data wrapper, the connectors we ship, ping.
 */

CREATE FUNCTION concord.fdw_validator(options text[], catalog oid) RETURNS void
	LANGUAGE c STRICT
	AS 'MODULE_PATHNAME', 'concord_fdw_validator';

CREATE FOREIGN DATA WRAPPER concord VALIDATOR concord.fdw_validator;

-- A definition that cannot be used is refused when it is written.
CREATE FUNCTION concord.connector_check() RETURNS trigger
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'concord_connector_check';
CREATE TRIGGER connector_check
	BEFORE INSERT OR UPDATE OR DELETE ON concord.connector
	FOR EACH ROW EXECUTE FUNCTION concord.connector_check();

INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('rest', 'rest', 'JSON over plain HTTP verbs: POST object, PATCH object/key, DELETE object/key',
	 '{"create": {"method": "POST", "path": "{object}"},
	   "update": {"method": "PATCH", "path": "{object}/{key}"},
	   "delete": {"method": "DELETE", "path": "{object}/{key}"},
	   "probe": {"method": "GET", "path": "{object}/{key}"},
	   "remote_id_path": "id", "unchanged": "suppress", "replay": "state"}',
	 true),
	('odata', 'odata', 'OData 4: entities with or without ETags',
	 '{"upsert": "post", "if_match": "etag", "unchanged": "suppress", "replay": "state",
	   "outcomes": [{"name": "record is locked", "status": 400,
	                 "match": "locked by|object is locked", "outcome": "retry"}]}',
	 true),
	('webhook', 'webhook', 'One POST per event: JSON with CloudEvents headers, Standard Webhooks signature',
	 '{"unchanged": "send", "replay": "events"}',
	 true);

CREATE FUNCTION concord.ping(server name, role name DEFAULT CURRENT_USER,
	OUT ok bool, OUT status int, OUT elapsed interval, OUT error text)
	RETURNS record
	LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'concord_ping';
COMMENT ON FUNCTION concord.ping(name, name) IS
	'one authenticated request to a server; tells whether it answers';
