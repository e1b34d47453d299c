/*
 * Mapping room: definitions, how they are changed, and what they would send.
 *
 * Rights are checked in C: to create a mapping one owns the table and may use
 * the server; to change it one is a member of its definer.
 */

-- What expressions see as "event".
CREATE TYPE concord.event AS (
	id uuid,
	op text,
	committed_at timestamptz,
	xid bigint,
	topic text
);

CREATE FUNCTION concord.create_mapping(
	name text, source regclass, server name, object text, fields jsonb,
	key jsonb = NULL, filter text = NULL, checks jsonb = NULL,
	push text = 'event', initial text = 'none', options jsonb = '{}',
	paused bool = false, or_replace bool = false, comment text = NULL)
	RETURNS int
	AS 'MODULE_PATHNAME', 'concord_create_mapping' LANGUAGE C;
COMMENT ON FUNCTION concord.create_mapping IS
	'map a table to an object of a system; returns the version';

CREATE FUNCTION concord.create_topic_mapping(
	name text, topic text, server name, object text, fields jsonb,
	key jsonb = NULL, filter text = NULL, checks jsonb = NULL,
	push text = 'event', options jsonb = '{}',
	paused bool = false, or_replace bool = false, comment text = NULL)
	RETURNS int
	AS 'MODULE_PATHNAME', 'concord_create_topic_mapping' LANGUAGE C;
COMMENT ON FUNCTION concord.create_topic_mapping IS
	'map emitted events of a topic to an object of a system; returns the version';

CREATE FUNCTION concord.create_write_mapping(
	name text, foreign_table regclass, options jsonb = '{}',
	paused bool = false, or_replace bool = false, comment text = NULL)
	RETURNS int
	AS 'MODULE_PATHNAME', 'concord_create_write_mapping' LANGUAGE C;
COMMENT ON FUNCTION concord.create_write_mapping IS
	'deliver what is written to a foreign table with option write ''outbox''; returns the version';

CREATE FUNCTION concord.alter_mapping(
	name text, fields jsonb = NULL, key jsonb = NULL, filter text = NULL,
	checks jsonb = NULL, push text = NULL, object text = NULL,
	options jsonb = NULL, comment text = NULL)
	RETURNS int
	AS 'MODULE_PATHNAME', 'concord_alter_mapping' LANGUAGE C;
COMMENT ON FUNCTION concord.alter_mapping IS
	'merge into a mapping''s definition (RFC 7396); returns the new version';

CREATE FUNCTION concord.revert_mapping(name text, version int)
	RETURNS int
	AS 'MODULE_PATHNAME', 'concord_revert_mapping' LANGUAGE C;
COMMENT ON FUNCTION concord.revert_mapping IS
	'make an earlier definition the current one, as a new version';

CREATE FUNCTION concord.drop_mapping(name text)
	RETURNS void
	AS 'MODULE_PATHNAME', 'concord_drop_mapping' LANGUAGE C;
COMMENT ON FUNCTION concord.drop_mapping IS
	'end a mapping, with its links and dead letters';

CREATE FUNCTION concord.pause(name text)
	RETURNS void
	AS 'MODULE_PATHNAME', 'concord_pause' LANGUAGE C;
COMMENT ON FUNCTION concord.pause IS
	'send nothing for a mapping; events are kept';

CREATE FUNCTION concord.resume(name text)
	RETURNS void
	AS 'MODULE_PATHNAME', 'concord_resume' LANGUAGE C;
COMMENT ON FUNCTION concord.resume IS
	'go on sending where a mapping was paused';

CREATE FUNCTION concord.set_definer(name text, role name)
	RETURNS void
	AS 'MODULE_PATHNAME', 'concord_set_definer' LANGUAGE C;
COMMENT ON FUNCTION concord.set_definer IS
	'the role that evaluates a mapping and whose credentials it uses';

CREATE FUNCTION concord.activate()
	RETURNS int
	AS 'MODULE_PATHNAME', 'concord_activate' LANGUAGE C;
COMMENT ON FUNCTION concord.activate IS
	'let mappings that come from another database send again; returns how many';

CREATE FUNCTION concord.preview(
	name text, filter text = NULL, max_rows int = 5, delivery bigint = NULL,
	OUT key jsonb, OUT method text, OUT url text, OUT body jsonb,
	OUT problems text[])
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'concord_preview' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION concord.preview IS
	'what a mapping would send now for rows of its table, or for a delivery';

CREATE FUNCTION concord.explain(
	name text, from_seq bigint = NULL, max_rows int = 100,
	OUT seq bigint, OUT op text, OUT verdict text, OUT action text,
	OUT local_key jsonb, OUT old_local_key jsonb, OUT ordering_key text,
	OUT keys jsonb, OUT old_keys jsonb, OUT fields jsonb,
	OUT only_if_linked bool, OUT rule text, OUT error text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'concord_explain' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION concord.explain IS
	'what a mapping makes of the events in the outbox, from a position on or the newest';

CREATE FUNCTION concord.remote_id(mapping name, key anyelement)
	RETURNS text
	AS 'MODULE_PATHNAME', 'concord_remote_id' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION concord.remote_id IS
	'the id that a system gave the record of a row, by the row''s key';

CREATE FUNCTION concord.local_key(mapping name, remote_id text)
	RETURNS jsonb
	AS 'MODULE_PATHNAME', 'concord_local_key' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION concord.local_key IS
	'the key of the row whose record has an id in the system';

-- One row per field, key field, check and filter of the current versions.
CREATE VIEW concord.mapping_field AS
	SELECT m.name AS mapping, m.version, p.part, f.key AS name,
		CASE pg_catalog.jsonb_typeof(f.value)
			WHEN 'string' THEN f.value OPERATOR(pg_catalog.#>>) '{}'
			ELSE coalesce(f.value OPERATOR(pg_catalog.->>) 'value',
				pg_catalog.quote_ident(f.value OPERATOR(pg_catalog.->>) 'column'))
		END AS expression,
		CASE WHEN p.part OPERATOR(pg_catalog.=) 'field' THEN
			coalesce(f.value OPERATOR(pg_catalog.->>) 'on',
				CASE WHEN f.value OPERATOR(pg_catalog.->) 'children' IS NULL THEN 'always' ELSE 'create' END) END AS "on",
		CASE WHEN p.part OPERATOR(pg_catalog.=) 'field' THEN coalesce(o.owner, 'local') END AS owner,
		CASE WHEN p.part OPERATOR(pg_catalog.=) 'field' AND pg_catalog.jsonb_typeof(f.value) OPERATOR(pg_catalog.=) 'object'
			THEN f.value OPERATOR(pg_catalog.->>) 'children' END AS children,
		CASE WHEN p.part OPERATOR(pg_catalog.=) 'field' THEN a.attname END AS column_name,
		o.policy,
		CASE WHEN p.part OPERATOR(pg_catalog.=) 'field' THEN
			CASE WHEN o.owner OPERATOR(pg_catalog.=) m.server OR o.policy IS NOT NULL AND v.definition OPERATOR(pg_catalog.->>) 'push' OPERATOR(pg_catalog.=) 'off' THEN 'pull'
				WHEN o.policy IS NOT NULL THEN 'both'
				WHEN v.definition OPERATOR(pg_catalog.->>) 'push' OPERATOR(pg_catalog.=) 'off' THEN 'none'
				ELSE 'push' END END AS direction
	FROM concord.mapping m
		JOIN concord.mapping_version v
			ON v.mapping OPERATOR(pg_catalog.=) m.id
			AND v.version OPERATOR(pg_catalog.=) m.version
		CROSS JOIN LATERAL (VALUES
			('field', v.definition OPERATOR(pg_catalog.->) 'fields'),
			('key', CASE pg_catalog.jsonb_typeof(v.definition OPERATOR(pg_catalog.->) 'key')
				WHEN 'array' THEN (SELECT pg_catalog.jsonb_object_agg(k.key, k.value)
					FROM pg_catalog.jsonb_array_elements(v.definition OPERATOR(pg_catalog.->) 'key') AS a (field),
						pg_catalog.jsonb_each(a.field) AS k)
				ELSE v.definition OPERATOR(pg_catalog.->) 'key' END),
			('check', v.definition OPERATOR(pg_catalog.->) 'checks'),
			('filter', CASE WHEN v.definition OPERATOR(pg_catalog.->) 'filter' IS NOT NULL
				THEN pg_catalog.jsonb_build_object('filter',
					v.definition OPERATOR(pg_catalog.->) 'filter') END)
			) AS p (part, members)
		CROSS JOIN LATERAL pg_catalog.jsonb_each(
			coalesce(p.members, '{}')) AS f
		LEFT JOIN pg_catalog.pg_attribute a
			ON p.part OPERATOR(pg_catalog.=) 'field' AND a.attrelid OPERATOR(pg_catalog.=) m.source
			AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
			AND CASE
				WHEN pg_catalog.jsonb_typeof(f.value) OPERATOR(pg_catalog.=) 'object' AND f.value OPERATOR(pg_catalog.->>) 'column' IS NOT NULL
					THEN a.attname OPERATOR(pg_catalog.=) (f.value OPERATOR(pg_catalog.->>) 'column')::name
				WHEN pg_catalog.jsonb_typeof(f.value) OPERATOR(pg_catalog.=) 'object'
					THEN pg_catalog.quote_ident(a.attname) OPERATOR(pg_catalog.=) pg_catalog.btrim(f.value OPERATOR(pg_catalog.->>) 'value', ' ()')
				ELSE pg_catalog.quote_ident(a.attname) OPERATOR(pg_catalog.=) pg_catalog.btrim(f.value OPERATOR(pg_catalog.#>>) '{}', ' ()') END
		LEFT JOIN concord.ownership_item o
			ON o.source OPERATOR(pg_catalog.=) m.source AND o.column_name OPERATOR(pg_catalog.=) a.attname;
COMMENT ON VIEW concord.mapping_field IS
	'fields, keys, checks and filters of the current versions';

