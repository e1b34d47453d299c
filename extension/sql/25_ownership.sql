/*
 * Ownership: which system may change which column.
 *
 * The numbers (attnum, ownerid) count where home is this database, and so follow
 * renames; a dump carries the names.
 */
CREATE TABLE concord.ownership_item (
	source regclass NOT NULL,
	column_name name NOT NULL,
	owner name NOT NULL,
	policy text CHECK (policy IN ('newest', 'additive', 'manual', 'local', 'remote')),
	on_local_write text NOT NULL DEFAULT 'refuse'
		CHECK (on_local_write IN ('refuse', 'report', 'off')),
	mapping int,
	attnum int2,
	ownerid oid,
	home text NOT NULL DEFAULT concord.home(),
	set_by name NOT NULL DEFAULT CURRENT_USER,
	set_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (source, column_name),
	CHECK ((owner OPERATOR(pg_catalog.=) 'shared') = (policy IS NOT NULL)),
	CHECK (owner OPERATOR(pg_catalog.<>) 'local')
);
SELECT pg_catalog.pg_extension_config_dump('concord.ownership_item', '');
COMMENT ON TABLE concord.ownership_item IS 'columns that are not this database''s alone; written by concord.set_owner() and by mappings whose fields name an owner';

CREATE FUNCTION concord.ownership_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'concord_ownership_changed' LANGUAGE C
	SET search_path = pg_catalog, pg_temp;
CREATE TRIGGER ownership_changed AFTER INSERT OR UPDATE OR DELETE ON concord.ownership_item
	FOR EACH ROW EXECUTE FUNCTION concord.ownership_changed();
CREATE FUNCTION concord.ownership_restored() RETURNS trigger
	AS 'MODULE_PATHNAME', 'concord_ownership_restored' LANGUAGE C
	SET search_path = pg_catalog, pg_temp;
CREATE TRIGGER ownership_restored BEFORE INSERT ON concord.ownership_item
	FOR EACH ROW EXECUTE FUNCTION concord.ownership_restored();

-- On tables with owned columns: see ownership_guard.c.
CREATE FUNCTION concord.ownership_guard() RETURNS trigger
	AS 'MODULE_PATHNAME', 'concord_ownership_guard' LANGUAGE C;
COMMENT ON FUNCTION concord.ownership_guard IS
	'refuses or reports local writes to columns that systems own';

-- Couriers and appliers look again.
CREATE TRIGGER definition_changed AFTER INSERT OR UPDATE OR DELETE ON concord.ownership_item
	FOR EACH STATEMENT EXECUTE FUNCTION concord.definition_changed();

CREATE VIEW concord.ownership AS
	SELECT i.source, i.column_name, i.owner, i.policy,
		CASE WHEN i.policy IS NULL THEN i.on_local_write END AS on_local_write,
		m.name AS mapping, i.set_by, i.set_at
	FROM concord.ownership_item i
		LEFT JOIN concord.mapping m ON m.id OPERATOR(pg_catalog.=) i.mapping;
COMMENT ON VIEW concord.ownership IS
	'which system owns which column; columns that are not here are this database''s';

CREATE FUNCTION concord.set_owner(
	source regclass, columns name[], owner name, policy text = NULL,
	on_local_write text = 'refuse')
	RETURNS void
	AS 'MODULE_PATHNAME', 'concord_set_owner' LANGUAGE C;
COMMENT ON FUNCTION concord.set_owner IS
	'say which system owns columns of a table: a server, local, or shared under a policy';
