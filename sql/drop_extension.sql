-- DROP EXTENSION with its workers running: neither waits for the other, the
-- workers end and no slot is left behind

-- drop_wait polls until this database has as many workers and slots of ours
CREATE FUNCTION drop_wait(want_workers bool, want_slots bool) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	workers bigint;
	slots bigint;
BEGIN
	FOR i IN 1..600 LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT count(*) INTO workers FROM pg_stat_activity
		WHERE datname = current_database() AND backend_type LIKE 'concord %'
		AND backend_type <> 'concord scout';
		SELECT count(*) INTO slots FROM pg_replication_slots
		WHERE database = current_database() AND slot_name LIKE 'pg\_concord\_%';
		IF (workers > 0) = want_workers AND (slots > 0) = want_slots THEN
			RETURN 'as wanted';
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
	RETURN format('workers: %s, slots: %s', workers, slots);
END $$;

SELECT concord.wait_for_capture('60s');
SELECT drop_wait(true, true);

-- rolled back to a savepoint: nothing happens
BEGIN;
SAVEPOINT s;
DROP EXTENSION pg_concord;
ROLLBACK TO s;
COMMIT;
SELECT drop_wait(true, true);
SELECT concord.wait_for_capture('60s');

-- refused by somebody's event trigger: nothing happens either
CREATE FUNCTION drop_refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE EVENT TRIGGER drop_refuse ON sql_drop EXECUTE FUNCTION drop_refuse();
BEGIN;
SAVEPOINT s;
\set VERBOSITY terse
DROP EXTENSION pg_concord;
\set VERBOSITY default
ROLLBACK TO s;
COMMIT;
DROP EVENT TRIGGER drop_refuse;
DROP FUNCTION drop_refuse;
SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
WHERE d.datname = current_database() AND s.setconfig::text LIKE '%pg_concord.enabled=on%';
SELECT concord.wait_for_capture('60s');

DROP EXTENSION pg_concord;
SELECT drop_wait(false, false);
SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
WHERE d.datname = current_database() AND s.setconfig::text LIKE '%pg_concord%';

-- dropped and created in one transaction: a new slot, not the old one
CREATE EXTENSION pg_concord;
SELECT concord.wait_for_capture('60s');
SELECT drop_wait(true, true);
SELECT concord.set_up();
BEGIN;
DROP EXTENSION pg_concord;
CREATE EXTENSION pg_concord;
COMMIT;
SELECT concord.wait_for_capture('60s');
SELECT drop_wait(true, true);

-- into a schema that is somebody else's: refused
DROP EXTENSION pg_concord;
SELECT drop_wait(false, false);
DROP SCHEMA concord;
CREATE ROLE drop_other;
CREATE SCHEMA concord AUTHORIZATION drop_other;
-- 18 names the statement of the script
\set SHOW_CONTEXT never
CREATE EXTENSION pg_concord;
\set SHOW_CONTEXT errors
DROP SCHEMA concord;
DROP ROLE drop_other;
CREATE EXTENSION pg_concord;
SELECT concord.wait_for_capture('60s');

DROP FUNCTION drop_wait;
