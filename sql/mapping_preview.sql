-- preview: what would be sent for the rows that are there, type by type.
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SERVER preview_erp FOREIGN DATA WRAPPER concord
	OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SCHEMA preview_test;
SET search_path = preview_test;

-- every kind of value, as it arrives, whatever the session's settings are
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN amount AS numeric(15,2) CHECK (VALUE >= 0);
CREATE TYPE place AS (street text, city text);
CREATE TABLE kind (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8,
	n numeric, am amount, t text, vc varchar(5), ch char(4), nm name, by bytea, d date, ti time,
	ts timestamp, tz timestamptz, iv interval, u uuid, js json, jb jsonb, ia int[], ta text[],
	m mood, p place, ip inet, r int4range, g numeric GENERATED ALWAYS AS (n * 2) STORED);
INSERT INTO kind VALUES (1, true, -5, 9007199254740993, 1.5, 0.1, 12345678901234567890.123456789, 10,
	E'q"u\\o\nte \u00e9\u20ac', 'abc', 'ab', 'n', '\x00ff', '2026-02-28', '13:14:15.5', '2026-03-01 10:00:00.25',
	'2026-03-01 10:00:00+02', '1 year 2 mons 3 days 04:05:06', '00000000-0000-4000-8000-000000000001',
	'{"a" : [1, 2.50]}', '{"b": null, "a": 1.10}', '{1,NULL,3}', '{"a b","c\"d",NULL}', 'sad', ROW('Main St', NULL),
	'10.0.0.1/8', '[1,5)');
INSERT INTO kind (id) VALUES (2);
SELECT concord.create_mapping('kind', 'kind', 'preview_erp', 'Kinds', (
	SELECT jsonb_object_agg(attname, attname) FROM pg_attribute
	WHERE attrelid = 'kind'::regclass AND attnum > 1), paused => true);
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SET IntervalStyle = 'sql_standard';
SET bytea_output = 'escape';
SET extra_float_digits = -5;
SELECT key, method, url, problems FROM concord.preview('kind');
SELECT f.key, f.value FROM concord.preview('kind', 'id = 1') p, jsonb_each(body) f ORDER BY 1;
SELECT jsonb_strip_nulls(body) FROM concord.preview('kind', 'id = 2');
-- the same through expressions
SELECT concord.alter_mapping('kind', fields => (
	SELECT jsonb_object_agg(attname, format('coalesce(%I, NULL)', attname)) FROM pg_attribute
	WHERE attrelid = 'kind'::regclass AND attnum > 1));
SELECT f.key, f.value FROM concord.preview('kind', 'id = 1') p, jsonb_each(body) f ORDER BY 1;
RESET TimeZone;
RESET DateStyle;
RESET IntervalStyle;
RESET bytea_output;
RESET extra_float_digits;
SELECT concord.alter_mapping('kind', options => '{"numbers": "string", "nulls": "omit"}');
SELECT body->'i8' AS i8, body->'n' AS n, body->'id' AS id FROM concord.preview('kind', 'id = 1');
SELECT body FROM concord.preview('kind', 'id = 2');

-- what an expression sees
CREATE TABLE customer (id int PRIMARY KEY, name text, active bool);
INSERT INTO customer VALUES (1, 'Ann', true), (2, 'Bob', false);
CREATE TABLE "Order Line" (id int PRIMARY KEY, customer int, qty int, price numeric, "weird "" name" text);
INSERT INTO "Order Line" VALUES (1, 1, 2, 1.50, 'x'), (2, 2, 0, 3, NULL), (3, 9, 1, -1, 'z');
CREATE FUNCTION total("Order Line") RETURNS numeric LANGUAGE sql STABLE AS 'SELECT $1.qty * $1.price';
CREATE FUNCTION describe(anyelement) RETURNS text LANGUAGE sql STABLE AS 'SELECT pg_typeof($1)::text';
SELECT concord.create_mapping('line', '"Order Line"', 'preview_erp', 'Lines', $${
	"Plain": "qty", "Qualified": "\"Order Line\".qty", "Schema": "preview_test.\"Order Line\".qty",
	"Weird": "\"weird \"\" name\"", "Column": {"column": "weird \" name"},
	"Constant": "'EUR'", "Number": "42", "Null": "NULL", "Cast": "'2026-01-01'::date",
	"Expression": "qty * price -- a comment",
	"Sub": "(SELECT name FROM customer c WHERE c.id = customer)",
	"Inner": "(SELECT count(*) FROM customer WHERE id = \"Order Line\".customer)",
	"InnerWins": "(SELECT max(id) FROM customer)",
	"Deep": "(SELECT (SELECT x.n || qty FROM (SELECT name AS n) x) FROM customer c WHERE c.id = customer)",
	"With": "(WITH w AS (SELECT qty AS q) SELECT sum(q) FROM w)",
	"Exists": "EXISTS (SELECT FROM customer c WHERE c.id = customer AND c.active)",
	"Row": "to_jsonb(\"Order Line\") - 'price'", "Star": "to_jsonb(\"Order Line\".*) - 'price'",
	"Function": "total(\"Order Line\")", "Computed": "\"Order Line\".total", "Type": "describe(\"Order Line\")",
	"Member": "(\"Order Line\").qty", "Op": "event.op", "EventRow": "to_jsonb(event) ? 'committed_at'",
	"Old": "old.qty", "OldRow": "old IS NULL", "Case": "CASE WHEN qty > 0 THEN price / qty END",
	"Role": "current_user::text", "Zone": "current_setting('TimeZone')", "Nested/A/B": "qty", "Nested/A/C": "price",
	"Now": "now() = event.committed_at", "Array": "ARRAY[qty, id]"}$$,
	key => '{"ID": "''L'' || id"}', filter => 'id < 3', checks => '{"price": "price > 0", "quantity": "qty > 0"}',
	paused => true);
SELECT f.key, f.value FROM concord.preview('line', 'qty = 2') p, jsonb_each(body) f ORDER BY 1;
SELECT key, body IS NULL AS nothing, problems FROM concord.preview('line');
SELECT problems FROM concord.preview('line', '"Order Line".customer = 9');
SELECT count(*) FROM concord.preview('line', max_rows => 2);
-- filters of previews
\set SHOW_CONTEXT never
SELECT * FROM concord.preview('line', 'qtty = 2');
SELECT * FROM concord.preview('line', 'qty');
SELECT * FROM concord.preview('line', 'true) UNION SELECT (1');
SELECT * FROM concord.preview('line', 'true; DELETE FROM customer');
SELECT * FROM concord.preview('line', max_rows => 0);
SELECT * FROM concord.preview('nothing');
SELECT * FROM concord.preview(NULL);

-- one row that raises does not hold up the others; the field is named
SELECT concord.alter_mapping('line', fields => '{"Case": "price / qty"}', checks => '{"quantity": null}', filter => 'true');
SELECT key, body->'Case' AS body, problems FROM concord.preview('line');
-- only what the filter lets through is evaluated
SELECT concord.alter_mapping('line', filter => 'qty <> 0');
SELECT key, body->'Case' AS body, problems FROM concord.preview('line');
-- a key that is null
SELECT concord.alter_mapping('line', key => '{"ID": "CASE WHEN id > 1 THEN id END"}', checks => '{"price": null}');
SELECT key, problems FROM concord.preview('line');

-- numbers that JSON cannot write
CREATE TABLE odd (id int PRIMARY KEY, f float8, n numeric, d date, tz timestamptz);
INSERT INTO odd VALUES (1, 'NaN', NULL, NULL, NULL), (2, '-Infinity', NULL, NULL, NULL), (3, 0, 'NaN', NULL, NULL),
	(4, 0, 0, 'infinity', NULL), (5, 0, 0, NULL, '-infinity'), (6, 1, 2, NULL, NULL);
SELECT concord.create_mapping('odd', 'odd', 'preview_erp', 'Odds', '{"F": "f", "N": "n + 0", "D": "d", "T": "tz"}', paused => true);
SELECT key, problems FROM concord.preview('odd', max_rows => 10);

-- expressions cannot write, nor become another
CREATE TABLE log (t text);
CREATE FUNCTION writes() RETURNS text LANGUAGE sql AS $$ INSERT INTO preview_test.log VALUES ('x') RETURNING t $$;
CREATE FUNCTION becomes() RETURNS text LANGUAGE plpgsql AS $$ BEGIN SET ROLE pg_monitor; RETURN current_user; END $$;
CREATE SEQUENCE seq;
CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('preview_test.seq') $$;
SELECT concord.create_mapping('bad', 'odd', 'preview_erp', 'Odds', '{"F": "preview_test.writes()"}', paused => true);
SELECT problems FROM concord.preview('bad', 'id = 6');
SELECT concord.alter_mapping('bad', fields => '{"F": "preview_test.becomes()"}');
SELECT problems FROM concord.preview('bad', 'id = 6');
SELECT concord.alter_mapping('bad', fields => '{"F": "preview_test.counts()"}');
SELECT problems FROM concord.preview('bad', 'id = 6');
SELECT count(*) FROM log;
-- and what is gone breaks the mapping, not the row
DROP FUNCTION counts();
\set VERBOSITY terse
SELECT problems FROM concord.preview('bad', 'id = 6');
\set VERBOSITY default

-- a delivery that is kept, with the definition of now
CREATE USER MAPPING FOR CURRENT_USER SERVER preview_erp OPTIONS (auth 'none');
CREATE TABLE dead (id int PRIMARY KEY, v int);
SELECT concord.create_mapping('dead', 'dead', 'preview_erp', 'Dead', '{"V": "10 / v"}');
INSERT INTO dead VALUES (1, 0);
SELECT concord.wait_for_delivery('dead');
SELECT delivery, rule, error FROM concord.dead_letter WHERE mapping = 'dead' \gset
\echo :rule: :error
SELECT key, body, problems FROM concord.preview('dead', delivery => :delivery);
BEGIN;
SELECT concord.alter_mapping('dead', fields => '{"V": "10 / nullif(v, 0)"}');
SELECT key, body, problems FROM concord.preview('dead', delivery => :delivery);
ROLLBACK;
SELECT * FROM concord.preview('dead', delivery => 0);

-- row security holds for the definer
CREATE ROLE preview_user;
GRANT USAGE ON SCHEMA concord, preview_test TO preview_user;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO preview_user;
GRANT USAGE ON FOREIGN SERVER preview_erp TO preview_user;
GRANT SELECT ON customer TO preview_user;
ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY active ON customer USING (active);
CREATE TABLE mine (id int PRIMARY KEY, customer int);
INSERT INTO mine VALUES (1, 1), (2, 2);
ALTER TABLE mine OWNER TO preview_user;
SET ROLE preview_user;
SELECT concord.create_mapping('mine', 'mine', 'preview_erp', 'Mine',
	'{"Name": "(SELECT name FROM customer c WHERE c.id = customer)"}', paused => true);
RESET ROLE;
SELECT body FROM concord.preview('mine');
SET row_security = off;
SELECT body, problems FROM concord.preview('mine');
RESET row_security;
REVOKE SELECT ON customer FROM preview_user;
SELECT body, problems FROM concord.preview('mine');

SELECT concord.drop_mapping(name::text) FROM (SELECT name FROM concord.mapping WHERE server = 'preview_erp' ORDER BY name) m;
DROP SCHEMA preview_test CASCADE;
DROP SERVER preview_erp CASCADE;
DROP OWNED BY preview_user;
DROP ROLE preview_user;
