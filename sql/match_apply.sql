--
-- Which row a record is: rules of option match, ids that the system gives, keys
-- of expressions, identity columns, partitioned tables.
--
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT concord.wait_for_capture('60s');

CREATE SERVER mtc_crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/');
SELECT concord.pause_system('mtc_crm');

-- rules, in a table that has the name of our alias
CREATE TABLE r (id int PRIMARY KEY, email text, name text, city text, score int DEFAULT 0);
INSERT INTO r VALUES (1, 'ann@x.org', 'Ann', NULL, 0), (2, 'bob@x.org', 'Bob', NULL, 0), (3, NULL, 'Cy', 'Rome', 0),
	(4, NULL, 'Cy', 'Oslo', 0), (5, NULL, 'Di', NULL, 0), (6, NULL, 'Di', NULL, 0);
SELECT concord.create_mapping('mtc', 'r', 'mtc_crm', 'people', '{"score": {"column": "score", "owner": "mtc_crm"}}',
	key => '{"ref": "id"}', options => '{"remote_id": "assigned", "remote_id_path": "data.uid", "pull": {},
		"match": [{"name": "mail", "remote": "mail", "local": "lower(email)"}, "r.name = remote ->> ''name'' AND city = remote #>> ''{address,city}''",
			{"name": "name", "remote": "name", "local": "r.name"}]}');
SELECT * FROM concord.apply_records('mtc', ARRAY[
	'{"data": {"uid": "u1"}, "mail": "ann@x.org", "name": "Cy", "score": 11}',
	'{"uid": "u2", "mail": "bob@x.org", "score": 12}',
	'{"uid": "u3", "name": "Cy", "address": {"city": "Rome"}, "score": 13}',
	'{"uid": "u5", "name": "Di", "score": 15}',
	'{"uid": "u9", "mail": "ann@x.org", "score": 19}',
	'{"score": 20}']);
SELECT id, score FROM r ORDER BY id;
SELECT local_key, remote_id FROM concord.link WHERE mapping = 'mtc' ORDER BY remote_id;
SELECT remote_id, state, rule, error FROM concord.inbox WHERE mapping = 'mtc' ORDER BY id;
-- by its link from now on, whatever the rules say
SELECT * FROM concord.apply_records('mtc', ARRAY['{"uid": "u2", "mail": "ann@x.org", "score": 22}']);
SELECT id, score FROM r WHERE id = 2;
-- two records of one batch that are one row
SELECT fetched, applied, rejected FROM concord.apply_records('mtc', ARRAY['{"uid": "u7", "name": "Cy", "address": {"city": "Oslo"}, "score": 1}',
	'{"uid": "u8", "name": "Cy", "address": {"city": "Oslo"}, "score": 2}']);
SELECT remote_id, rule, error FROM concord.inbox WHERE mapping = 'mtc' AND remote_id IN ('u7', 'u8') ORDER BY id;
SELECT id, score FROM r WHERE id = 4;
-- a person decides
SELECT concord.set_link('mtc', '{"id": 4}', 'u8');
SELECT concord.set_link('mtc', '{"id": 5}', 'u8');
SELECT concord.set_link('mtc', '{"id": 4}', 'u7');
SELECT concord.set_link('mtc', '{"nr": 4}', 'u7');
SELECT concord.set_link('mtc', '{"id": 4}', '');
-- no row of the rules: insert false makes none
SELECT concord.alter_mapping('mtc', options => '{"pull": {"insert": false}}');
SELECT * FROM concord.apply_records('mtc', ARRAY['{"uid": "u30", "name": "New", "ref": 30, "score": 1}', '{"uid": "u31", "mail": "ann@x.org", "score": 5}']);
SELECT count(*) FROM r;
SELECT concord.alter_mapping('mtc', options => '{"pull": {"insert": true, "delete": "delete"}}');
SELECT applied FROM concord.apply_records('mtc', ARRAY['{"uid": "u30", "name": "New", "ref": 30, "score": 1}']);
SELECT id, score FROM r WHERE id = 30;
-- gone, by its id alone
SELECT applied FROM concord.apply_records('mtc', ARRAY[NULL], op => 'delete', remote_ids => ARRAY['u30']);
SELECT count(*) FROM r WHERE id = 30;

-- names follow; what a rule uses cannot go
ALTER TABLE r RENAME email TO mail;
ALTER TABLE r RENAME city TO town;
SELECT definition -> 'options' -> 'match' AS rules FROM concord.mapping_version v JOIN concord.mapping m ON m.id = v.mapping AND m.version = v.version
	WHERE m.name = 'mtc';
ALTER TABLE r DROP town;
ALTER TABLE r RENAME TO mtc_people;
SELECT definition -> 'options' -> 'match' AS rules FROM concord.mapping_version v JOIN concord.mapping m ON m.id = v.mapping AND m.version = v.version
	WHERE m.name = 'mtc';
INSERT INTO mtc_people VALUES (40, 'dot@x.org', 'Dot', 'Bern');
SELECT applied FROM concord.apply_records('mtc', ARRAY['{"uid": "u40", "name": "Dot", "address": {"city": "Bern"}, "score": 40}']);
SELECT id, score FROM mtc_people WHERE id = 40;

-- expressions over records follow tables that they read
CREATE TABLE mtc_city (code text PRIMARY KEY, name text);
INSERT INTO mtc_city VALUES ('ROM', 'Rome');
SELECT concord.alter_mapping('mtc', fields => '{"address/city": {"column": "town", "owner": "mtc_crm", "apply": "(SELECT c.name FROM mtc_city c WHERE c.code = remote ->> ''cc'')"}}') > 0 AS altered;
ALTER TABLE mtc_city RENAME name TO label;
SELECT definition -> 'fields' -> 'address/city' ->> 'apply' AS apply FROM concord.mapping_version v JOIN concord.mapping m ON m.id = v.mapping AND m.version = v.version
	WHERE m.name = 'mtc';
SELECT applied FROM concord.apply_records('mtc', ARRAY['{"uid": "u40", "cc": "ROM", "score": 41}']);
SELECT id, town, score FROM mtc_people WHERE id = 40;
ALTER TABLE mtc_city DROP label;

-- what does not hold is refused, under its name
\set VERBOSITY default
SELECT concord.alter_mapping('mtc', options => '{"match": [{"name": "mail", "remote": "mail", "local": "lower(emale)"}]}');
SELECT concord.alter_mapping('mtc', options => '{"match": ["name = remote ->> ''name'' AND old.name IS NULL"]}');
SELECT concord.alter_mapping('mtc', options => '{"match": ["town"]}');
SELECT concord.alter_mapping('mtc', options => '{"match": ["true; DROP TABLE mtc_people"]}');
SELECT concord.alter_mapping('mtc', fields => '{"score": {"column": "score", "owner": "mtc_crm", "apply": "(score ->> 1)::int"}}');
\set VERBOSITY terse
SELECT concord.drop_mapping('mtc');
DROP TABLE mtc_people, mtc_city;

-- a key that is made of expressions
CREATE TABLE mtc_site (region text, number int, name text, PRIMARY KEY (region, number));
INSERT INTO mtc_site VALUES ('N', 1, 'a'), ('N', 2, 'b'), ('S', 1, 'c');
SELECT concord.create_mapping('mtc', 'mtc_site', 'mtc_crm', 'sites', '{"name": {"column": "name", "owner": "mtc_crm"}}',
	key => '{"code": "region || ''-'' || number"}', options => '{"pull": {"delete": "delete"}}');
SELECT * FROM concord.apply_records('mtc', ARRAY['{"code": "N-2", "name": "two"}', '{"code": "S-1", "name": "south"}', '{"code": "X-9", "name": "new"}']);
SELECT * FROM mtc_site ORDER BY 1, 2;
SELECT local_key, remote_id FROM concord.link WHERE mapping = 'mtc' ORDER BY remote_id;
SELECT remote_id, state, rule, error FROM concord.inbox WHERE mapping = 'mtc';
SELECT applied FROM concord.apply_records('mtc', ARRAY['{"code": "N-2"}'], op => 'delete');
SELECT * FROM mtc_site ORDER BY 1, 2;
SELECT concord.drop_mapping('mtc');
DROP TABLE mtc_site;

-- a key with a part that the record has as it is, and a text of another
CREATE TABLE mtc_two (a text, b int, name text, PRIMARY KEY (a, b));
SELECT concord.create_mapping('mtc', 'mtc_two', 'mtc_crm', 'twos', '{"name": {"column": "name", "owner": "mtc_crm"}}', key => '{"A": "a", "B": "b::text"}');
SELECT applied, rejected FROM concord.apply_records('mtc', ARRAY['{"A": "x", "B": "7", "name": "seven"}', '{"A": "x", "B": "seven", "name": "no"}', '{"A": "x", "name": "none"}']);
SELECT * FROM mtc_two;
SELECT local_key, remote_id FROM concord.link WHERE mapping = 'mtc';
SELECT remote_id, rule, error FROM concord.inbox WHERE mapping = 'mtc' ORDER BY id;
SELECT concord.drop_mapping('mtc');
DROP TABLE mtc_two;

-- identity columns: the record tells it, or the database does
CREATE TABLE mtc_given (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
SELECT concord.create_mapping('mtc', 'mtc_given', 'mtc_crm', 'given', '{"name": {"column": "name", "owner": "mtc_crm"}}', key => '{"id": "id"}');
SELECT applied, rejected FROM concord.apply_records('mtc', ARRAY['{"id": 500, "name": "told"}', '{"id": 501, "name": "told, too"}']);
SELECT applied, rejected FROM concord.apply_records('mtc', ARRAY['{"id": 500, "name": "changed"}']);
SELECT * FROM mtc_given ORDER BY id;
SELECT concord.drop_mapping('mtc');
SELECT concord.create_mapping('mtc', 'mtc_given', 'mtc_crm', 'given', '{"name": {"column": "name", "owner": "mtc_crm"}}', key => '{"number": "id"}',
	options => '{"remote_id": "assigned"}');
SELECT applied, rejected FROM concord.apply_records('mtc', ARRAY['{"id": "g1", "name": "made"}', '{"id": "g2", "name": "made, too"}']);
SELECT applied, unchanged FROM concord.apply_records('mtc', ARRAY['{"id": "g1", "name": "made and changed"}', '{"id": "g2", "name": "made, too"}']);
SELECT * FROM mtc_given ORDER BY id;
SELECT local_key, remote_id FROM concord.link WHERE mapping = 'mtc' ORDER BY remote_id;
SELECT concord.drop_mapping('mtc');
DROP TABLE mtc_given;

-- partitioned tables, rows that move between partitions
CREATE TABLE mtc_part (id int, region text, name text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE mtc_part_n PARTITION OF mtc_part FOR VALUES IN ('N');
CREATE TABLE mtc_part_s PARTITION OF mtc_part FOR VALUES IN ('S');
SELECT concord.create_mapping('mtc', 'mtc_part', 'mtc_crm', 'parts', '{"name": {"column": "name", "owner": "mtc_crm"}}', key => '{"id": "id", "region": "region"}',
	options => '{"pull": {"delete": "delete"}}');
SELECT applied, rejected FROM concord.apply_records('mtc', ARRAY['{"id": 1, "region": "N", "name": "n1"}', '{"id": 1, "region": "S", "name": "s1"}', '{"id": 1, "region": "W", "name": "w1"}']);
SELECT applied, rejected FROM concord.apply_records('mtc', ARRAY['{"id": 1, "region": "N", "name": "n1 again"}']);
SELECT tableoid::regclass, * FROM mtc_part ORDER BY region;
SELECT remote_id, rule, error FROM concord.inbox WHERE mapping = 'mtc';
SELECT applied FROM concord.apply_records('mtc', ARRAY['{"id": 1, "region": "S"}'], op => 'delete');
SELECT count(*) FROM mtc_part;
SELECT concord.drop_mapping('mtc');
DROP TABLE mtc_part;
CREATE TABLE mtc_part (id int PRIMARY KEY, score int, name text) PARTITION BY RANGE (id);
CREATE TABLE mtc_part_1 PARTITION OF mtc_part FOR VALUES FROM (0) TO (100);
CREATE TABLE mtc_part_2 PARTITION OF mtc_part FOR VALUES FROM (100) TO (200);
INSERT INTO mtc_part VALUES (1, 0, 'one'), (101, 0, 'other');
SELECT concord.create_mapping('mtc', 'mtc_part', 'mtc_crm', 'parts', '{"score": {"column": "score", "owner": "shared", "policy": "newest"}, "name": "name"}', key => '{"number": "id"}',
	options => '{"remote_id": "assigned", "match": ["mtc_part.name = remote ->> ''name''"]}');
SELECT applied, conflicts, rejected FROM concord.apply_records('mtc', ARRAY['{"id": "p1", "name": "one", "score": 0}', '{"id": "p2", "name": "other", "score": 0}']);
SELECT local_key, remote_id FROM concord.link WHERE mapping = 'mtc' ORDER BY remote_id;
SELECT applied, conflicts, rejected FROM concord.apply_records('mtc', ARRAY['{"id": "p1", "name": "one", "score": 5}', '{"id": "p2", "name": "other", "score": 6}']);
SELECT tableoid::regclass, * FROM mtc_part ORDER BY id;
SELECT concord.drop_mapping('mtc');
DROP TABLE mtc_part;
DROP SERVER mtc_crm;
