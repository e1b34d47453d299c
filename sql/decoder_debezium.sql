-- concord_decoder: the envelope of Debezium's connector
\pset format unaligned
\pset tuples_only on
SET timezone = 'America/New_York';
SET intervalstyle = 'sql_standard';
SET bytea_output = 'escape';
CREATE EXTENSION hstore;
CREATE TABLE dez (id int PRIMARY KEY, name varchar(20) NOT NULL, amount numeric(12,2), doc text);
ALTER TABLE dez ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE dez_full (id int PRIMARY KEY, name text);
ALTER TABLE dez_full REPLICA IDENTITY FULL;
CREATE TABLE dez_nokey (v text);
CREATE TABLE dez_two (a int, b text, c text, PRIMARY KEY (a, b));
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

-- what changes from run to run is shown as a word; that it is right is looked at below
CREATE VIEW dez_changes AS
SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(data,
  '"(ts_[mun]s|txId|lsn)":[0-9]+', '"\1":N', 'g'),
  '"sequence":"\[(null|\\"[0-9]+\\"),\\"[0-9]+\\"\]"', '"sequence":"[S]"', 'g'),
  '"db":"[^"]*"', '"db":"D"', 'g'), '"id":"[0-9]+:[0-9]+"', '"id":"X:L"', 'g'),
  '"version":"[^"]+"', '"version":"V"', 'g') AS line
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium', 'source', 'erp');

-- create, update, delete; an update of the key is a delete and a create
INSERT INTO dez VALUES (1, 'one', 1.10, repeat('d', 3000)), (2, 'two', NULL, NULL);
UPDATE dez SET amount = -0.05 WHERE id = 1;
UPDATE dez SET id = 3 WHERE id = 2;
DELETE FROM dez WHERE id = 3;
INSERT INTO dez_full VALUES (1, 'one');
UPDATE dez_full SET name = 'eins';
UPDATE dez_full SET id = 2;
DELETE FROM dez_full;
INSERT INTO dez_nokey VALUES ('a');
UPDATE dez_nokey SET v = 'b';
DELETE FROM dez_nokey;
TRUNCATE dez_nokey, dez_full;
INSERT INTO dez_full VALUES (2, 'small');
SELECT 1 FROM pg_logical_emit_message(false, 'loose', '\x00ff'::bytea);
SELECT 1 FROM pg_logical_emit_message(true, 'app "x"', 'hello');
SELECT regexp_replace(line, 'ddd+', 'ddd') FROM dez_changes;

-- keys, transactions
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
BEGIN;
INSERT INTO dez_two VALUES (1, 'x', 'y');
INSERT INTO dez VALUES (5, 'five');
UPDATE dez_two SET b = 'z';
SELECT 1 FROM pg_logical_emit_message(true, 'app', 'in it');
TRUNCATE dez_two;
COMMIT;
SELECT regexp_replace(data::jsonb ->> 'key', '\d+:\d+', 'X:L'), data::jsonb -> 'status', coalesce(data::jsonb ->> 'op', ''), data::jsonb #>> '{transaction,total_order}',
  data::jsonb #>> '{transaction,data_collection_order}', data::jsonb -> 'event_count', data::jsonb -> 'data_collections'
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium', 'include_key', 'on', 'include_transaction', 'on');
-- one transaction, one id; positions and times that are true and in order
SELECT count(DISTINCT coalesce(e ->> 'id', e #>> '{transaction,id}')), count(DISTINCT e #>> '{source,txId}'),
  bool_and((e #>> '{source,lsn}')::numeric <= (pg_current_wal_insert_lsn() - '0/0')),
  bool_and((e #>> '{source,sequence}')::jsonb ->> 1 = e #>> '{source,lsn}'),
  bool_and(((e #>> '{source,sequence}')::jsonb ->> 0)::numeric > (e #>> '{source,lsn}')::numeric),
  bool_and(abs((e ->> 'ts_ms')::numeric - extract(epoch FROM now()) * 1000) < 3600000),
  bool_and(abs((e #>> '{source,ts_us}')::numeric - extract(epoch FROM now()) * 1000000) < 3600000000),
  bool_and(e #>> '{source,ts_ns}' = (e #>> '{source,ts_us}') || '000'),
  bool_and(e #>> '{source,db}' = current_database()), bool_and(e #>> '{source,name}' = current_database()),
  bool_and(e #>> '{source,version}' = (SELECT default_version FROM pg_available_extensions WHERE name = 'pg_concord'))
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium', 'include_transaction', 'on'), LATERAL (SELECT data::jsonb AS e) x;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- values: numbers and their like
CREATE TABLE dez_num (id int PRIMARY KEY, b bool, i2 int2, i8 int8, o oid, f4 float4, f8 float8, n72 numeric(7,2), n numeric, m money,
  nb numeric(5,-2), n18 numeric(38,18));
INSERT INTO dez_num VALUES (1, true, -32768, 9223372036854775807, 4294967295, 0.1, 1e300, 123.45, 1.10, 12.34, 12345, 0.5);
INSERT INTO dez_num VALUES (2, false, 1, -1, 0, 'NaN', '-Infinity', -0.01, -128, -0.01, -100, -99999999999999999999.999999999999999999);
INSERT INTO dez_num VALUES (3, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0.000, 0, 0, 0);
INSERT INTO dez_num VALUES (4, NULL, NULL, NULL, NULL, NULL, NULL, 1.27, 1.28, NULL, NULL, 1);
INSERT INTO dez_num VALUES (5, NULL, NULL, NULL, NULL, NULL, NULL, -1.28, -1.29, NULL, NULL, 1);
INSERT INTO dez_num (id, n) VALUES (6, 1e40), (7, -340282366920938463463374607431768211456), (8, 18446744073709551616), (9, 0.0000000001);
INSERT INTO dez_num (id, n, n72) VALUES (10, 'NaN', 'NaN'), (11, 'Infinity', NULL), (12, '-Infinity', 1);
CREATE FUNCTION dez_rows(VARIADIC options text[] DEFAULT '{}') RETURNS SETOF jsonb LANGUAGE sql AS $$
  SELECT jsonb_strip_nulls(data::jsonb -> 'after') || jsonb_strip_nulls(jsonb_build_object('failed', data::jsonb -> 'failed', 'oversize', data::jsonb -> 'oversize'))
  FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, VARIADIC ARRAY['format', 'debezium'] || options)
  WHERE data::jsonb ->> 'op' = ANY ('{c,u}') $$;
SELECT * FROM dez_rows();
SELECT * FROM dez_rows('decimal', 'string');
SELECT * FROM dez_rows('decimal', 'double');
-- the bytes of the unscaled value are the number
CREATE FUNCTION dez_is(n numeric, base64 text, scale int) RETURNS bool LANGUAGE sql AS $$
  SELECT sum(get_byte(b, i) * 256::numeric ^ (length(b) - 1 - i)) - CASE WHEN get_byte(b, 0) > 127 THEN 256::numeric ^ length(b) ELSE 0 END = n * 10::numeric ^ scale
  FROM decode(base64, 'base64') b, generate_series(0, length(b) - 1) i GROUP BY b $$;
SELECT count(*), bool_and(dez_is(n, e #>> '{n,value}', (e #>> '{n,scale}')::int)), bool_and(dez_is(n72, e ->> 'n72', 2)), bool_and(dez_is(n18, e ->> 'n18', 18)),
  bool_and(dez_is(nb, e ->> 'nb', -2)), bool_and(dez_is(m::numeric, e ->> 'm', 2))
FROM dez_rows() e JOIN dez_num ON id = (e ->> 'id')::int WHERE NOT e ? 'failed';
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
INSERT INTO dez_num (id, n) SELECT i, ((random() - 0.5) * 10::numeric ^ (i % 60))::numeric + i * 10::numeric ^ (i % 40) FROM generate_series(101, 400) i;
INSERT INTO dez_num (id, n) SELECT 500 + i, (256::numeric ^ (i / 2) / 2 + i % 2) * CASE WHEN i % 4 > 1 THEN -1 ELSE 1 END FROM generate_series(1, 40) i;
SELECT count(*), bool_and(dez_is(n, e #>> '{n,value}', (e #>> '{n,scale}')::int)) FROM dez_rows() e JOIN dez_num ON id = (e ->> 'id')::int;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- values: times
CREATE TABLE dez_time (id int PRIMARY KEY, d date, t time, t3 time(3), t0 time(0), tz timetz, ts timestamp, ts3 timestamp(3), tsz timestamptz, tsz3 timestamptz(3), tsz0 timestamptz(0), iv interval);
INSERT INTO dez_time VALUES (1, '2018-06-20', '12:34:56.789', '12:34:56.789', '12:34:56', '13:51:30.123789+02', '2018-06-20 15:13:16.945104', '2018-06-20 15:13:16.945',
  '2018-06-20 15:13:16.945104+02', '2018-06-20 15:13:16.9+02', '2018-06-20 15:13:16Z', '1 year 2 months 3 days 4 hours 5 minutes 6.78 seconds');
INSERT INTO dez_time VALUES (2, '1969-12-31', '24:00', '00:00', '23:59:59', '24:00:00+00', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999', '1970-01-01 00:00Z', '0001-01-01 00:00Z BC', '10000-01-01 00:00Z', '-1 month -00:00:00.5');
INSERT INTO dez_time VALUES (3, 'infinity', NULL, NULL, NULL, '00:00:00-15:59', 'infinity', 'infinity', 'infinity', 'infinity', 'infinity', '-178000000 years');
INSERT INTO dez_time VALUES (4, '-infinity', NULL, NULL, NULL, '23:00+12:30', '-infinity', '-infinity', '-infinity', '0044-03-15 00:00Z BC', NULL, '178000000 years');
INSERT INTO dez_time VALUES (5, '4713-01-01 BC', NULL, NULL, NULL, '00:00-05', '4713-01-01 BC', '294276-12-31', '294276-12-31 23:59:59.999999Z', NULL, NULL, '-01:02:03.000004');
SELECT * FROM dez_rows();
SELECT e -> 'iv' FROM dez_rows('interval', 'string') e;
-- what an int64 holds is exact, and what it does not is its end
INSERT INTO dez_time (id, iv) VALUES (11, '2000000000 days'), (12, '-2000000000 days'), (13, '3500000 months'), (14, '4000000 months -107000000 days'), (15, '106751991 days 04:00:54.775807'), (16, '106751991 days 04:00:54.775808');
SELECT e -> 'id', e -> 'iv' FROM dez_rows() e WHERE e -> 'id' > '10';
SELECT bool_and(d = '1970-01-01'::date + (e -> 'd')::int), bool_and(ts = '1970-01-01'::timestamp + (e ->> 'ts')::numeric * interval '1 us'), bool_and(ts3 = '1970-01-01'::timestamp + (e ->> 'ts3')::numeric * interval '1 ms')
FROM dez_rows() e JOIN dez_time ON id = (e ->> 'id')::int WHERE id < 3;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- values: the others
CREATE TYPE dez_mood AS ENUM ('sad', 'ok', 'a "b",c');
CREATE DOMAIN dez_price AS numeric(8,3);
CREATE DOMAIN dez_price2 AS dez_price CHECK (VALUE > 0);
CREATE TYPE dez_pair AS (a int, b text);
CREATE TABLE dez_other (id int PRIMARY KEY, c char(5), by bytea, b1 bit, b5 bit(5), vb varbit, js json, jb jsonb, x xml, u uuid, p point, h hstore, e dez_mood, pr dez_price2,
  i inet, r int4range, ta text[], ia int[], na numeric(5,2)[], da date[], pair dez_pair, ba bytea[], tsa timestamptz[], bx box, tv tsvector);
INSERT INTO dez_other VALUES (1, 'ab', '\x00ff10', B'1', B'10110', B'100000001', '{"a":  [1,"\u00e4"]}', '{"b": 1.0}', '<a b="1"/>', '11111111-2222-3333-4444-555555555555', '(1.5,-2)',
  'a=>1, "b \"c\\"=>NULL, "k,=>"=>"v\"\\"', 'a "b",c', 1.5, '10.0.0.1/8', '[1,5)', '{a,NULL,"b\"c"}', '{{1,2},{3,NULL}}', '{1.10,-1}', '{1970-01-02,infinity}', '(1,"x y")', ARRAY['\x01'::bytea], '{2020-01-01 00:00Z}',
  '((0,0),(1,1))', 'a:1 b:2');
INSERT INTO dez_other (id, b1, b5, vb, h, ia, by, e) VALUES (2, B'0', B'00000', '', '', '{}', '', 'sad');
INSERT INTO dez_other (id, ia) VALUES (3, '[0:1]={7,8}');
SELECT * FROM dez_rows();
SELECT e -> 'by', e -> 'ba' FROM dez_rows('bytea', 'hex') e WHERE e ? 'by';
SELECT bool_and(jb = (j ->> 'jb')::jsonb), bool_and(js::text = j ->> 'js'), bool_and(h = (SELECT hstore(array_agg(key), array_agg(value)) FROM jsonb_each_text((j ->> 'h')::jsonb)))
FROM dez_rows() r(j) JOIN dez_other ON id = (j ->> 'id')::int WHERE id = 1;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- values that are not there: a placeholder of each kind
CREATE TABLE dez_toast (id int PRIMARY KEY, n int, t text, by bytea, js json, ta text[], ia int[], num numeric, num2 numeric(1000,2), h hstore, b bit(20000), fa float8[]) WITH (toast_tuple_target = 128);
DO $$ DECLARE c text; BEGIN FOREACH c IN ARRAY '{t,by,js,ta,ia,num,num2,h,b,fa}'::text[] LOOP EXECUTE format('ALTER TABLE dez_toast ALTER %I SET STORAGE EXTERNAL', c); END LOOP; END $$;
INSERT INTO dez_toast SELECT 1, 1, repeat('t', 3000), decode(repeat('00', 3000), 'hex'), to_json(repeat('j', 3000)), ARRAY[repeat('a', 3000)], array_agg(i), ('0.' || repeat('123456789', 800))::numeric,
  repeat('9', 998)::numeric, hstore('k', repeat('v', 3000)), repeat('1', 20000)::bit(20000), array_agg(i) FROM generate_series(1, 1000) i;
UPDATE dez_toast SET n = 2;
SELECT e FROM dez_rows() e WHERE e ->> 'n' = '2';
SELECT e -> 'num', e -> 'num2' FROM dez_rows('decimal', 'string') e WHERE e ->> 'n' = '2';
-- too large: the same, and a list
SELECT e -> 't', e -> 'by', e -> 'id', e #> '{oversize,t}', e #> '{oversize,by}' FROM dez_rows('max_value', '100', 'bytea', 'hex') e WHERE e ->> 'n' = '1';
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- the second of two events is too large: the first is not told twice
UPDATE dez_full SET id = 3, name = (SELECT string_agg(repeat(chr(1), 1000000), '') FROM generate_series(1, 90));
SELECT data::jsonb ->> 'op', data::jsonb -> 'before', data::jsonb -> 'after', data::jsonb #> '{oversize,name,length}'
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'format', 'debezium', 'max_value', '0');

-- schema: in each line, with the payload
INSERT INTO dez_other (id) VALUES (4);
SELECT 1 FROM pg_logical_emit_message(false, 'p', 'c');
UPDATE dez SET name = 'x' WHERE id = 5;
CREATE TABLE dez_one AS SELECT row_number() OVER () AS n, data::jsonb AS e FROM
  pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium', 'schema', 'inline', 'source', 'erp', 'include_key', 'on', 'include_transaction', 'on', 'tables', 'public.dez_other,public.dez');
SELECT jsonb_pretty(jsonb_agg(f ->> 'field' || ' ' || (f - 'field')::text)) FROM dez_one, jsonb_array_elements(e #> '{schema,fields,1,fields}') f WHERE n = 2;
SELECT e - 'payload' #- '{schema,fields,1}' #- '{schema,fields,0}' #- '{key,payload}' FROM dez_one WHERE n = 2;
SELECT e - 'payload' #- '{key,payload}' FROM dez_one WHERE n IN (1, 4) ORDER BY n;
SELECT regexp_replace(e #>> '{key,payload}', '\d+:\d+', 'X:L'), e #> '{payload,after}', e #> '{payload,status}', e #> '{payload,message}' FROM dez_one ORDER BY n;
-- every member of a payload is in its schema, and the other way round
SELECT n, e -> 'payload' ->> 'op', (SELECT array_agg(f ->> 'field' ORDER BY f ->> 'field') FROM jsonb_array_elements(e #> '{schema,fields}') f) = (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(e -> 'payload') k),
  (SELECT array_agg(g ->> 'field' ORDER BY g ->> 'field') FROM jsonb_array_elements(e #> '{schema,fields}') f, jsonb_array_elements(f -> 'fields') g WHERE f ->> 'field' = 'source') =
  (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(e #> '{payload,source}') k) FROM dez_one ORDER BY n;
-- a new word of an enum
ALTER TYPE dez_mood ADD VALUE 'glad';
INSERT INTO dez_other (id) VALUES (5);
ALTER TYPE dez_mood ADD VALUE 'mad' BEFORE 'ok';
INSERT INTO dez_other (id) VALUES (6);
SELECT DISTINCT f #>> '{parameters,allowed}' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium', 'schema', 'inline', 'tables', 'public.dez_other'),
  jsonb_array_elements(data::jsonb #> '{schema,fields,1,fields}') f WHERE f ->> 'field' = 'e' ORDER BY 1;
-- the other forms have other schemas
SELECT DISTINCT f -> 'field', f - 'field' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium', 'schema', 'inline', 'decimal', 'string', 'interval', 'string', 'bytea', 'hex', 'tables', 'public.dez_other'),
  jsonb_array_elements(data::jsonb #> '{schema,fields,1,fields}') f WHERE f ->> 'field' = ANY ('{by,pr,na,ba}') ORDER BY 1;

SELECT pg_drop_replication_slot('regress_decoder');
DROP VIEW dez_changes;
DROP FUNCTION dez_rows, dez_is;
DROP TABLE dez, dez_full, dez_nokey, dez_two, dez_num, dez_time, dez_other, dez_toast, dez_one;
DROP TYPE dez_mood, dez_price2, dez_price, dez_pair;
DROP EXTENSION hstore;
