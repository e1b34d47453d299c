/*
 * Live room: what a session asks a system while it waits.
 *
 * Rights are checked in C: USAGE on the server, its option call_allow; the
 * caller's own user mapping is used.  What fails has an SQLSTATE of its own
 * (doc/live.md).
 */

CREATE TYPE concord.response AS (
	status int,
	headers jsonb,
	body jsonb,
	raw bytea,
	elapsed interval,
	cached bool
);
COMMENT ON TYPE concord.response IS 'an answer; body where it is JSON, raw as it came';

CREATE FUNCTION concord.call(server name, method text, path text,
	body jsonb DEFAULT NULL, query jsonb DEFAULT NULL, headers jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL, max_age interval DEFAULT NULL,
	data bytea DEFAULT NULL, content_type text DEFAULT NULL, raise bool DEFAULT false)
	RETURNS concord.response
	AS 'MODULE_PATHNAME', 'concord_call' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION concord.call IS
	'one request to a server, at once and with the caller''s credentials';

CREATE FUNCTION concord.lookup(server name, object text, key text,
	max_age interval DEFAULT NULL, query jsonb DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME', 'concord_lookup_text' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION concord.lookup(name, text, text, interval, jsonb) IS
	'a record of a system by its id; NULL where there is none';

CREATE FUNCTION concord.lookup(server name, object text, key jsonb,
	max_age interval DEFAULT NULL, query jsonb DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME', 'concord_lookup' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION concord.lookup(name, text, jsonb, interval, jsonb) IS
	'a record of a system by its key''s parts; NULL where there is none';

-- Answers that are kept, of roles whose rights one has.
CREATE FUNCTION concord.cache_entries(OUT server oid, OUT role oid, OUT request text,
	OUT status int, OUT age interval, OUT expires_in interval, OUT hits bigint, OUT bytes int)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'concord_cache_entries' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION concord.cache_entries() IS 'what view concord.cache shows';

CREATE VIEW concord.cache AS
	SELECT s.srvname AS server, pg_catalog.pg_get_userbyid(c.role) AS role, c.request,
		   c.status, c.age, c.expires_in, c.hits, c.bytes
	FROM concord.cache_entries() c
	JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) c.server;
COMMENT ON VIEW concord.cache IS 'answers that calls and look-ups may use again';

CREATE FUNCTION concord.flush_cache(server name DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'concord_flush_cache' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION concord.flush_cache(name) IS
	'forget the answers of a server (null: of all that the caller may use); returns how many there were';

-- What sessions wrote to systems; capture fills it (capture/notes.c).
CREATE TABLE concord.call_record (
	id uuid NOT NULL,
	part text NOT NULL CHECK (part IN ('begin', 'end')),
	at timestamptz NOT NULL,
	payload jsonb NOT NULL,
	PRIMARY KEY (id, part)
);
CREATE INDEX call_record_at_idx ON concord.call_record (at);
COMMENT ON TABLE concord.call_record IS 'records of calls that wrote, in two parts; see view call_log';

CREATE VIEW concord.call_log AS
	SELECT b.id, b.at, (b.payload ->> 'role')::name AS role, (b.payload ->> 'session_role')::name AS session_role,
		   (b.payload ->> 'pid')::int AS pid, (b.payload ->> 'xid')::xid AS xid,
		   (b.payload ->> 'server')::name AS server, b.payload ->> 'method' AS method, b.payload ->> 'url' AS url,
		   (b.payload ->> 'bytes')::bigint AS bytes, b.payload ->> 'hash' AS body_hash,
		   coalesce(e.payload ->> 'outcome', 'unknown') AS outcome,
		   nullif((e.payload ->> 'status')::int, 0) AS status, e.payload ->> 'error' AS error,
		   pg_catalog.make_interval(secs => (e.payload ->> 'elapsed_us')::float8 OPERATOR(pg_catalog./) 1e6) AS elapsed
	FROM concord.call_record b
	LEFT JOIN concord.call_record e ON e.id OPERATOR(pg_catalog.=) b.id AND e.part OPERATOR(pg_catalog.=) 'end'
	WHERE b.part OPERATOR(pg_catalog.=) 'begin';
COMMENT ON VIEW concord.call_log IS
	'what sessions wrote to systems: who, when, what, and what became of it; also of transactions that were rolled back';
