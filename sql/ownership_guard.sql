-- Local writes to columns that systems own: refused, reported or let through.
SET client_min_messages = warning;
CREATE SERVER guard_erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SCHEMA guard_test;
SET search_path = guard_test;
CREATE VIEW triggers AS SELECT tgrelid::regclass::text AS source, pg_get_triggerdef(oid) AS definition FROM pg_trigger
	WHERE tgname LIKE 'concord_ownership%' AND NOT tgisinternal AND tgparentid = 0 ORDER BY 1, tgname;
CREATE VIEW alerts AS SELECT severity, what, server, source, detail, count FROM concord.alert WHERE server = 'guard_erp' ORDER BY id;

CREATE TABLE cust (id int PRIMARY KEY, name text, credit numeric DEFAULT 0, doc json, tags text[], at timestamptz DEFAULT now());
SELECT concord.set_owner('cust', '{credit,doc,tags,at}', 'guard_erp');
TABLE triggers;
-- NULL, the default, and what equals it
INSERT INTO cust (id, name) VALUES (1, 'a');
INSERT INTO cust VALUES (2, 'a', 0.00);
INSERT INTO cust VALUES (3, 'a', NULL, NULL, NULL, now());
\set VERBOSITY sqlstate
INSERT INTO cust VALUES (4, 'a', 1);
\set VERBOSITY default
INSERT INTO cust VALUES (4, 'a', 1);
UPDATE cust SET name = 'b';
UPDATE cust SET credit = credit + 0.00, doc = doc;
UPDATE cust SET credit = 5 WHERE id = 1;
UPDATE cust SET doc = '{}' WHERE id = 1;
UPDATE cust SET at = at + '1 day', credit = NULL;
COPY cust (id, credit) FROM stdin;
9	4
\.
COPY cust (id, credit) FROM stdin;
9	0
\.
INSERT INTO cust (id, credit) VALUES (1, 99) ON CONFLICT (id) DO UPDATE SET name = excluded.name;
INSERT INTO cust (id, credit) VALUES (1, 99) ON CONFLICT (id) DO UPDATE SET credit = excluded.credit;
DELETE FROM cust WHERE id = 9;
-- by a trigger before, whatever its name, and by a function
CREATE FUNCTION clever() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.credit := 1000; RETURN NEW; END$$;
CREATE TRIGGER zzz BEFORE UPDATE OF name ON cust FOR EACH ROW EXECUTE FUNCTION clever();
UPDATE cust SET name = 'c';
DROP TRIGGER zzz ON cust;
CREATE FUNCTION work() RETURNS void LANGUAGE sql AS 'UPDATE guard_test.cust SET credit = 3';
SELECT work();
-- by a cascade
CREATE TABLE grp (id int PRIMARY KEY);
CREATE TABLE memb (id int PRIMARY KEY, grp int REFERENCES grp ON UPDATE CASCADE ON DELETE SET NULL);
INSERT INTO grp VALUES (1), (2);
INSERT INTO memb VALUES (1, 1), (2, 2);
SELECT concord.set_owner('memb', '{grp}', 'guard_erp');
UPDATE grp SET id = 11 WHERE id = 1;
DELETE FROM grp WHERE id = 2;
TABLE memb;
-- a load bypasses it on purpose; so do replicas' writes
SET pg_concord.bypass_ownership = on;
UPDATE cust SET credit = 77 WHERE id = 1;
RESET pg_concord.bypass_ownership;
SET session_replication_role = replica;
UPDATE cust SET credit = 78 WHERE id = 1;
RESET session_replication_role;
SELECT id, credit FROM cust WHERE id = 1;
-- a column that is nobody's business
SELECT concord.set_owner('cust', '{tags}', 'guard_erp', on_local_write => 'off');
UPDATE cust SET tags = '{x}' WHERE id = 1;

-- report: once a statement, and one alert a transaction
SELECT concord.set_owner('cust', '{credit}', 'guard_erp', on_local_write => 'report');
UPDATE cust SET credit = credit + 1;
SELECT * FROM alerts;
BEGIN;
UPDATE cust SET credit = credit + 1;
SAVEPOINT a;
UPDATE cust SET credit = credit + 1;
ROLLBACK TO a;
UPDATE cust SET credit = credit + 1;
COMMIT;
BEGIN;
SAVEPOINT a;
UPDATE cust SET credit = credit + 1;
ROLLBACK TO a;
UPDATE cust SET credit = credit + 1 WHERE id = 1;
COMMIT;
BEGIN;
UPDATE cust SET credit = credit + 1;
ROLLBACK;
SELECT * FROM alerts;
BEGIN;
UPDATE cust SET credit = credit + 1 WHERE id < 3;
PREPARE TRANSACTION 'guard';
COMMIT PREPARED 'guard';
SELECT count, count(*) FROM alerts GROUP BY 1 ORDER BY 1;

-- what the triggers name may change
SELECT concord.set_owner('cust', '{credit}', 'guard_erp');
ALTER TABLE cust ALTER credit TYPE numeric(10,2);
ALTER TABLE cust RENAME credit TO kredit;
ALTER TABLE cust ALTER kredit SET DEFAULT 7;
INSERT INTO cust (id) VALUES (20);
UPDATE cust SET kredit = 8 WHERE id = 20;
ALTER TABLE cust DROP tags, DROP at;
TABLE triggers;
SELECT column_name, owner FROM concord.ownership WHERE source = 'cust'::regclass ORDER BY 1;
BEGIN;
ALTER TABLE cust DROP kredit;
TABLE triggers;
ROLLBACK;
UPDATE cust SET kredit = 8 WHERE id = 20;
ALTER TABLE cust RENAME TO customer;
UPDATE customer SET kredit = 8 WHERE id = 20;
SELECT concord.set_owner('customer', '{kredit,doc}', 'local');
SELECT * FROM triggers WHERE source = 'customer';
UPDATE customer SET kredit = 8 WHERE id = 20;

-- partitions: rows move, partitions come and go
CREATE TABLE p (id int, region text, credit numeric, PRIMARY KEY (id, region)) PARTITION BY list (region);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a');
CREATE TABLE p2 PARTITION OF p FOR VALUES IN ('b');
SELECT concord.set_owner('p', '{credit}', 'guard_erp');
INSERT INTO p VALUES (1, 'a');
SET pg_concord.bypass_ownership = on;
UPDATE p SET credit = 500;
RESET pg_concord.bypass_ownership;
UPDATE p SET region = 'b';
SELECT tableoid::regclass, * FROM p;
UPDATE p SET region = 'a', credit = 5;
BEGIN;
DELETE FROM p;
INSERT INTO p VALUES (1, 'a', 500);
ROLLBACK;
INSERT INTO p1 VALUES (1, 'a', 500);
CREATE TABLE p3 (id int NOT NULL, extra int, credit numeric, region text NOT NULL, PRIMARY KEY (id, region));
ALTER TABLE p3 DROP COLUMN extra;
ALTER TABLE p ATTACH PARTITION p3 FOR VALUES IN ('c');
INSERT INTO p3 VALUES (1, 4, 'c');
INSERT INTO p VALUES (1, 'c', 4);
ALTER TABLE p DETACH PARTITION p3;
INSERT INTO p3 VALUES (1, 4, 'c');
SELECT concord.set_owner('p1', '{credit}', 'guard_erp');

-- a server that goes takes its ownership along
SET client_min_messages = error;
DROP SERVER guard_erp;
SELECT count(*) FROM concord.ownership_item WHERE owner = 'guard_erp';
SELECT count(*) FROM triggers;
DROP SCHEMA guard_test CASCADE;
