-- concord_decoder: TOASTed values of every storage and compression, and under every identity
\pset format unaligned
\pset tuples_only on
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_time'', ''0'', ''include_id'', ''0'''
CREATE DOMAIN dec_doc AS text;
CREATE TYPE dec_note AS (n int, body text);
CREATE TABLE dec_stored (id int PRIMARY KEY, n int, ext text, main text, packed text, fast text, doc dec_doc, list text[], note dec_note, j jsonb, raw bytea);
ALTER TABLE dec_stored ALTER ext SET STORAGE EXTERNAL, ALTER main SET STORAGE MAIN, ALTER doc SET STORAGE EXTERNAL, ALTER list SET STORAGE EXTERNAL,
  ALTER note SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER raw SET STORAGE EXTERNAL;
DO $$ BEGIN ALTER TABLE dec_stored ALTER fast SET COMPRESSION lz4; EXCEPTION WHEN feature_not_supported THEN NULL; END $$;
CREATE FUNCTION dec_random(n int, seed int) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(md5(seed + i || ''), '') FROM generate_series(1, n / 32) i $$;
CREATE TABLE dec_by_index (id text NOT NULL, other text, n int);
ALTER TABLE dec_by_index ALTER id SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX dec_by_index_id ON dec_by_index (id);
ALTER TABLE dec_by_index REPLICA IDENTITY USING INDEX dec_by_index_id;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

-- in line and out of line, compressed or not: what is shown is what is stored
INSERT INTO dec_stored SELECT i, i, t, t, t, t, t, ARRAY[t, NULL, t], ROW(i, t)::dec_note, jsonb_build_object('k', t, 'l', jsonb_build_array(t)), t::bytea
FROM (VALUES (1, repeat('a', 3000)), (2, repeat('abcdefgh', 40000)), (3, dec_random(9000, 1)), (4, dec_random(200000, 7)), (5, 'short')) AS v (i, t);
-- (read first, joined then: decoding must not meet a table that the same query has open)
CREATE TEMP TABLE dec_seen AS SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'bytea', 'hex');
SELECT s.id, to_jsonb(s) = to_jsonb(r)
FROM dec_seen d, json_populate_record(NULL::dec_stored, data::json -> 'new') r JOIN dec_stored s USING (id) ORDER BY s.id;
DROP TABLE dec_seen;

-- left alone: listed by default, taken from the old row under FULL
UPDATE dec_stored SET n = -n;
SELECT data::jsonb #> '{new,id}', data::jsonb -> 'unchanged', (SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_object_keys(data::jsonb -> 'new') key)
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
ALTER TABLE dec_stored REPLICA IDENTITY FULL;
UPDATE dec_stored SET n = -n;
CREATE TEMP TABLE dec_seen AS SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'bytea', 'hex');
SELECT s.id, data::jsonb -> 'unchanged', to_jsonb(s) = to_jsonb(r), to_jsonb(o) = to_jsonb(s) || jsonb_build_object('n', -s.n)
FROM dec_seen d, json_populate_record(NULL::dec_stored, data::json -> 'old') o,
  json_populate_record(NULL::dec_stored, data::json -> 'new') r JOIN dec_stored s USING (id) ORDER BY s.id;
DROP TABLE dec_seen;
ALTER TABLE dec_stored REPLICA IDENTITY DEFAULT;

-- a value that is written again as it was is no longer left alone
UPDATE dec_stored SET ext = ext || '' WHERE id = 4;
SELECT length(data::jsonb #>> '{new,ext}'), data::jsonb -> 'unchanged' FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- under an index: its column is in the old image, the other one is nowhere
INSERT INTO dec_by_index VALUES (dec_random(2500, 3), dec_random(5000, 4), 1);
UPDATE dec_by_index SET n = 2;
UPDATE dec_by_index SET id = id || 'x';
UPDATE dec_by_index SET other = NULL;
DELETE FROM dec_by_index;
SELECT data::jsonb ->> 'op', length(data::jsonb #>> '{key,id}'), length(data::jsonb #>> '{new,id}'), length(data::jsonb #>> '{new,other}'), data::jsonb -> 'unchanged'
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- in one transaction: savepoints, values of rows that meet a conflict, a rewritten table, TRUNCATE
BEGIN;
INSERT INTO dec_stored (id, ext) VALUES (10, dec_random(5000, 10));
SAVEPOINT a;
INSERT INTO dec_stored (id, ext) VALUES (11, dec_random(5000, 11));
ROLLBACK TO a;
INSERT INTO dec_stored (id, ext) VALUES (10, dec_random(6000, 12)) ON CONFLICT DO NOTHING;
INSERT INTO dec_stored (id, ext) VALUES (10, dec_random(7000, 13)) ON CONFLICT (id) DO UPDATE SET ext = excluded.ext, doc = excluded.ext;
ALTER TABLE dec_stored ALTER n TYPE bigint;
UPDATE dec_stored SET n = 100 WHERE id = 10;
INSERT INTO dec_stored (id, ext) SELECT i, dec_random(3200, i) FROM generate_series(12, 14) i;
COMMIT;
VACUUM FULL dec_stored;
UPDATE dec_stored SET n = 101 WHERE id = 10;
CREATE TEMP TABLE dec_seen AS SELECT row_number() OVER () AS n, data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
SELECT data::jsonb ->> 'op', data::jsonb #> '{new,id}', length(data::jsonb #>> '{new,ext}'), length(data::jsonb #>> '{new,doc}'), data::jsonb -> 'unchanged',
  data::jsonb #>> '{new,ext}' = ext AS same
FROM dec_seen s JOIN dec_stored ON id = (data::jsonb #>> '{new,id}')::int ORDER BY s.n;
DROP TABLE dec_seen;

-- max_value counts bytes as they are, not as they are stored
INSERT INTO dec_stored (id, packed, list, j) VALUES (20, repeat('p', 10001), ARRAY[repeat('l', 9000)], to_jsonb(repeat('j', 9000)));
SELECT data::jsonb -> 'oversize' -> 'packed' -> 'length', data::jsonb -> 'oversize' ? 'list', data::jsonb -> 'oversize' ? 'j' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'max_value', '10000');
SELECT data::jsonb -> 'oversize' FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'max_value', '10001');

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_stored, dec_by_index;
DROP FUNCTION dec_random;
DROP TYPE dec_note;
DROP DOMAIN dec_doc;
