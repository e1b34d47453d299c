-- concord_decoder: transactions in progress, sent in blocks; what is left of
-- them once aborts are honoured is what is sent of committed ones.  How much of
-- an abort is seen depends on when a catalog is read; 035_decoder_live has it live.
\pset format unaligned
\pset tuples_only on
SET logical_decoding_work_mem = '64kB';
CREATE TABLE dec_a (id int PRIMARY KEY, v text);
CREATE TABLE dec_b (id int PRIMARY KEY, v text);
ALTER TABLE dec_b ALTER v SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
CREATE TABLE dec_none (id int);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

CREATE FUNCTION events(VARIADIC options text[]) RETURNS TABLE (n bigint, e jsonb) LANGUAGE sql AS $$
  SELECT row_number() OVER (), line::jsonb
  FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, VARIADIC options), regexp_split_to_table(data, E'\n') line $$;
-- what a consumer has in the end: events of streamed transactions that have
-- committed, without what was aborted; each transaction's come at its commit
CREATE TEMP TABLE got (n bigint, e jsonb);
-- 19 says more about what becomes temporary with it
SET client_min_messages = warning;
CREATE VIEW kept AS
  SELECT coalesce(c.n, g.n) AS at, (g.e ->> 'ordinal')::int AS ordinal,
    g.e - 'streamed' - 'subxid' - 'ordinal' - 'lsn' - 'time' ||
    jsonb_build_object('lsn', coalesce(c.e, g.e) ->> 'lsn', 'time', coalesce(c.e, g.e) ->> 'time') AS e
  FROM got g LEFT JOIN got c ON c.e ->> 'op' = 'stream_commit' AND c.e ->> 'xid' = g.e ->> 'xid'
  WHERE g.e ? 'ordinal' AND (c.n > g.n OR NOT g.e ? 'streamed')
    AND NOT EXISTS (SELECT FROM got a WHERE a.e ->> 'op' = 'stream_abort' AND a.e ->> 'xid' = g.e ->> 'xid'
      AND a.n > g.n AND (a.e ->> 'subxid' = g.e ->> 'subxid' OR NOT a.e ? 'subxid'));
-- the same as without streaming: events, their ids, their order
CREATE FUNCTION same() RETURNS text LANGUAGE sql AS $$
  SELECT format('%s events, same %s, blocks %s, commits %s', count(w.e), bool_and(w.e IS NOT DISTINCT FROM k.e),
    (SELECT count(*) FROM got WHERE e ->> 'op' = 'stream_start') > 1,
    (SELECT count(*) FROM got WHERE e ->> 'op' = 'stream_commit'))
  FROM (SELECT row_number() OVER (ORDER BY n) AS i, e - 'ordinal' AS e FROM events('include_transaction', 'on') WHERE e ? 'ordinal') w
    FULL JOIN (SELECT row_number() OVER (ORDER BY at, ordinal) AS i, e FROM kept) k USING (i) $$;
-- blocks are well-formed: of one transaction, not nested, numbered without gaps
CREATE VIEW blocks AS
  SELECT n, e ->> 'op' AS op, e ->> 'xid' AS xid, (e ->> 'ordinal')::int AS ordinal, e ? 'first' AS first,
    count(*) FILTER (WHERE e ->> 'op' = 'stream_start') OVER o - count(*) FILTER (WHERE e ->> 'op' = 'stream_stop') OVER o AS depth,
    lag(e ->> 'xid') OVER o AS before, lag(e ->> 'op') OVER o AS op_before,
    max((e ->> 'ordinal')::int) OVER (PARTITION BY e ->> 'xid' ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS ordinal_before,
    row_number() OVER (PARTITION BY e ->> 'xid' ORDER BY n) AS i
  FROM got WHERE e ? 'streamed' WINDOW o AS (ORDER BY n);
CREATE FUNCTION broken() RETURNS SETOF blocks LANGUAGE sql AS $$
  SELECT * FROM blocks WHERE NOT (CASE op WHEN 'stream_start' THEN depth = 1 AND (op_before = 'stream_stop' OR op_before IS NULL) AND first = (i = 1)
    WHEN 'stream_stop' THEN depth = 0 AND before = xid AND op_before <> 'stream_start'
    ELSE depth = 1 AND before = xid AND ordinal = coalesce(ordinal_before, 0) + 1 END) $$;
RESET client_min_messages;
CREATE FUNCTION look() RETURNS text LANGUAGE sql AS $$
  DELETE FROM got;
  INSERT INTO got SELECT * FROM events('streaming', 'on', 'include_transaction', 'on');
  SELECT same() $$;
CREATE FUNCTION forget() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) * 0 FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') $$;

-- rows of all kinds, with savepoints that stay and that do not
BEGIN;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i;
SAVEPOINT one;
UPDATE dec_a SET v = 'one' WHERE id <= 400;
SAVEPOINT two;
DELETE FROM dec_a WHERE id > 300;
ROLLBACK TO two;
INSERT INTO dec_b SELECT i, repeat('b', 3000) FROM generate_series(1, 20) i;
RELEASE one;
SAVEPOINT three;
INSERT INTO dec_a SELECT i, repeat('y', 100) FROM generate_series(2001, 3000) i;
SAVEPOINT four;
INSERT INTO dec_a SELECT i, repeat('z', 100) FROM generate_series(3001, 4000) i;
RELEASE four;
ROLLBACK TO three;
UPDATE dec_b SET id = id + 100;
UPDATE dec_a SET id = -id WHERE id > 500;
DELETE FROM dec_b WHERE id > 110;
COMMIT;
SELECT look();
SELECT * FROM broken();
-- the members
SELECT DISTINCT string_agg(k, ',' ORDER BY k), e ? 'subxid', (e ->> 'subxid')::int > (e ->> 'xid')::int
FROM got, jsonb_object_keys(e) k WHERE e ->> 'op' IN ('insert', 'stream_start', 'stream_stop', 'stream_commit') GROUP BY n, e ORDER BY 1;
SELECT (e ->> 'events')::int = max((SELECT max((e ->> 'ordinal')::int) FROM got)) FROM got WHERE e ->> 'op' = 'stream_commit' GROUP BY e;
SELECT forget();

-- all of it is rolled back, before it is looked at
BEGIN;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(10001, 11000) i;
SAVEPOINT one;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(11001, 12000) i;
ROLLBACK;
INSERT INTO dec_a VALUES (20000, 'after it');
SELECT look();
SELECT forget();

-- large values, and multi-inserts of which a block has a part
BEGIN;
INSERT INTO dec_b SELECT 1000 + i, repeat(md5(i::text), 3000) FROM generate_series(1, 5) i;
SAVEPOINT one;
INSERT INTO dec_b SELECT 2000 + i, repeat(md5(i::text), 3000) FROM generate_series(1, 5) i;
ROLLBACK TO one;
COPY dec_a FROM PROGRAM E'seq -f "%.0f\tcopied" 30001 32000';
UPDATE dec_b SET id = id + 5000 WHERE id > 1000;
COMMIT;
SELECT look();
SELECT * FROM broken();
SELECT count(*) > 10, count(*) = count(DISTINCT e ->> 'id') FROM got WHERE e ->> 'id' ~ '-[1-9]\d+$';
SELECT forget();

-- changes of a savepoint that came from disk: its rollback is told too
BEGIN;
INSERT INTO dec_b VALUES (7001, repeat('w', 100000));
INSERT INTO dec_a SELECT i, repeat('w', 100) FROM generate_series(40001, 40300) i;
SAVEPOINT one;
INSERT INTO dec_b VALUES (7002, repeat('w', 20000000));
ROLLBACK TO one;
INSERT INTO dec_a SELECT i, repeat('w', 100) FROM generate_series(41001, 41300) i;
COMMIT;
DELETE FROM got;
INSERT INTO got SELECT * FROM events('streaming', 'on', 'include_transaction', 'on', 'max_value', '1MB');
SELECT e FROM kept WHERE e #>> '{key,id}' = '7002';
SELECT forget();

-- what is not selected is not there: no block, no commit, no abort
BEGIN;
INSERT INTO dec_none SELECT 1 FROM generate_series(1, 3000);
SAVEPOINT one;
INSERT INTO dec_none SELECT 1 FROM generate_series(1, 3000);
ROLLBACK TO one;
COMMIT;
BEGIN;
INSERT INTO dec_none SELECT 1 FROM generate_series(1, 3000);
ROLLBACK;
BEGIN;
INSERT INTO dec_none SELECT 1 FROM generate_series(1, 3000);
SAVEPOINT one;
INSERT INTO dec_none SELECT 1 FROM generate_series(1, 3000);
ROLLBACK TO one;
INSERT INTO dec_a VALUES (50000, 'one');
INSERT INTO dec_none SELECT 1 FROM generate_series(1, 3000);
COMMIT;
SELECT e ->> 'op', e ->> 'ordinal', e ? 'first', e ->> 'events' FROM events('streaming', 'on', 'tables', 'public.dec_a', 'include_transaction', 'on') ORDER BY n;
SELECT forget();

-- messages: in a block, in a savepoint that is rolled back, and outside, which wait for nothing
BEGIN;
SELECT 1 FROM pg_logical_emit_message(true, 'app', 'first');
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(60001, 61000) i;
SELECT 1 FROM pg_logical_emit_message(false, 'app', 'outside');
SAVEPOINT one;
SELECT count(pg_logical_emit_message(true, 'app', 'lost ' || i)) FROM generate_series(1, 3) i;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(61001, 62000) i;
SELECT count(pg_logical_emit_message(true, 'app', repeat('lost', 100))) FROM generate_series(1, 500);
ROLLBACK TO one;
SAVEPOINT two;
SELECT count(pg_logical_emit_message(true, 'app', repeat('kept', 100))) FROM generate_series(1, 500);
RELEASE two;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(62001, 63000) i;
SELECT 1 FROM pg_logical_emit_message(true, 'app', 'last');
COMMIT;
DELETE FROM got;
INSERT INTO got SELECT * FROM events('streaming', 'on', 'include_transaction', 'on');
SELECT count(*), count(DISTINCT e ->> 'id') = count(*) FROM kept;
SELECT left(e ->> 'content', 8), count(*) FROM kept WHERE e ->> 'op' = 'message' GROUP BY 1 ORDER BY min(at), min(ordinal);
SELECT count(*) FROM got WHERE e ->> 'content' LIKE 'lost%' AND NOT e ? 'subxid';
SELECT e ->> 'content', e ->> 'transactional', e ? 'xid', e ? 'streamed',
  n < (SELECT max(n) FROM got WHERE e ? 'streamed') AND n > (SELECT min(n) FROM got WHERE e ? 'streamed') AS between
FROM got WHERE e ->> 'content' = 'outside';
SELECT forget();

-- TRUNCATE in blocks, and in a savepoint that is rolled back
BEGIN;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(70001, 71000) i;
SAVEPOINT one;
TRUNCATE dec_a, dec_b;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(71001, 72000) i;
ROLLBACK TO one;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(71001, 72000) i;
TRUNCATE dec_b RESTART IDENTITY;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(72001, 73000) i;
COMMIT;
SELECT look();
SELECT * FROM broken();
SELECT e ->> 'table', e ->> 'restart_identity', e ->> 'id' LIKE '%-1' FROM kept WHERE e ->> 'op' = 'truncate';
SELECT forget();

-- DDL: columns come and go, and what a savepoint had made is not there after it
BEGIN;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(80001, 81000) i;
ALTER TABLE dec_a ADD more int DEFAULT 7;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(81001, 82000) i;
SAVEPOINT one;
ALTER TABLE dec_a RENAME v TO lost;
CREATE TABLE dec_lost (id int PRIMARY KEY);
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(82001, 83000) i;
INSERT INTO dec_lost SELECT generate_series(1, 1000);
ROLLBACK TO one;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(82001, 83000) i;
SAVEPOINT two;
CREATE SCHEMA dec_schema;
INSERT INTO dec_a SELECT i, repeat('x', 100) FROM generate_series(83001, 84000) i;
ROLLBACK TO two;
ALTER TABLE dec_a DROP COLUMN v;
CREATE TABLE dec_new (id int PRIMARY KEY, v text);
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i;
ALTER TABLE dec_new ALTER id TYPE bigint;
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(1001, 2000) i;
INSERT INTO dec_a SELECT i FROM generate_series(84001, 86000) i;
COMMIT;
SELECT look();
SELECT * FROM broken();
SELECT e ->> 'table', e #>> '{new}' ~ '"v"', e #>> '{new}' ~ '"more"', e #>> '{new}' ~ '"lost"', count(*) FROM kept GROUP BY 1, 2, 3, 4 ORDER BY min(ordinal);
SELECT forget();

-- a savepoint is found to be rolled back in the middle of an event: it is not half there
CREATE TYPE dec_mood AS ENUM ('a', 'b', 'c');
CREATE TABLE dec_moods (id int PRIMARY KEY, v text, mood dec_mood);
SELECT forget();
BEGIN;
INSERT INTO dec_moods SELECT i, repeat('x', 100), 'a' FROM generate_series(1, 500) i;
SAVEPOINT one;
INSERT INTO dec_moods SELECT i, repeat('x', 100), 'b' FROM generate_series(501, 1000) i;
ROLLBACK TO one;
SAVEPOINT two;
INSERT INTO dec_moods SELECT i, repeat('x', 100), 'c' FROM generate_series(1001, 1500) i;
RELEASE two;
INSERT INTO dec_moods SELECT i, repeat('x', 100), 'b' FROM generate_series(1501, 2000) i;
COMMIT;
SELECT look();
SELECT * FROM broken();
SELECT count(*) FROM events('streaming', 'on', 'batch', 'on') WHERE e ? 'ordinal';
SELECT forget();

-- a single event a write, and shared writes; lines stay whole
BEGIN;
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(3001, 4000) i;
SAVEPOINT one;
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(4001, 5000) i;
ROLLBACK TO one;
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(5001, 6000) i;
COMMIT;
CREATE TEMP TABLE single AS SELECT n, e FROM events('streaming', 'on', 'batch', 'off');
CREATE TEMP TABLE shared AS SELECT n, e FROM events('streaming', 'on', 'batch', 'on');
SELECT count(*) > 1000, bool_and(a.e = b.e) FROM single a FULL JOIN shared b USING (n);
-- what a block has to say leaves with it, under the LSN of its end
SELECT count(*) FILTER (WHERE data ~ '\n.*\{"op":"stream_start"' OR data ~ '"stream_stop".*\}\n') AS straddling, count(*) > 3 AS several
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'streaming', 'on', 'batch', 'on', 'include_transaction', 'on');

-- the binary stream
SELECT forget();
INSERT INTO dec_b VALUES (9000, 'before');
BEGIN;
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(6001, 7000) i;
SAVEPOINT one;
ALTER TABLE dec_new ADD w int;
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(7001, 8000) i;
RELEASE one;
INSERT INTO dec_new SELECT i, repeat('x', 100) FROM generate_series(8001, 9000) i;
COMMIT;
INSERT INTO dec_b VALUES (9001, 'after');
CREATE FUNCTION varint(b bytea, INOUT p int, OUT v bigint) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE x int; shift int := 0;
BEGIN
  v := 0;
  LOOP
    x := get_byte(b, p); p := p + 1;
    v := v + ((x & 127)::bigint << shift); shift := shift + 7;
    EXIT WHEN x < 128;
  END LOOP;
END $$;
CREATE FUNCTION messages(b bytea) RETURNS TABLE (kind text, body bytea) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE p int := 0; l record;
BEGIN
  WHILE p < length(b) LOOP
    l := varint(b, p + 1); kind := chr(get_byte(b, p)); body := substr(b, l.p + 1, l.v::int); p := l.p + l.v::int;
    RETURN NEXT;
  END LOOP;
  IF p <> length(b) THEN RAISE 'a message straddles writes'; END IF;
END $$;
CREATE TEMP TABLE binary_messages AS
  SELECT row_number() OVER () AS n, m.kind, m.body, CASE WHEN m.kind <> 'E' AND m.kind <> 'H' THEN (varint(m.body, 0)).v END AS number
  FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'streaming', 'on'), messages(data) m;
-- every row's definition came before it, in an aborted block or not, and none twice
SELECT count(*) = 3002 AS rows, count(*) FILTER (WHERE NOT EXISTS (SELECT FROM binary_messages r WHERE r.kind = 'R' AND r.number = i.number AND r.n < i.n)) AS unknown
FROM binary_messages i WHERE kind = 'I';
SELECT count(*), count(DISTINCT number) FROM binary_messages WHERE kind = 'R';
-- the frame: a block is of the transaction's own until a subtransaction is announced
SELECT string_agg(kind, '' ORDER BY n) ~ '^HBRIC(S(X?R?I+)+E)+KBIC$' FROM binary_messages;
SELECT string_agg(DISTINCT kind, '' ORDER BY kind) FROM binary_messages;
SELECT count(*) > 3, count(DISTINCT number), count(*) FILTER (WHERE get_byte(body, (varint(body, 0)).p) = 1) AS first FROM binary_messages WHERE kind = 'S';
SELECT bool_and(number >= (SELECT min(number) FROM binary_messages WHERE kind = 'S')), count(DISTINCT number) FROM binary_messages WHERE kind = 'X';
SELECT number = (SELECT min(number) FROM binary_messages WHERE kind = 'S'), length(body) > 24 FROM binary_messages WHERE kind = 'K';
SELECT forget();

-- options that contradict
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'streaming', 'on', 'include_xid', 'off');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'streaming', 'perhaps');
SELECT pg_drop_replication_slot('regress_decoder');
DROP FUNCTION look, same, broken, forget, events, messages, varint;
DROP VIEW kept, blocks;
DROP TABLE dec_a, dec_b, dec_none, dec_new, dec_moods, got;
DROP TYPE dec_mood;
