-- concord_decoder: TOASTed values, and values that are too large
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'''
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_toast (id int PRIMARY KEY, n int, doc text, note text, raw bytea);
ALTER TABLE dec_toast ALTER doc SET STORAGE EXTERNAL, ALTER raw SET STORAGE EXTERNAL;
CREATE TABLE dec_toast_key (id text PRIMARY KEY, n int);
ALTER TABLE dec_toast_key ALTER id SET STORAGE EXTERNAL;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
-- an event with long members shown by their length
CREATE FUNCTION dec_short(event text) RETURNS text LANGUAGE sql AS $$
  SELECT regexp_replace(event, 'd{30,}|e{30,}|n{30,}|k{30,}|(72){30,}', '...', 'g') $$;

INSERT INTO dec_toast VALUES (1, 1, repeat('d', 5000), repeat('n', 5000), NULL);
UPDATE dec_toast SET n = 2;                      -- doc is left alone; note is compressed in the row
UPDATE dec_toast SET doc = repeat('e', 3000);
UPDATE dec_toast SET id = 2;
DELETE FROM dec_toast;
SELECT dec_short(data) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
SELECT length(data::jsonb #>> '{new,doc}'), length(data::jsonb #>> '{new,note}')
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- under FULL the old row has it
ALTER TABLE dec_toast REPLICA IDENTITY FULL;
INSERT INTO dec_toast VALUES (1, 1, repeat('d', 5000), 'note', repeat('r', 3000)::bytea);
UPDATE dec_toast SET n = 2;
UPDATE dec_toast SET doc = NULL;
DELETE FROM dec_toast;
SELECT dec_short(data) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'bytea', 'hex');
SELECT length(data::jsonb #>> '{new,doc}'), length(data::jsonb #>> '{old,doc}'), length(data::jsonb #>> '{old,raw}')
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'bytea', 'hex');

-- a TOASTed key is in the old image
INSERT INTO dec_toast_key VALUES (repeat('k', 2500), 1);
UPDATE dec_toast_key SET n = 2;
DELETE FROM dec_toast_key;
SELECT dec_short(data), length(data::jsonb #>> '{key,id}')
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- values that were toasted before the table was rewritten
INSERT INTO dec_toast VALUES (5, 1, repeat('d', 5000), NULL, NULL);
VACUUM FULL dec_toast;
ALTER TABLE dec_toast ALTER n TYPE bigint;
UPDATE dec_toast SET n = 2;
SELECT dec_short(data) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- values that are too large: their length and digest instead
ALTER TABLE dec_toast REPLICA IDENTITY DEFAULT;
INSERT INTO dec_toast VALUES (6, 1, repeat('d', 5000), repeat('n', 5000), repeat('r', 100)::bytea);
UPDATE dec_toast SET n = 2 WHERE id = 6;
ALTER TABLE dec_toast REPLICA IDENTITY FULL;
UPDATE dec_toast SET note = 'short', doc = NULL WHERE id = 6;
SELECT dec_short(data) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'max_value', '4kB');
SELECT bool_and(data::jsonb #>> '{oversize,doc,sha256}' = encode(sha256(convert_to(repeat('d', 5000), 'UTF8')), 'hex'))
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'max_value', '4999') WHERE data::jsonb -> 'oversize' ? 'doc';
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'max_value', '5000') WHERE data::jsonb -> 'oversize' IS NOT NULL;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'max_value', '0') WHERE data::jsonb -> 'oversize' IS NOT NULL;

-- the digest is of what the value is, however it is stored
CREATE TABLE dec_packed (id int PRIMARY KEY, plain text, pglz text COMPRESSION pglz, raw bytea);
ALTER TABLE dec_packed ALTER plain SET STORAGE EXTERNAL;
INSERT INTO dec_packed SELECT i, v, v, v::bytea FROM (VALUES (1, repeat('x', 300000)), (2, repeat('abcdefg', 100000)),
  (3, (SELECT string_agg(md5((i / 3)::text) || repeat('z', i % 50), '') FROM generate_series(1, 6000) i)),
  (4, (SELECT repeat(string_agg(md5(i::text), ''), 3) FROM generate_series(1, 1900) i))) AS t (i, v);
SELECT id, o.key, o.value ->> 'length', (o.value ->> 'length')::int = octet_length(plain) AS length,
  o.value ->> 'sha256' = encode(sha256(convert_to(plain, 'UTF8')), 'hex') AS sha256
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'max_value', '1kB') d, jsonb_each(data::jsonb -> 'oversize') o
JOIN dec_packed ON true WHERE id = (data::jsonb #>> '{new,id}')::int ORDER BY id, o.key;

-- a row that is larger than a write, between rows that share one
INSERT INTO dec_toast SELECT i, i, CASE WHEN i = 50 THEN repeat('w', 200000) END, repeat('n', 1000), NULL FROM generate_series(10, 200) i;
SELECT n, length(data) BETWEEN 60000 AND 65536 AS filled, length(data) > 200000 AS huge
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'batch', 'on') WITH ORDINALITY d(lsn, xid, data, n);
SELECT count(*), count(line::jsonb), min((line::jsonb ->> 'ordinal')::int), max((line::jsonb ->> 'ordinal')::int)
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'batch', 'on'), regexp_split_to_table(data, E'\n') line;

SELECT pg_drop_replication_slot('regress_decoder');
DROP FUNCTION dec_short;
DROP TABLE dec_toast, dec_toast_key, dec_packed;
