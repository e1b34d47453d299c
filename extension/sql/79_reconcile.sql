/*
 * Reconcile: both sides of a mapping, compared and made equal.
 */
CREATE FUNCTION concord.reconcile(name text, filter text = NULL, repair bool = false)
	RETURNS TABLE (key jsonb, difference jsonb, action text)
	AS 'MODULE_PATHNAME', 'concord_reconcile' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION concord.reconcile IS
	'compares the rows of a mapping with the records of its system and lists what differs; repair: as the fields'' owners have it';

CREATE FUNCTION concord.progress_rows(
	OUT pid int, OUT roleid oid, OUT mapping int, OUT repair bool, OUT started_at timestamptz, OUT phase text,
	OUT rows_read bigint, OUT records_read bigint, OUT compared bigint, OUT looked_up bigint,
	OUT differences bigint, OUT changing bigint, OUT repaired bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'concord_progress_rows' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION concord.progress_rows IS 'what concord.reconcile_progress shows';

CREATE VIEW concord.reconcile_progress AS
	SELECT p.pid, m.name AS mapping, m.server, r.rolname AS role, p.repair, p.started_at, p.phase,
		   p.rows_read, p.records_read, p.compared, p.looked_up, p.differences, p.changing, p.repaired
	FROM concord.progress_rows() p
	LEFT JOIN concord.mapping m ON m.id OPERATOR(pg_catalog.=) p.mapping
	LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.roleid;
COMMENT ON VIEW concord.reconcile_progress IS 'how far each concord.reconcile() that runs has come';
