-- Who owns which column, what follows for a mapping's fields, and what is refused.
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SERVER own_erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SERVER own_crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SCHEMA own_test;
SET search_path = own_test;
CREATE TABLE cust (id int PRIMARY KEY, name text, credit numeric DEFAULT 0, stock int, "From" text,
	twice int GENERATED ALWAYS AS (id * 2) STORED, region text, serial_no int DEFAULT (random() * 1000)::int, shop text DEFAULT 'own_erp');

-- owners that fields name; direction
SELECT concord.create_mapping('own_c', 'cust', 'own_erp', 'Customers',
	'{"Name": "name", "Credit": {"column": "credit", "owner": "own_erp"}, "X": "(region)", "F": "\"From\"",
	"Stock": {"column": "stock", "owner": "shared", "policy": "additive", "apply": "(remote->>''Stock'')::int"}}');
CREATE VIEW owners AS SELECT source, column_name, owner, policy, on_local_write, mapping FROM concord.ownership WHERE source = 'cust'::regclass ORDER BY column_name;
CREATE VIEW fields AS SELECT name, expression, owner, column_name, policy, direction FROM concord.mapping_field WHERE mapping = 'own_c' AND part = 'field' ORDER BY name COLLATE "C";
TABLE owners;
TABLE fields;
SET pg_concord.bypass_ownership = on;
INSERT INTO cust VALUES (1, 'a', 5, 6, 'b');
RESET pg_concord.bypass_ownership;
SELECT key, method, body, problems FROM concord.preview('own_c');
SELECT concord.set_owner('cust', '{region}', 'own_crm');
SELECT body FROM concord.preview('own_c');
SELECT concord.set_owner('cust', '{region}', 'own_erp', on_local_write => 'off');
SELECT body FROM concord.preview('own_c');
-- what is rolled back has no effect
BEGIN;
SELECT concord.set_owner('cust', '{name}', 'own_erp');
SELECT body FROM concord.preview('own_c');
ROLLBACK;
SELECT body FROM concord.preview('own_c');
-- a second mapping agrees, or is refused
SELECT concord.create_mapping('own_d', 'cust', 'own_crm', 'Contacts', '{"Credit": {"column": "credit", "owner": "own_crm"}}');
SELECT concord.create_mapping('own_d', 'cust', 'own_crm', 'Contacts', '{"Region": {"column": "region", "owner": "own_crm"}}');
SELECT concord.create_mapping('own_d', 'cust', 'own_crm', 'Contacts', '{"Credit": {"column": "credit", "owner": "own_erp"}, "A": {"column": "name", "owner": "local"}}');
SELECT body FROM concord.preview('own_d');
-- what a field named ends with the field, unless another names it too
SELECT concord.alter_mapping('own_c', fields => '{"Credit": null, "Stock": {"owner": null, "policy": null}}');
TABLE owners;
SELECT concord.drop_mapping('own_d');
TABLE owners;
-- a mapping changes what it has named itself
SELECT concord.alter_mapping('own_c', fields => '{"Stock": {"owner": "own_crm"}}');
SELECT concord.alter_mapping('own_c', fields => '{"Stock": {"owner": "shared", "policy": "newest"}}');
TABLE owners;
-- nothing is left to send; deletes are, unless push is off
SELECT concord.alter_mapping('own_c', fields => '{"Stock": null}');
SELECT concord.set_owner('cust', '{name,"From"}', 'own_erp', on_local_write => 'off');
SELECT key, method, body, problems FROM concord.preview('own_c');
SELECT concord.alter_mapping('own_c', push => 'off');
SELECT key, method, body, problems FROM concord.preview('own_c');
TABLE fields;
SELECT concord.alter_mapping('own_c', push => 'event');
-- where rows are routed, each row's server decides
SELECT concord.alter_mapping('own_c', options => '{"route": "shop"}', fields => '{"Region": {"column": "region"}, "X": null, "S": "stock"}');
SELECT concord.set_owner('cust', '{region}', 'own_crm');
INSERT INTO cust (id, stock, shop) VALUES (2, 7, 'own_crm');
SELECT key, body, problems FROM concord.preview('own_c');
SELECT concord.set_owner('cust', '{name,"From",region,stock}', 'own_crm', on_local_write => 'off');
SELECT key, body, problems FROM concord.preview('own_c');

-- refused: set_owner
SELECT concord.set_owner('cust', '{id}', 'own_erp');
SELECT concord.set_owner('cust', '{twice}', 'own_erp');
SELECT concord.set_owner('cust', '{ctid}', 'own_erp');
SELECT concord.set_owner('cust', '{crdit}', 'own_erp');
SELECT concord.set_owner('cust', '{serial_no}', 'own_erp');
SELECT concord.set_owner('cust', '{serial_no}', 'own_erp', on_local_write => 'off');
SELECT concord.set_owner('cust', '{credit}', 'own_er');
SELECT concord.set_owner('cust', '{credit}', 'locl');
SELECT concord.set_owner('cust', '{credit,credit}', 'own_erp');
SELECT concord.set_owner('cust', '{credit,NULL}', 'own_erp');
SELECT concord.set_owner('cust', '{}', 'own_erp');
SELECT concord.set_owner('cust', NULL, 'own_erp');
SELECT concord.set_owner(NULL, '{credit}', 'own_erp');
SELECT concord.set_owner('cust', '{credit}', NULL);
SELECT concord.set_owner('cust', '{credit}', 'shared');
SELECT concord.set_owner('cust', '{credit}', 'own_erp', 'newest');
SELECT concord.set_owner('cust', '{credit}', 'local', 'newest');
SELECT concord.set_owner('cust', '{credit}', 'shared', 'newst');
SELECT concord.set_owner('cust', '{shop}', 'shared', 'additive');
SELECT concord.set_owner('cust', '{credit}', 'own_erp', on_local_write => 'refusee');
SELECT concord.set_owner('owners', '{owner}', 'own_erp');
CREATE FOREIGN DATA WRAPPER own_other;
CREATE SERVER own_file FOREIGN DATA WRAPPER own_other;
SELECT concord.set_owner('cust', '{credit}', 'own_file');
-- set_owner against what a field says
SELECT concord.alter_mapping('own_c', fields => '{"Credit": {"column": "credit", "owner": "own_erp"}}');
SELECT concord.set_owner('cust', '{credit}', 'own_crm');
SELECT concord.set_owner('cust', '{credit}', 'local');
-- refused: fields
SELECT concord.alter_mapping('own_c', fields => '{"A": {"column": "name", "owner": "own_er"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"column": "name", "owner": "shared"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"column": "name", "policy": "newest"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"column": "name", "owner": "shared", "policy": "latest"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"value": "upper(name)", "owner": "own_erp"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"value": "upper(name)", "apply": "remote->>''A''"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"value": "upper(name)", "column": "nmae"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"value": "id", "owner": "own_erp"}}');
SELECT concord.alter_mapping('own_c', fields => '{"A": {"column": "shop", "owner": "own_crm"}, "B": {"column": "shop", "owner": "own_erp"}}');
SELECT concord.create_topic_mapping('own_t', 'topic', 'own_erp', 'T', '{"A": {"column": "name", "owner": "own_erp"}}');
SELECT concord.create_topic_mapping('own_t', 'topic', 'own_erp', 'T', '{"A": "payload"}', options => '{"pull": {}}');
-- refused: options of the way back
SELECT concord.alter_mapping('own_c', options => '{"pull": "delta"}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"methd": "delta"}}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"method": "delt"}}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"method": "full", "overlap": "1 min"}}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"every": "1 ms"}}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"every": "often"}}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"insert": "maybe"}}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"delete": "drop"}}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"changed": "a..b"}}');
SELECT concord.alter_mapping('own_c', options => '{"receive": {"fetc": true}}');
SELECT concord.alter_mapping('own_c', options => '{"match": []}');
SELECT concord.alter_mapping('own_c', options => '{"match": [{"remote": "Email"}]}');
SELECT concord.alter_mapping('own_c', options => '{"match": [{"remot": "Email", "local": "name"}]}');
SELECT concord.alter_mapping('own_c', options => '{"pull": {"method": "since", "every": "5 min", "overlap": "1 min", "changed": "meta.changedAt", "insert": false, "delete": "delete"},
	"receive": {"fetch": true, "id": "data.id"}, "match": [{"remote": "Name", "local": "name"}, "lower(name) = lower(remote->>''Name'')"]}');

-- rights: the table's owner, and USAGE on the server
CREATE ROLE own_role;
GRANT USAGE, CREATE ON SCHEMA own_test TO own_role;
GRANT USAGE ON SCHEMA concord TO own_role;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO own_role;
GRANT SELECT, INSERT, UPDATE ON cust TO own_role;
SET ROLE own_role;
SELECT concord.set_owner('cust', '{credit}', 'own_erp');
CREATE TABLE theirs (id int PRIMARY KEY, a int);
SELECT concord.set_owner('theirs', '{a}', 'own_erp');
SELECT concord.set_owner('theirs', '{a}', 'shared', 'newest');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER own_erp TO own_role;
SET ROLE own_role;
SELECT concord.set_owner('theirs', '{a}', 'own_erp');
INSERT INTO theirs VALUES (1, 2);
SET pg_concord.bypass_ownership = on;
INSERT INTO theirs VALUES (1, 2);
RESET ROLE;
GRANT SET ON PARAMETER pg_concord.bypass_ownership TO own_role;
SET ROLE own_role;
SET pg_concord.bypass_ownership = on;
INSERT INTO theirs VALUES (1, 2);
RESET pg_concord.bypass_ownership;
RESET ROLE;
-- a server that is renamed keeps what it owns; one that is dropped owns nothing
ALTER SERVER own_crm RENAME TO own_crm2;
TABLE owners;
SELECT concord.drop_mapping('own_c');
SELECT what, server, why FROM concord.history WHERE what = 'set_owner' AND why LIKE 'own_test.theirs%' ORDER BY at;
DROP TABLE theirs;
SELECT count(*) FROM concord.ownership_item WHERE source::text LIKE '%theirs%' OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = source);
REVOKE ALL ON PARAMETER pg_concord.bypass_ownership FROM own_role;
DROP OWNED BY own_role;
DROP ROLE own_role;
DROP SCHEMA own_test CASCADE;
SELECT count(*) FROM concord.ownership_item;
DROP SERVER own_erp, own_crm2, own_file;
DROP FOREIGN DATA WRAPPER own_other;
