--
-- As whom records are applied: the mapping's definer, to the last trigger.
--
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT concord.wait_for_capture('60s');
CREATE ROLE ibr_definer;
CREATE ROLE ibr_other;
CREATE SCHEMA ibr;
GRANT ALL ON SCHEMA ibr TO ibr_definer, ibr_other;
GRANT USAGE ON SCHEMA concord TO ibr_definer, ibr_other;
GRANT SELECT ON ALL TABLES IN SCHEMA concord TO ibr_definer, ibr_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO ibr_definer, ibr_other;
CREATE SERVER ibr_crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/');
GRANT USAGE ON FOREIGN SERVER ibr_crm TO ibr_definer;
SELECT concord.pause_system('ibr_crm');

SET ROLE ibr_definer;
CREATE TABLE ibr.rows (id int PRIMARY KEY, name text, tenant text DEFAULT 'a');
CREATE TABLE ibr.seen (what text, who text, name text);
CREATE FUNCTION ibr.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO ibr.seen VALUES (TG_NAME, current_user, NEW.name);
	RETURN NULL;
END $$;
CREATE TRIGGER plain AFTER INSERT OR UPDATE ON ibr.rows FOR EACH ROW EXECUTE FUNCTION ibr.look();
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON ibr.rows DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION ibr.look();
SELECT concord.create_mapping('ibr_rows', 'ibr.rows', 'ibr_crm', 'rows',
	fields => '{"Name": {"column": "name", "owner": "ibr_crm"}}', key => '{"ID": "id"}');
RESET ROLE;

-- a superuser applies; constraint triggers that are deferred run as the definer, too
SELECT applied, rejected FROM concord.apply_records('ibr_rows', ARRAY['{"ID": 1, "Name": "one"}']);
SELECT * FROM ibr.seen ORDER BY what;

-- and nobody defers anything to a moment at which he would be somebody else
SET ROLE ibr_definer;
CREATE TABLE ibr.bait (id int PRIMARY KEY);
CREATE FUNCTION ibr.escalate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'ALTER ROLE ibr_definer SUPERUSER';
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER escalate AFTER INSERT ON ibr.bait DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION ibr.escalate();
CREATE FUNCTION ibr.defer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	SET CONSTRAINTS ALL DEFERRED;
	INSERT INTO ibr.bait VALUES (NEW.id);
	RETURN NULL;
END $$;
CREATE FUNCTION ibr.hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1';
	RETURN NULL;
END $$;
CREATE FUNCTION ibr.become() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RESET ROLE;
	RETURN NULL;
END $$;
CREATE TRIGGER a_defer AFTER INSERT ON ibr.rows FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION ibr.defer();
CREATE TRIGGER a_hold AFTER INSERT ON ibr.rows FOR EACH ROW WHEN (NEW.id = 3) EXECUTE FUNCTION ibr.hold();
CREATE TRIGGER a_become AFTER INSERT ON ibr.rows FOR EACH ROW WHEN (NEW.id = 4) EXECUTE FUNCTION ibr.become();
CREATE TRIGGER a_escalate AFTER INSERT ON ibr.rows FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION ibr.escalate();
RESET ROLE;
SELECT applied, rejected FROM concord.apply_records('ibr_rows', ARRAY['{"ID": 2, "Name": "two"}',
	'{"ID": 3, "Name": "three"}', '{"ID": 4, "Name": "four"}', '{"ID": 5, "Name": "five"}', '{"ID": 6, "Name": "six"}']);
SELECT remote_id, rule, CASE WHEN remote_id <> '5' THEN error END AS error FROM concord.inbox WHERE mapping = 'ibr_rows' ORDER BY remote_id;
SELECT rolsuper FROM pg_roles WHERE rolname = 'ibr_definer';
SELECT id FROM ibr.rows ORDER BY id;
SELECT concord.discard_inbox('ibr_rows', NULL, 'seen');

-- row security of the table holds for the definer
ALTER TABLE ibr.rows OWNER TO CURRENT_USER;
GRANT SELECT, INSERT, UPDATE, DELETE ON ibr.rows TO ibr_definer;
ALTER TABLE ibr.rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON ibr.rows TO ibr_definer USING (name <> 'secret') WITH CHECK (name <> 'secret');
SELECT applied, rejected FROM concord.apply_records('ibr_rows', ARRAY['{"ID": 7, "Name": "secret"}', '{"ID": 8, "Name": "open"}']);
SELECT remote_id, rule FROM concord.inbox WHERE mapping = 'ibr_rows' AND state = 'parked' ORDER BY remote_id;

-- a right that is missing is the mapping's fault, not the records'
REVOKE INSERT, UPDATE ON ibr.rows FROM ibr_definer;
SELECT applied FROM concord.apply_records('ibr_rows', ARRAY['{"ID": 1, "Name": "uno"}']);
SELECT count(*) FROM concord.inbox WHERE mapping = 'ibr_rows' AND state = 'parked';

-- links by hand, unique both ways
SELECT concord.set_link('ibr_rows', '{"id": 6}', 'six');
SELECT concord.remove_link('ibr_rows', '{"id": 6}');
SELECT concord.remove_link('ibr_rows', '{"id": 6}');
SELECT concord.set_link('ibr_rows', '{"id": 6}', 'six');
SELECT concord.set_link('ibr_rows', '{"id": 8}', 'six');
SELECT concord.set_link('ibr_rows', '{"no": 8}', 'x');
SELECT concord.set_link('ibr_rows', '8', 'x');
SELECT concord.set_link('ibr_rows', '{"id": 6}', NULL);
SELECT concord.remote_id('ibr_rows', 6), concord.local_key('ibr_rows', 'six');
SELECT what, why FROM concord.history WHERE mapping = 'ibr_rows' AND what LIKE '%link' ORDER BY at;

-- who is not a member of the definer
SET ROLE ibr_other;
SELECT concord.apply_records('ibr_rows', ARRAY['{"ID": 1}']);
SELECT concord.set_link('ibr_rows', '{"id": 6}', 'six');
SELECT concord.remove_link('ibr_rows', '{"id": 6}');
SELECT concord.discard_inbox('ibr_rows', NULL, 'why');
RESET ROLE;
SELECT concord.drop_mapping('ibr_rows');
DROP SCHEMA ibr CASCADE;
DROP SERVER ibr_crm;
DROP OWNED BY ibr_definer, ibr_other;
DROP ROLE ibr_definer, ibr_other;
