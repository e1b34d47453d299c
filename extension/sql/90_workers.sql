-- workers: what DDL means for mappings, rights, and the start

CREATE FUNCTION concord.ddl_drop() RETURNS event_trigger LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'concord_ddl_drop';
COMMENT ON FUNCTION concord.ddl_drop() IS
'ends the capture of dropped tables and marks mappings of dropped tables and servers as broken';

CREATE FUNCTION concord.ddl_end() RETURNS event_trigger LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'concord_ddl_end';
COMMENT ON FUNCTION concord.ddl_end() IS
'follows renamed servers and has the couriers look again at what was altered';

CREATE EVENT TRIGGER concord_ddl_drop ON sql_drop
	EXECUTE FUNCTION concord.ddl_drop();
CREATE EVENT TRIGGER concord_ddl_end ON ddl_command_end
	WHEN TAG IN ('CREATE SERVER', 'ALTER SERVER', 'ALTER TABLE', 'ALTER FOREIGN TABLE',
		'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER TYPE', 'CREATE USER MAPPING',
		'ALTER USER MAPPING', 'DROP USER MAPPING')
	EXECUTE FUNCTION concord.ddl_end();

-- Nothing is granted to PUBLIC: a DBA grants what roles need.
REVOKE ALL ON ALL TABLES IN SCHEMA concord FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA concord FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA concord FROM PUBLIC;

SELECT concord.set_up();
