-- the table changes while it is captured: every event has the definition of its time
SELECT concord.wait_for_capture('60s');
SELECT coalesce(max(seq), 0) AS start FROM concord.outbox \gset

CREATE TABLE cap_ddl (id int PRIMARY KEY, a text, b int);
INSERT INTO concord.captured VALUES ('cap_ddl'::regclass);
INSERT INTO cap_ddl VALUES (1, 'one', 1);
ALTER TABLE cap_ddl ADD c date DEFAULT '2026-11-20';
INSERT INTO cap_ddl VALUES (2, 'two', 2);
ALTER TABLE cap_ddl DROP a;
INSERT INTO cap_ddl VALUES (3, 3);
ALTER TABLE cap_ddl RENAME b TO bb;
INSERT INTO cap_ddl VALUES (4, 4);
-- a rewrite: the rows that it writes are no changes
ALTER TABLE cap_ddl ALTER bb TYPE text USING 'b' || bb;
INSERT INTO cap_ddl VALUES (5, 'text');
ALTER TABLE cap_ddl RENAME TO cap_ddl2;
INSERT INTO cap_ddl2 VALUES (6, 'renamed');
-- DDL and DML in one transaction
BEGIN;
INSERT INTO cap_ddl2 VALUES (7, 'before');
ALTER TABLE cap_ddl2 ADD d int;
INSERT INTO cap_ddl2 VALUES (8, 'after', NULL, 8);
SAVEPOINT s;
ALTER TABLE cap_ddl2 ADD e int;
INSERT INTO cap_ddl2 VALUES (9, 'undone', NULL, 9, 9);
ROLLBACK TO s;
INSERT INTO cap_ddl2 VALUES (10, 'last', NULL, 10);
COMMIT;
-- replica identity full: the whole old row
ALTER TABLE cap_ddl2 REPLICA IDENTITY FULL;
UPDATE cap_ddl2 SET d = 11 WHERE id = 10;
-- an index, a vacuum and a change of the outbox's own tables do not matter
CREATE INDEX ON cap_ddl2 (d);
VACUUM FULL cap_ddl2;
CREATE INDEX cap_ddl_index ON concord.relation_version (name);
DELETE FROM cap_ddl2 WHERE id = 10;
DROP INDEX concord.cap_ddl_index;

SELECT concord.wait_for_capture('60s');
SELECT op, source, ordinal, old, new FROM concord.outbox WHERE seq > :start ORDER BY seq;
-- definitions are stored once
SELECT count(*), count(DISTINCT digest) FROM concord.relation_version WHERE relid = 'cap_ddl2'::regclass;

-- created, captured, filled and dropped in one transaction leaves no trouble behind
BEGIN;
CREATE TABLE cap_gone (id int PRIMARY KEY);
INSERT INTO concord.captured VALUES ('cap_gone'::regclass);
INSERT INTO cap_gone VALUES (1);
DELETE FROM concord.captured WHERE relid = 'cap_gone'::regclass;
DROP TABLE cap_gone;
COMMIT;
SELECT concord.wait_for_capture('60s');
DELETE FROM concord.captured WHERE relid = 'cap_ddl2'::regclass;
DROP TABLE cap_ddl2;
SELECT concord.wait_for_capture('60s');
