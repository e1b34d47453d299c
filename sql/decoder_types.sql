-- concord_decoder: values by type, exact and without session settings
\pset format unaligned
\pset tuples_only on
CREATE TYPE dec_mood AS ENUM ('sad', 'glad');
CREATE TYPE dec_pair AS (a int, b timestamptz);
CREATE DOMAIN dec_positive AS int CHECK (VALUE > 0);
CREATE DOMAIN dec_deeper AS dec_positive;
CREATE DOMAIN dec_list AS int[];
CREATE TABLE dec_types (
  id int PRIMARY KEY,
  c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8, c_oid oid, c_float4 float4, c_float8 float8,
  c_numeric numeric, c_numeric_scale numeric(20,5), c_money money,
  c_text text, c_varchar varchar(20), c_char char(5), c_onechar "char", c_name name,
  c_bytea bytea, c_bit bit(3), c_varbit varbit,
  c_date date, c_time time, c_timetz timetz, c_timestamp timestamp, c_timestamptz timestamptz, c_interval interval,
  c_uuid uuid, c_inet inet, c_cidr cidr, c_macaddr macaddr,
  c_json json, c_jsonb jsonb, c_xml xml, c_point point, c_tsvector tsvector,
  c_int4range int4range, c_tstzrange tstzrange, c_multirange int4multirange,
  c_enum dec_mood, c_pair dec_pair, c_domain dec_deeper, c_list dec_list,
  c_ints int[], c_texts text[], c_dates date[], c_numerics numeric[], c_bools bool[], c_pairs dec_pair[], c_vector int2vector);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
INSERT INTO dec_types VALUES (1,
  true, -32768, -2147483648, -9223372036854775808, 4294967295, 1.1, 0.1,
  12345678901234567890.123456789, 0.00001, 12.34,
  E'a "b" \\ \n', 'väl', 'ab', 'x', 'a_name',
  '\x00ff5c', '101', '1',
  '2026-02-28', '23:59:59.000001', '12:00+02', '2026-02-28 01:02:03.456', '2026-02-28 01:02:03+02', '1 year -2 mons 3 days 04:05:06.7',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '192.168.1.5/24', '10.0.0.0/8', '08:00:2b:01:02:03',
  E'{"a" :[1,\t2.50]}', '{"b": 1e3, "a": "x"}', '<a>1</a>', '(1,2.5)', '''a'':1 ''b''',
  '[1,5)', '["2026-01-01 00:00+01","2026-01-02 00:00+01")', '{[1,2),[5,9)}',
  'glad', '(1,"2026-01-01 00:00:00+01")', 7, '{1,2}',
  '{1,NULL,3}', '{"a,b",NULL,"q\"uote","NULL",""}', '{2026-01-01,infinity}', '{1.50,NaN}', '{t,f}', '{"(1,)"}', '1 2 3');
INSERT INTO dec_types (id, c_bool, c_float4, c_float8, c_numeric, c_money, c_text, c_bytea, c_date, c_time, c_timestamp, c_timestamptz, c_interval,
    c_json, c_jsonb, c_ints, c_texts) VALUES
  (2, false, 'NaN', 'Infinity', 'NaN', -0.05, '', '', 'infinity', '24:00', 'infinity', '-infinity', '-00:00:01',
    '"x"', '[null]', '{}', '{{a,b},{c,d}}'),
  (3, NULL, '-Infinity', '-0', '-Infinity', -92233720368547758.08, repeat('x', 200), '\x01', '-infinity', '00:00', '-infinity', 'infinity', '0',
    '1', '"y"', '[0:1]={7,8}', '{{{1,2}},{{3,NULL}}}'),
  (4, NULL, 1e-45, 5e-324, 1e-30, 92233720368547758.07, NULL, NULL, '0044-03-15 BC', '01:02:03.5', '0001-01-01 00:00:00 BC', '4713-01-01 00:00:00+00 BC', NULL,
    NULL, NULL, NULL, NULL),
  (5, NULL, 3.4028235e38, 1.7976931348623157e308, 1e1000, NULL, NULL, NULL, '5874897-12-31', NULL, '294276-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00', NULL,
    NULL, NULL, NULL, NULL),
  (6, NULL, 16777216, 1e15, -10000, NULL, NULL, NULL, '2000-01-01', NULL, '1999-12-31 23:59:59.1', '2000-01-01 00:00:00+00', NULL, NULL, NULL, NULL, NULL),
  (7, NULL, 0.3, 1e22, 0.00012300, NULL, NULL, NULL, '10000-01-01', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (8, NULL, NULL, 123456789.123456789, 100020003000.04, NULL, NULL, NULL, '0001-12-31', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (9, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (10, NULL, NULL, NULL, 0.000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (11, NULL, NULL, NULL, 1.5e-500, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO dec_types (id, c_json) VALUES (12, E'{"line 1": 1,\n"line 2":\r\n "a\\nb"}');

INSERT INTO dec_types (id, c_jsonb)
  SELECT 13, jsonb_object_agg('key "' || i || E'"\n', jsonb_build_array(i, i / 7.0, repeat(E'\\ü', i), i % 2 = 0, NULL, '{}'::jsonb, '[]'::jsonb,
    jsonb_build_object('deep', jsonb_build_array(jsonb_build_object('er', -i * 1e20)))))
  FROM generate_series(1, 100) i;

-- as JSON, member by member
SELECT key || ' ' || left(value::text, 80) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL) WITH ORDINALITY d(lsn, xid, data, n),
  json_each(data::json -> 'new') WITH ORDINALITY e(key, value, m) WHERE value::text <> 'null' AND n < 13 ORDER BY n, m;

-- exact: what was sent, read back, is the row (but for line ends inside json)
CREATE TEMP TABLE dec_back AS
  SELECT r.* FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'bytea', 'hex') d,
    json_populate_record(NULL::dec_types, data::json -> 'new') r;
SELECT count(*) FROM dec_back;
SELECT t.id FROM dec_types t JOIN dec_back b USING (id) WHERE t::text <> b::text;
SELECT count(*), count(data::jsonb) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL);

-- not a byte depends on the session
CREATE TEMP TABLE dec_before AS
  SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL);
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Kolkata';
SET intervalstyle = 'iso_8601';
SET extra_float_digits = -5;
SET bytea_output = 'escape';
CREATE TEMP TABLE dec_after AS
  SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL);
SELECT count(*) FROM dec_before JOIN dec_after USING (data);
SHOW datestyle;
SHOW timezone;
SHOW intervalstyle;
SHOW extra_float_digits;
SHOW bytea_output;
SELECT now()::text ~ '^\d\d/\d\d/\d{4}', c_interval FROM dec_types WHERE id = 1;
RESET ALL;

-- options: numbers as strings, bytea in hexadecimal, types inline
SELECT data::json #>> '{new,c_bytea}', data::json #> '{new,c_int8}', data::json #> '{new,c_int4}', data::json #> '{new,c_numeric}', data::json #> '{new,c_numerics}'
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'numbers', 'string', 'bytea', 'hex') WITH ORDINALITY d(lsn, xid, data, n) WHERE n = 1;
SELECT key, value FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'include_types', 'on') WITH ORDINALITY d(lsn, xid, data, n),
  json_each_text(data::json -> 'types') WHERE n = 1 AND key IN ('c_numeric_scale', 'c_varchar', 'c_char', 'c_enum', 'c_domain', 'c_timestamptz', 'c_pairs');

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_types, dec_back;
DROP DOMAIN dec_list, dec_deeper, dec_positive;
DROP TYPE dec_pair, dec_mood;
