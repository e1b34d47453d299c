-- concord_decoder: what is shown of a value of any type is read back as that value, whatever the session's settings
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS ltree;
CREATE EXTENSION IF NOT EXISTS cube;
CREATE EXTENSION IF NOT EXISTS seg;
CREATE EXTENSION IF NOT EXISTS isn;
RESET client_min_messages;
CREATE SCHEMA dec_exact;
SET search_path = dec_exact, public;
CREATE TYPE mood AS ENUM ('sad', 'so "la\la"', 'glad, {very}');
CREATE TYPE pair AS (a int, gone text, "b ""c""" timestamptz);
ALTER TYPE pair DROP ATTRIBUTE gone;
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE DOMAIN deeper AS positive;
CREATE DOMAIN pairs AS pair[];
CREATE DOMAIN raws AS bytea;
CREATE TYPE nested AS (p pair, q pairs, m mood, j jsonb, r int4range, d deeper, c money, x float4[]);
CREATE DOMAIN nest AS nested;
CREATE TYPE texts AS RANGE (subtype = text, collation = "C");
CREATE TYPE pairrange AS RANGE (subtype = pair);
CREATE TABLE target (id int);
CREATE FUNCTION target(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE item (type text, literal text);
INSERT INTO item SELECT type, literal FROM (VALUES
  ('bool', '{t,f}'::text[]),
  ('int2', '{-32768,32767}'), ('int4', '{-2147483648,2147483647}'), ('int8', '{-9223372036854775808,9223372036854775807}'),
  ('float4', '{NaN,Infinity,-Infinity,-0,1e-45,3.4028235e38,0.1,16777217,1e15,123456.7}'),
  ('float8', '{NaN,Infinity,-Infinity,-0,5e-324,1.7976931348623157e308,0.1,0.30000000000000004,1e22,1e-5}'),
  ('numeric', '{NaN,Infinity,-Infinity,0,0.000,-0.00010000,1e131071,1e-16383,10000,99999999.99990000,-12345678901234567890.0987654321}'),
  ('numeric(8,3)', '{1,-99999.999}'), ('money', '{0,-0.01,92233720368547758.07,-92233720368547758.08,1234.5}'),
  ('text', ARRAY['', 'NULL', E'a"b\\c\n\t\r\b\f\x01\x7f', 'äöü €😀', ' {a,b} ', '\N']), ('varchar(5)', '{abc}'), ('bpchar', '{"a  "}'), ('char(5)', '{ab}'),
  ('"char"', '{a,"",\\,"\""}'), ('name', '{a,"b \"c\""}'), ('citext', '{AbC,"ä \"x\""}'),
  ('bytea', '{"",\\x00,\\x00ff5c0a22}'), ('raws', '{"",\\x5c00ff}'), ('bit(3)', '{101}'), ('varbit', '{"",1,0101010101}'),
  ('date', '{infinity,-infinity,"4713-01-01 BC","0001-12-31 BC",0001-01-01,5874897-12-31,2000-02-29}'),
  ('time', '{00:00,24:00,23:59:59.999999,01:02:03.5}'), ('timetz', '{00:00+15:59,23:59:59.999999-15:59:59,24:00+00,12:00-02:30}'),
  ('timestamp', '{infinity,-infinity,"4713-01-01 00:00:00 BC","294276-12-31 23:59:59.999999","1999-12-31 23:59:59.1"}'),
  ('timestamptz', '{infinity,-infinity,"4713-01-02 00:00:00+00 BC","294276-12-31 23:59:59.999999+00","2026-03-29 02:30:00+01"}'),
  ('interval', '{0,"-1 year +2 mons -3 days +04:05:06.7","1 day -00:00:00.000001","178000000 years","-178000000 years","3 mons","-00:00:01","2562047788:00:54.775807"}'),
  ('uuid', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'), ('inet', '{192.168.1.5/24,::1,::ffff:1.2.3.4/96}'), ('cidr', '{10.0.0.0/8,2001:db8::/32}'),
  ('macaddr', '{08:00:2b:01:02:03}'), ('macaddr8', '{08:00:2b:01:02:03:04:05}'),
  ('json', ARRAY['{"a" :[1,' || E'\t' || '2.50], "a":null}', 'null', '"\ud83d\ude00"', ' [ ] ', '1e400']),
  ('jsonb', ARRAY['{"b": 1e3, "a": "x\"\\"}', 'null', '[null, {}, [], "", true]', '"s"', '-0.0']),
  ('xml', ARRAY['<a b="1">&lt;ä</a>', 'text <b/> more', '']),
  ('point', '{"(1e300,-0)","(NaN,Infinity)","(0.1,0.30000000000000004)"}'), ('line', '{"{1,-1,0.1}"}'), ('lseg', '{"[(0,0),(1,1.5)]"}'), ('box', '{"(1,1),(0,0)"}'),
  ('path', '{"[(0,0),(1,1)]","((0,0),(1,1))"}'), ('polygon', '{"((0,0),(1,1),(1,0))"}'), ('circle', '{"<(0,0.1),2>"}'),
  ('tsvector', ARRAY['''a b'':1A ''q''''q'':2,3B c', '']), ('tsquery', ARRAY['''a'' & !(''b'' <2> ''c'':*A)']),
  ('pg_lsn', '{0/0,FFFFFFFF/FFFFFFFF}'), ('txid_snapshot', '{"10:20:10,14,15"}'), ('pg_snapshot', '{"10:20:10,14,15"}'), ('tid', '{"(1,2)"}'), ('xid', '{4294967295}'), ('xid8', '{18446744073709551615}'), ('cid', '{7}'),
  ('oid', '{4294967295}'), ('int2vector', '{"1 -2 3",""}'), ('oidvector', '{"1 4294967295",""}'),
  ('jsonpath', ARRAY['$.a[*] ? (@.b > 1 && @."c d" like_regex "^x" flag "i")', 'strict $']), ('aclitem', ARRAY['=r/' || quote_ident(current_user)]),
  ('regclass', '{target,pg_class,-,4294967295}'), ('regtype', '{integer,mood,nested[],"timestamp with time zone",-}'), ('regproc', '{dec_exact.target,-,4294967295}'),
  ('regprocedure', ARRAY['target(int)', 'pg_catalog.lower(text)', '-']), ('regoper', '{pg_catalog.||/,0}'), ('regoperator', ARRAY['+(int4,int4)', '!~~(text,text)', '0']),
  ('regnamespace', '{dec_exact}'), ('regrole', ARRAY[quote_ident(current_user)]), ('regcollation', ARRAY['"C"']), ('regconfig', '{english}'), ('regdictionary', '{simple}'),
  ('mood', ARRAY['so "la\la"', 'glad, {very}']), ('deeper', '{1.50}'),
  ('int4range', '{empty,"[1,5)","(,)","[3,]"}'), ('numrange', '{"[1.50,NaN]","(-1e20,)"}'), ('tstzrange', '{"[2026-01-01 00:00+01,infinity)","[,2026-01-01 00:00+00]"}'),
  ('daterange', '{"[2026-01-01,2026-02-01)"}'), ('texts', ARRAY['["a ""b"", ","c]\\")', '["",z)', '[äh,]']), ('pairrange', ARRAY['["(1,)","(2,""2026-01-01 00:00:00+00"")")']),
  ('int4multirange', '{"{}","{[1,2),[5,9)}","{(,)}"}'), ('tstzmultirange', '{"{[2026-01-01 00:00+01,infinity)}"}'),
  ('pair', ARRAY['(1,"2026-01-01 00:00:00+01")', '(,)']), ('pairs', ARRAY['{"(1,)",NULL}', '{}']),
  ('nest', ARRAY['("(1,""2026-01-01 00:00:00+01"")","{""(2,)"",NULL}","so ""la\\la""","{""k"": [1, null]}","[1,5)",2.50,"$1,234.56","{1.5,NaN}")', '(,,,,,,,)', '("(,)",{},sad,null,empty,1,-1,)']),
  ('int4[]', ARRAY['{1,NULL,3}', '{}', '[0:1]={7,8}', '[-2:-1][5:6]={{1,2},{3,NULL}}', '{{{1,2}},{{3,4}}}']),
  ('text[]', ARRAY['{"a,b",NULL,"q\"uote","NULL","",null," ","{","\\",ä}', '{{a,b},{c,d}}']),
  ('box[]', ARRAY['{(1,1),(0,0);(3,3),(2,2)}']), ('money[]', ARRAY['{"$1,234.56",-1}']), ('bytea[]', ARRAY['{"\\x00ff",NULL}']),
  ('jsonb[]', ARRAY['{"{\"a\": 1}","\"x\"",NULL}', '{"[1, 2]","[3]"}', '{"null",NULL}', '{{1,2},{3,4}}', '{}']), ('json[]', ARRAY['{"{\"a\" : 1}"," null "}', '{"[1]"}']),
  ('mood[]', ARRAY['{sad,"so \"la\\la\""}']), ('pair[]', ARRAY['{"(1,\"2026-01-01 00:00:00+01\")",NULL,"(,)"}']), ('nested[]', ARRAY['{"(,,,null,,,,)",NULL}']),
  ('int4range[]', ARRAY['{"[1,5)",empty}']), ('timestamptz[]', ARRAY['{infinity,"2026-01-01 00:00:00+01"}']), ('interval[]', ARRAY['{"1 day",-00:00:01}']), ('regclass[]', ARRAY['{target,-}']), ('name[]', '{"{a,\"b c\"}"}'),
  ('hstore', ARRAY['"a b"=>"c\"d",e=>NULL', '']), ('hstore[]', ARRAY['{"a=>1",NULL}']), ('ltree', '{a.b.c}'), ('lquery', '{*.a@*%|b.!c}'), ('cube', '{"(0.1,0.30000000000000004),(1,2)"}'), ('seg', '{"1.50 .. ~3"}'), ('isbn', '{0-306-40615-2}')
  ) AS t (type, literals), unnest(literals) AS literal;
-- a table for each type, with a column of it
CREATE FUNCTION fill() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE i record; n int := 0; name text; l text;
BEGIN
  FOR i IN SELECT type, array_agg(literal) AS literals FROM item GROUP BY type ORDER BY type LOOP
    n := n + 1; name := 't' || n;
    EXECUTE format('CREATE TABLE %I (id serial PRIMARY KEY, v %s)', name, i.type);
    EXECUTE format('COMMENT ON TABLE %I IS %L', name, i.type);
    FOREACH l IN ARRAY i.literals LOOP
      EXECUTE format('INSERT INTO %I (v) VALUES (%L)', name, l);
    END LOOP;
  END LOOP;
  RETURN (SELECT count(*) FROM item);
END $$;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
SELECT fill();

-- read under settings that a session may have
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET timezone = 'America/St_Johns';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SET xmloption = 'document';
SET search_path = pg_temp;
CREATE TEMP TABLE got AS SELECT data::json ->> 'table' AS name, data::json -> 'new' AS row
  FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'tables', 'dec_exact.t*', 'bytea', 'hex');
CREATE TEMP TABLE bytes AS SELECT data FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'tables', 'dec_exact.t*', 'format', 'binary', 'batch', 'off');
RESET ALL;
SET search_path = dec_exact, public;
SET intervalstyle = 'sql_standard';
SELECT count(*) FROM got;

-- from JSON: white space and escapes of json are the reader's, who has read it
CREATE FUNCTION read_json() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE g record; same boolean;
BEGIN
  FOR g IN SELECT * FROM got LOOP
    BEGIN
      EXECUTE format('SELECT CASE WHEN %L THEN coalesce(r.v::text::jsonb, ''null'') = t.v::text::jsonb ELSE r.v::text = t.v::text END FROM json_populate_record(NULL::%I, $1) r JOIN %I t USING (id)',
        obj_description(g.name::regclass) IN ('json', 'jsonb'), g.name, g.name) INTO same USING g.row;
    EXCEPTION WHEN others THEN same := false; RAISE NOTICE '%', sqlerrm;
    END;
    IF same IS NOT true THEN
      RETURN NEXT obj_description(g.name::regclass) || ': ' || (g.row ->> 'v');
    END IF;
  END LOOP;
END $$;
SELECT * FROM read_json();
-- the members that JSON leaves out of the row
SELECT obj_description((data::json ->> 'table')::regclass), data::json #> '{new,v}', data::json -> 'json_null'
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'tables', 'dec_exact.t*') WHERE data::jsonb ? 'json_null' ORDER BY 1;

-- from the binary stream: 'I', length, relnum, flags, two columns, id, value
CREATE FUNCTION varint(b bytea, INOUT p int, OUT v bigint) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE shift int := 0; x int;
BEGIN
  v := 0;
  LOOP
    x := get_byte(b, p); p := p + 1; v := v | ((x & 127)::bigint << shift); shift := shift + 7;
    EXIT WHEN x < 128;
  END LOOP;
END $$;
CREATE FUNCTION read_binary() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE b bytea; p int; n bigint; names text[] := '{}'; name text; id int; shown text; same boolean; schema text;
BEGIN
  FOR b IN SELECT data FROM bytes LOOP
    CONTINUE WHEN get_byte(b, 0) NOT IN (ascii('R'), ascii('I'));
    SELECT v.p, v.v INTO p, n FROM varint(b, 1) v;
    SELECT v.p, v.v INTO p, n FROM varint(b, p) v;
    IF get_byte(b, 0) = ascii('R') THEN
      p := (varint(b, p)).p + 2;
      SELECT v.p, v.v INTO p, id FROM varint(b, p) v; schema := convert_from(substr(b, p + 1, id), 'UTF8'); p := p + id;
      SELECT v.p, v.v INTO p, id FROM varint(b, p) v; names[n] := convert_from(substr(b, p + 1, id), 'UTF8');
      CONTINUE;
    END IF;
    name := names[n];
    p := p + 2;
    SELECT v.p, v.v INTO p, n FROM varint(b, p) v; id := convert_from(substr(b, p + 1, (n - 6)::int), 'UTF8')::int; p := p + (n - 6)::int;
    SELECT v.p, v.v INTO p, n FROM varint(b, p) v;
    IF n = 5 THEN
      SELECT v.p, v.v INTO p, n FROM varint(b, p) v; shown := '\x' || encode(substr(b, p + 1, n::int), 'hex');
    ELSE
      n := n - 6; shown := convert_from(substr(b, p + 1, n::int), 'UTF8');
    END IF;
    BEGIN
      EXECUTE format('SELECT (%L::%s)::text = v::text AND length($1) = $2 + $3 FROM %I WHERE id = $4', shown, obj_description(name::regclass), name) INTO same USING b, p, n, id;
    EXCEPTION WHEN others THEN same := false; RAISE NOTICE '%', sqlerrm;
    END;
    IF same IS NOT true THEN
      RETURN NEXT obj_description(name::regclass) || ': ' || shown;
    END IF;
  END LOOP;
END $$;
SELECT * FROM read_binary();
SELECT count(*) FROM bytes WHERE get_byte(data, 0) = ascii('I');

-- a composite type that changes in mid-stream, in a column, in an array, in a domain
CREATE TABLE keeps (id int PRIMARY KEY, p pair, q pairs);
INSERT INTO keeps VALUES (1, '(1,)', '{"(2,)"}');
ALTER TYPE pair ADD ATTRIBUTE more text;
INSERT INTO keeps VALUES (2, '(1,,"new, more")', '{"(2,,x)"}');
UPDATE keeps SET id = 3 WHERE id = 1;
ALTER TYPE pair RENAME ATTRIBUTE more TO less;
INSERT INTO keeps VALUES (4, '(1,,y)', NULL);
BEGIN;
INSERT INTO keeps VALUES (5, '(1,,y)', NULL);
ALTER TYPE pair DROP ATTRIBUTE less;
INSERT INTO keeps VALUES (6, '(1,)', NULL);
ROLLBACK;
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
ALTER TYPE pair DROP ATTRIBUTE less;
UPDATE keeps SET id = 7 WHERE id = 2;
SELECT data::json -> 'new' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'tables', 'dec_exact.keeps');
SELECT data::json #> '{new,v}' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL) WHERE (data::json ->> 'table')::regclass = (SELECT objoid FROM pg_description WHERE description = 'mood[]' AND classoid = 'pg_class'::regclass);

SELECT pg_drop_replication_slot('regress_decoder');
SET client_min_messages = error;
DROP SCHEMA dec_exact CASCADE;
DROP EXTENSION hstore, citext, ltree, cube, seg, isn;
