-- Tables that mappings use change: new names are followed, the rest is refused or pauses the mapping.
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SERVER sch_erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SCHEMA sch_test;
SET search_path = sch_test;
CREATE TABLE reg (code text PRIMARY KEY, title text, "Odd name" text);
CREATE TABLE cust (id int PRIMARY KEY, name text, credit numeric, region text, n int, credit_note text);
INSERT INTO reg VALUES ('a', 'Alpha', 'x');
INSERT INTO cust VALUES (1, 'ann', 5, 'a', 1, 'credit');
-- the name stands in strings, comments, other names and other tables, too
SELECT concord.create_mapping('sch', 'cust', 'sch_erp', 'C', '{
	"Name": "upper(/* name */ name) || ''name'' || cust.name -- name",
	"T": "(SELECT r.title FROM reg r WHERE r.code = region)",
	"O": "(SELECT \"Odd name\" FROM reg WHERE reg.code = cust.region)",
	"J": "(SELECT x.name FROM (SELECT c.name AS name, r.title FROM cust c JOIN reg r ON r.code = c.region) x LIMIT 1)",
	"C": {"column": "credit", "value": "cust . credit"}, "N": "credit_note", "Old": "old.name"}',
	filter => 'name <> ''name''', checks => '{"name": "length(name) > 0"}',
	options => '{"ordering": "name", "on_delete": "ignore", "match": [{"remote": "name", "local": "lower(name)"}]}');
CREATE VIEW definition AS SELECT f.key, f.value FROM concord.mapping_version v JOIN concord.mapping m ON m.id = v.mapping AND m.version = v.version,
	jsonb_each(v.definition - 'fields' || (v.definition -> 'fields')) f WHERE m.name = 'sch' ORDER BY f.key COLLATE "C";
CREATE VIEW state AS SELECT state, state_reason FROM concord.mapping WHERE name = 'sch';
SELECT body, problems FROM concord.preview('sch');
ALTER TABLE cust RENAME name TO "Full Name";
TABLE definition;
SELECT body, problems FROM concord.preview('sch');
ALTER TABLE reg RENAME "Odd name" TO odd;
ALTER TABLE reg RENAME code TO kode;
ALTER TABLE reg RENAME TO regions;
ALTER TABLE cust RENAME TO customers;
TABLE definition;
SELECT body, problems FROM concord.preview('sch');
SELECT v.version, created_by = CURRENT_USER AS mine, v.comment FROM concord.mapping_version v JOIN concord.mapping m ON m.id = v.mapping WHERE m.name = 'sch' ORDER BY 1;
-- a name that goes on outside of a sub-SELECT
BEGIN;
SELECT concord.alter_mapping('sch', fields => '{"J": "(SELECT x.title FROM (SELECT r.title FROM regions r) x LIMIT 1)"}');
ALTER TABLE regions RENAME title TO label;
ROLLBACK;
-- by a function, and undone
CREATE FUNCTION migrate() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'ALTER TABLE sch_test.customers RENAME credit_note TO note'; END$$;
BEGIN;
SELECT migrate();
SELECT value FROM definition WHERE key = 'N';
ROLLBACK;
SELECT value FROM definition WHERE key = 'N';
BEGIN;
SAVEPOINT a;
SELECT migrate();
ROLLBACK TO a;
ALTER TABLE customers RENAME credit_note TO memo;
COMMIT;
SELECT value FROM definition WHERE key = 'N';

-- what cannot be followed is refused
ALTER TABLE customers RENAME id TO ident;
ALTER TABLE customers RENAME region TO kode;
ALTER TABLE customers DROP credit;
ALTER TABLE customers DROP credit CASCADE;
ALTER TABLE customers ALTER credit TYPE float8;
ALTER TABLE regions DROP title;
ALTER TABLE regions ALTER odd TYPE int USING 1;
DROP TABLE regions;
ALTER TABLE regions SET SCHEMA public;
CREATE DOMAIN amount AS int;
ALTER TABLE customers ALTER n TYPE amount;
SELECT concord.alter_mapping('sch', fields => '{"A": "n"}');
DROP DOMAIN amount CASCADE;
SELECT * FROM state;
-- what is no business of the mapping's
ALTER TABLE customers ALTER credit TYPE numeric(20,2);
ALTER TABLE customers ADD extra int, ADD extra2 text DEFAULT 'x' NOT NULL;
ALTER TABLE customers ALTER extra TYPE bigint;
ALTER TABLE customers DROP extra;
ALTER TABLE customers RENAME extra2 TO extra3;
ALTER TABLE customers ALTER credit SET NOT NULL;
ALTER TABLE customers ALTER credit SET DEFAULT 1;
CREATE INDEX ON customers (credit);
ALTER TABLE customers ADD CHECK (credit >= 0);
SELECT body, problems FROM concord.preview('sch');
-- together: the mapping first, or in one transaction
BEGIN;
SELECT concord.alter_mapping('sch', fields => '{"C": null}');
ALTER TABLE customers DROP credit;
SELECT body FROM concord.preview('sch');
ROLLBACK;
-- pause
SET pg_concord.on_schema_change = 'stop';
SET pg_concord.on_schema_change = 'pause';
BEGIN;
ALTER TABLE customers DROP credit;
SELECT * FROM state;
SELECT concord.alter_mapping('sch', fields => '{"C": null}');
SELECT * FROM state;
SELECT body FROM concord.preview('sch');
ROLLBACK;
ALTER TABLE customers ALTER credit TYPE float8;
SELECT * FROM state;
SELECT concord.resume('sch');
SELECT * FROM state;
-- a mapping that a person has paused stays so
SELECT concord.pause('sch');
ALTER TABLE customers ALTER credit TYPE numeric;
SELECT state FROM state;
SELECT concord.alter_mapping('sch', comment => 'looked at');
SELECT state FROM state;
SELECT concord.resume('sch');
DROP TABLE regions;
SELECT * FROM state;
SELECT severity, what, mapping, server, source, detail FROM concord.alert WHERE mapping = 'sch' ORDER BY id;
RESET pg_concord.on_schema_change;
SELECT concord.alter_mapping('sch', fields => '{"T": null, "O": null, "J": null}');
SELECT * FROM state;

-- what was recorded
SELECT command, source, what, column_name, before, after, role = CURRENT_USER AS mine FROM concord.schema_change
	WHERE source LIKE 'sch\_test.%' ORDER BY id, column_name;

-- a key of several columns, options that name columns, children
CREATE TABLE head (id int PRIMARY KEY, note text);
CREATE TABLE item (head int, pos int, sku text, PRIMARY KEY (head, pos));
SELECT concord.create_mapping('sch_h', 'head', 'sch_erp', 'H', '{"Note": "note", "Sum": "(SELECT count(*) FROM item WHERE item.head = head.id)"}',
	options => '{"depends": {"item": {"id": "head"}}}');
SELECT concord.create_mapping('sch_i', 'item', 'sch_erp', 'I', '{"Sku": "sku", "Head": "head"}', key => '[{"P": "pos"}, {"H": "head"}]');
ALTER TABLE item RENAME head TO head_id;
SELECT concord.drop_mapping('sch_i');
ALTER TABLE item RENAME head TO head_id;
SELECT v.definition FROM concord.mapping_version v JOIN concord.mapping m ON m.id = v.mapping AND m.version = v.version WHERE m.name = 'sch_h';
SELECT state, state_reason FROM concord.mapping WHERE name = 'sch_h';
-- an inherited column is renamed with its parent; a partitioned table, by its root
CREATE TABLE part (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY list (region);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
SELECT concord.create_mapping('sch_p', 'part', 'sch_erp', 'P', '{"V": "v"}');
ALTER TABLE part RENAME v TO value;
CREATE TABLE part_b (id int NOT NULL, gone int, value text, region text NOT NULL, PRIMARY KEY (id, region));
ALTER TABLE part_b DROP gone;
ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
INSERT INTO part VALUES (1, 'a', 'x'), (2, 'b', 'y');
SELECT body FROM concord.preview('sch_p');
ALTER TABLE part DETACH PARTITION part_b;
ALTER TABLE part_a RENAME TO part_z;
SELECT body FROM concord.preview('sch_p');
SELECT state, version FROM concord.mapping WHERE name = 'sch_p';
-- types: an added value is fine, a changed composite is not
CREATE TYPE mood AS ENUM ('glad');
CREATE TYPE place AS (street text, city text);
CREATE TABLE typed (id int PRIMARY KEY, m mood, p place);
SELECT concord.create_mapping('sch_t', 'typed', 'sch_erp', 'T', '{"M": "m", "City": "(p).city"}');
ALTER TYPE mood ADD VALUE 'sad';
ALTER TYPE place RENAME ATTRIBUTE city TO town;
INSERT INTO typed VALUES (1, 'sad', ROW('Main St', 'Bonn'));
SELECT body, problems FROM concord.preview('sch_t');

-- somebody who may alter the table and nothing else
CREATE ROLE sch_role;
GRANT USAGE, CREATE ON SCHEMA sch_test TO sch_role;
ALTER TABLE customers OWNER TO sch_role;
SET ROLE sch_role;
ALTER TABLE customers RENAME memo TO memo2;
ALTER TABLE customers DROP credit;
RESET ROLE;
SELECT value FROM definition WHERE key = 'N';
SELECT role, what, column_name FROM concord.schema_change WHERE role = 'sch_role';
ALTER TABLE customers OWNER TO CURRENT_USER;
SELECT concord.drop_mapping('sch'), concord.drop_mapping('sch_h'), concord.drop_mapping('sch_p'), concord.drop_mapping('sch_t');
SELECT count(*) FROM concord.mapping_use u WHERE NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = u.mapping);
DROP OWNED BY sch_role;
DROP ROLE sch_role;
DROP SCHEMA sch_test CASCADE;
DROP SERVER sch_erp;
