-- Definitions change by merging, and can go back; who may change them.
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SERVER change_erp FOREIGN DATA WRAPPER concord
	OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SCHEMA change_test;
SET search_path = change_test;
CREATE TABLE orders (id int PRIMARY KEY, total numeric, note text);
SELECT concord.create_mapping('change', 'orders', 'change_erp', 'Orders',
	'{"Total": "total", "Note": {"value": "note", "on": "create"}}',
	filter => 'total > 0', checks => '{"note": "note <> ''''"}',
	options => '{"nulls": "omit", "on_delete": {"Gone": "true"}}',
	paused => true, comment => 'the first');

-- merge: members are added, changed and removed
SELECT concord.alter_mapping('change', fields => '{"Total": "round(total)", "Note": null, "ID": "id"}');
SELECT concord.alter_mapping('change', checks => '{"note": null, "total": "total < 1000"}', options => '{"nulls": null, "on_delete": {"By": "current_user"}}');
SELECT concord.alter_mapping('change', filter => 'TRUE', object => 'SalesOrders', comment => 'for everything');
SELECT concord.alter_mapping('change', key => '{"Key": "id::text"}');
SELECT concord.alter_mapping('change', key => '{"Key": null}');
SELECT concord.alter_mapping('change');
SELECT version, jsonb_pretty(definition) AS definition, comment FROM concord.mapping_version v
	WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 'change') ORDER BY version;
SELECT version, object, comment FROM concord.mapping WHERE name = 'change';

-- what is refused changes nothing
SELECT concord.alter_mapping('change', fields => '{"Total": "totl"}');
SELECT concord.alter_mapping('change', fields => '{"Total": null, "ID": null}');
SELECT concord.alter_mapping('change', options => '{"nuls": "omit"}');
SELECT concord.alter_mapping('change', fields => '[]');
SELECT concord.alter_mapping('change', push => 'batch');
SELECT concord.alter_mapping('nothing', fields => '{}');
SELECT concord.alter_mapping(NULL, fields => '{}');
SELECT concord.revert_mapping('change', 99);
SELECT concord.revert_mapping('change', 0);
SELECT version FROM concord.mapping WHERE name = 'change';

-- back to an earlier definition
SELECT concord.revert_mapping('change', 1);
SELECT a.definition = b.definition AS same, a.version
	FROM concord.mapping m
		JOIN concord.mapping_version a ON a.mapping = m.id AND a.version = m.version
		JOIN concord.mapping_version b ON b.mapping = m.id AND b.version = 1
	WHERE m.name = 'change';

-- a dry run
BEGIN;
SELECT concord.alter_mapping('change', fields => '{"Twice": "total * 2"}');
INSERT INTO orders VALUES (1, 21, 'x');
SELECT key, body, problems FROM concord.preview('change');
ROLLBACK;
SELECT version FROM concord.mapping WHERE name = 'change';

-- pause and resume
SET client_min_messages = notice;
SELECT concord.pause('change');
SELECT concord.resume('change');
SELECT concord.resume('change');
SELECT state, state_reason FROM concord.mapping WHERE name = 'change';
SELECT concord.pause('change');
SELECT state, state_reason FROM concord.mapping WHERE name = 'change';
SET client_min_messages = warning;

-- rights: the table, the server, the definer
CREATE ROLE change_owner;
CREATE ROLE change_user;
GRANT USAGE ON SCHEMA concord, change_test TO change_owner, change_user;
GRANT CREATE ON SCHEMA change_test TO change_owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO change_owner, change_user;
GRANT SELECT ON concord.mapping TO change_owner, change_user;
CREATE TABLE secret (v text);
INSERT INTO secret VALUES ('hidden');
SET ROLE change_user;
SELECT concord.create_mapping('theirs', 'orders', 'change_erp', 'O', '{"N": "note"}');
RESET ROLE;
ALTER TABLE orders OWNER TO change_owner;
SET ROLE change_owner;
SELECT concord.create_mapping('mine', 'orders', 'change_erp', 'O', '{"N": "note"}');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER change_erp TO change_owner;
SET ROLE change_owner;
SELECT concord.create_mapping('mine', 'orders', 'change_erp', 'O', '{"N": "(SELECT v FROM secret)"}');
SELECT concord.create_mapping('mine', 'orders', 'change_erp', 'O', '{"N": "current_user::text"}', paused => true);
INSERT INTO orders VALUES (1, 21, 'x');
SELECT body FROM concord.preview('mine');
-- not the definer of this one, although the owner of the table
SELECT concord.alter_mapping('change', fields => '{"X": "id"}');
SELECT concord.pause('change');
SELECT * FROM concord.preview('change');
-- 15 and 16 have words of their own for that
\set VERBOSITY sqlstate
SELECT concord.set_definer('mine', 'change_user');
\set VERBOSITY default
SELECT concord.activate();
SET ROLE change_user;
SELECT concord.alter_mapping('mine', fields => '{"X": "id"}');
SELECT concord.drop_mapping('mine');
RESET ROLE;
SELECT concord.set_definer('mine', 'change_user');
SELECT concord.set_definer('mine', 'change_nobody');
GRANT change_owner TO change_user;
SELECT concord.set_definer('mine', 'change_user');
SELECT definer FROM concord.mapping WHERE name = 'mine';
SELECT body FROM concord.preview('mine');

-- the search_path is the creator's, and no temporary table hides another
CREATE TABLE rate (v text);
INSERT INTO rate VALUES ('right');
SELECT concord.create_mapping('path', 'orders', 'change_erp', 'O', '{"N": "(SELECT v FROM rate)"}', paused => true);
SELECT search_path FROM concord.mapping WHERE name = 'path';
CREATE TEMP TABLE rate (v text);
INSERT INTO rate VALUES ('wrong');
SET search_path = pg_catalog;
SELECT body FROM concord.preview('path');
SET search_path = change_test;
DROP TABLE pg_temp.rate;

-- dropping ends capture with the last mapping of a table
SELECT count(*) FROM concord.captured WHERE relid = 'orders'::regclass;
SELECT concord.drop_mapping('path');
SELECT concord.drop_mapping('mine');
SELECT count(*) FROM concord.captured WHERE relid = 'orders'::regclass;
SELECT concord.drop_mapping('change');
SELECT count(*) FROM concord.captured WHERE relid = 'orders'::regclass;
SELECT concord.drop_mapping('change');
SELECT count(*) FROM concord.mapping_version v WHERE NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = v.mapping);

-- a mapping that comes from another database
SELECT concord.create_mapping('copied', 'orders', 'change_erp', 'O', '{"N": "note"}', paused => true);
UPDATE concord.mapping SET home = 'elsewhere/1' WHERE name = 'copied';
SELECT concord.resume('copied');
SELECT concord.activate();
SELECT state, home = concord.home() AS at_home FROM concord.mapping WHERE name = 'copied';
CREATE TEMP TABLE kept AS SELECT * FROM concord.mapping WHERE name = 'copied';
CREATE TEMP TABLE kept_version AS SELECT * FROM concord.mapping_version WHERE mapping = (SELECT id FROM kept);
SELECT concord.drop_mapping('copied');
INSERT INTO concord.mapping SELECT * FROM kept;
INSERT INTO concord.mapping_version SELECT * FROM kept_version;
SELECT state, was_paused FROM concord.mapping WHERE name = 'copied';
DELETE FROM concord.mapping WHERE name = 'copied';
UPDATE kept SET home = 'elsewhere/1';
INSERT INTO concord.mapping SELECT * FROM kept;
INSERT INTO concord.mapping_version SELECT * FROM kept_version;
SELECT state, state_reason, was_paused FROM concord.mapping WHERE name = 'copied';
SELECT count(*) FROM concord.captured WHERE relid = 'orders'::regclass;
SELECT concord.activate();
SELECT state, state_reason FROM concord.mapping WHERE name = 'copied';
SELECT count(*) FROM concord.captured WHERE relid = 'orders'::regclass;

-- one whose definer does not exist here, and whose OIDs are another database's
UPDATE concord.mapping SET home = 'elsewhere/1', definer = 'change_gone', serverid = 1 WHERE name = 'copied';
SELECT concord.alter_mapping('copied', fields => '{"X": "id"}');
SELECT concord.replay('copied');
SELECT * FROM concord.preview('copied');
SELECT concord.activate();
SELECT definer, definer_oid, state, state_reason, home = concord.home() AS at_home FROM concord.mapping WHERE name = 'copied';
SELECT concord.alter_mapping('copied', fields => '{"X": "id"}');
SELECT * FROM concord.preview('copied');
SELECT concord.resume('copied');
SELECT concord.retry_dead('copied');
SELECT concord.set_definer('copied', current_user);
SELECT definer = current_user AS own, state, state_reason, was_paused FROM concord.mapping WHERE name = 'copied';
SELECT concord.alter_mapping('copied', fields => '{"X": "id"}');
SELECT concord.drop_mapping('copied');

DROP SCHEMA change_test CASCADE;
DROP SERVER change_erp CASCADE;
DROP OWNED BY change_owner, change_user;
DROP ROLE change_owner, change_user;
