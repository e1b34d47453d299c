-- tables and servers of mappings that are dropped, renamed or changed
SET client_min_messages = warning;
SELECT concord.wait_for_capture('60s');
CREATE SCHEMA drop_test;
SET search_path = drop_test;
CREATE SERVER drop_erp FOREIGN DATA WRAPPER concord
	OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SERVER drop_other FOREIGN DATA WRAPPER concord
	OPTIONS (connector 'rest', url 'http://127.0.0.1:9/other/');
CREATE TABLE item (id int PRIMARY KEY, name text);
CREATE TABLE part (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (100);
CREATE TABLE apart (id int PRIMARY KEY, name text);
SELECT concord.create_mapping('drop_item', 'item', 'drop_erp', 'Items', '{"Name": "name"}');
SELECT concord.create_mapping('drop_part', 'part', 'drop_erp', 'Parts', '{"Name": "name"}');
SELECT concord.create_mapping('drop_apart', 'apart', 'drop_other', 'Aparts', '{"Name": "name"}');

CREATE VIEW drop_state AS
	SELECT m.name, m.server, m.state, m.state_reason,
		(SELECT count(*) FROM concord.captured c WHERE c.relid = m.source) AS captured
	FROM concord.mapping m WHERE m.name LIKE 'drop\_%';
SELECT * FROM drop_state ORDER BY name;

-- a renamed server and a renamed table are followed
ALTER SERVER drop_erp RENAME TO drop_sap;
ALTER TABLE item RENAME TO article;
SELECT m.name, m.server, m.source FROM concord.mapping m WHERE m.name = 'drop_item';

-- a table that is not logged cannot be captured
ALTER TABLE apart SET UNLOGGED;
SELECT * FROM drop_state ORDER BY name;
ALTER TABLE apart SET LOGGED;

-- rolled back, nothing has happened
BEGIN;
DROP TABLE article;
SELECT name, state, captured FROM drop_state WHERE name = 'drop_item';
ROLLBACK;
SELECT name, state, captured FROM drop_state WHERE name = 'drop_item';

-- dropped by a role that has no rights on our tables
CREATE ROLE drop_owner;
GRANT CREATE, USAGE ON SCHEMA drop_test TO drop_owner;
ALTER TABLE article OWNER TO drop_owner;
SET ROLE drop_owner;
DROP TABLE article;
RESET ROLE;
DROP TABLE part_1;
SELECT * FROM drop_state ORDER BY name;
DROP TABLE part;
SELECT * FROM drop_state ORDER BY name;
DROP SERVER drop_sap;
SELECT * FROM drop_state ORDER BY name;

-- the event triggers' functions are for them alone
SELECT concord.ddl_drop();

SELECT count(concord.drop_mapping(name)) FROM drop_state;
DROP SCHEMA drop_test CASCADE;
DROP SERVER drop_other;
DROP ROLE drop_owner;
