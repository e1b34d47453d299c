-- concord_decoder: the binary stream, read as protocol.h describes it
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_bin (id int PRIMARY KEY, name varchar(40), amount numeric(12,2), at timestamptz, doc text, twice int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE dec_bin ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE dec_nokey (v text);

-- a reader: positions are pairs (value, next offset)
CREATE TYPE dec_pos AS (v numeric, p int);
CREATE FUNCTION dec_varint(b bytea, p int) RETURNS dec_pos LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE v numeric := 0; scale numeric := 1; x int;
BEGIN
  LOOP
    x := get_byte(b, p); p := p + 1;
    v := v + (x & 127) * scale; scale := scale * 128;
    EXIT WHEN x < 128;
  END LOOP;
  RETURN (v, p)::dec_pos;
END $$;
CREATE FUNCTION dec_fixed(b bytea, p int) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
  SELECT sum(get_byte(b, p + i) * 256::numeric ^ i) FROM generate_series(0, 7) i $$;
CREATE FUNCTION dec_image(b bytea, INOUT p int, OUT image text) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE n dec_pos; h dec_pos; l dec_pos;
BEGIN
  n := dec_varint(b, p); p := n.p; image := '';
  FOR i IN 1 .. n.v LOOP
    h := dec_varint(b, p); p := h.p;
    image := image || CASE WHEN i > 1 THEN '|' ELSE '' END;
    IF h.v = 3 THEN
      l := dec_varint(b, p); p := l.p;
      image := image || '<' || l.v || ' ' || left(encode(substr(b, p + 1, 32), 'hex'), 8) || '>';
      p := p + 32;
    ELSIF h.v = 4 THEN
      l := dec_varint(b, p + 5);
      image := image || '<' || convert_from(substr(b, p + 1, 5) || ' '::bytea || substr(b, l.p + 1, l.v::int), 'UTF8') || '>';
      p := l.p + l.v::int;
    ELSIF h.v = 5 THEN
      l := dec_varint(b, p);
      image := image || '<bytes ' || CASE WHEN l.v > 100 THEN l.v::text ELSE encode(substr(b, l.p + 1, l.v::int), 'hex') END || '>';
      p := l.p + l.v::int;
    ELSIF h.v >= 6 THEN
      image := image || CASE WHEN h.v > 106 THEN '(' || (h.v - 6) || ')' ELSE convert_from(substr(b, p + 1, (h.v - 6)::int), 'UTF8') END;
      p := p + (h.v - 6)::int;
    ELSE
      image := image || (ARRAY['NULL', 'UNCHANGED', 'ABSENT'])[h.v + 1];
    END IF;
  END LOOP;
END $$;
CREATE FUNCTION dec_fields(kind text, b bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE p int := 0; v dec_pos; flags int; r text := ''; i record; n int; l dec_pos;
BEGIN
  IF kind = 'B' THEN
    v := dec_varint(b, 0); p := v.p;
    RETURN format('xid %s, commit before end %s, recent %s, origin %s', v.v > 0, dec_fixed(b, p) < dec_fixed(b, p + 8),
      abs(extract(epoch FROM now()) - 946684800 - dec_fixed(b, p + 16) / 1000000) < 3600, (dec_varint(b, p + 24)).v);
  ELSIF kind = 'C' THEN
    RETURN format('lsn %s, bytes %s', dec_fixed(b, 0) > 0, length(b));
  ELSIF kind = 'M' THEN
    v := dec_varint(b, 9); p := v.p + v.v::int; l := dec_varint(b, p);
    RETURN format('flags %s, prefix %s, content %s', get_byte(b, 0), convert_from(substr(b, v.p + 1, v.v::int), 'UTF8'),
      convert_from(substr(b, l.p + 1, l.v::int), 'UTF8'));
  END IF;
  v := dec_varint(b, 0); p := v.p;
  IF kind = 'H' THEN
    RETURN format('version %s, server %s, encoding %s', v.v, (dec_varint(b, p)).v = current_setting('server_version_num')::int,
      convert_from(substr(b, (dec_varint(b, (dec_varint(b, p)).p)).p + 1), 'UTF8'));
  ELSIF kind = 'T' THEN
    RETURN format('relation %s, flags %s', v.v, get_byte(b, p));
  ELSIF kind = 'R' THEN
    r := 'relation ' || v.v;
    v := dec_varint(b, p); p := v.p + 2;
    r := r || format(' identity %s', chr(get_byte(b, v.p)));
    FOR k IN 1 .. 2 LOOP
      l := dec_varint(b, p); p := l.p + l.v::int;
      r := r || ' ' || convert_from(substr(b, l.p + 1, l.v::int), 'UTF8');
    END LOOP;
    l := dec_varint(b, p); p := l.p; n := l.v;
    FOR k IN 1 .. n LOOP
      v := dec_varint(b, p); flags := get_byte(b, v.p); p := v.p + 1;
      r := r || format(E'\n    %s flags %s', v.v, flags);
      v := dec_varint(b, p); p := v.p;
      l := dec_varint(b, p); p := l.p;
      r := r || format(' %s', format_type(v.v::int8::oid, (l.v - 1)::int));
      FOR m IN 1 .. 2 LOOP
        l := dec_varint(b, p); p := l.p + l.v::int;
        r := r || ' ' || convert_from(substr(b, l.p + 1, l.v::int), 'UTF8');
      END LOOP;
    END LOOP;
    IF p <> length(b) THEN RAISE 'trailing bytes'; END IF;
    RETURN r;
  ELSE
    flags := get_byte(b, p); p := p + 1;
    r := format('relation %s, flags %s', v.v, flags);
    IF flags & 1 <> 0 THEN
      SELECT * INTO i FROM dec_image(b, p); p := i.p; r := r || ', old ' || i.image;
    END IF;
    IF flags & 4 <> 0 THEN
      SELECT * INTO i FROM dec_image(b, p); p := i.p; r := r || ', new ' || i.image;
    END IF;
    IF p <> length(b) THEN RAISE 'trailing bytes'; END IF;
    RETURN r;
  END IF;
END $$;
CREATE FUNCTION dec_read(b bytea) RETURNS SETOF text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE p int := 0; kind text; v dec_pos;
BEGIN
  WHILE p < length(b) LOOP
    kind := chr(get_byte(b, p));
    v := dec_varint(b, p + 1);
    RETURN NEXT kind || ' ' || dec_fields(kind, substr(b, v.p + 1, v.v::int));
    p := v.p + v.v::int;
  END LOOP;
  IF p <> length(b) THEN RAISE 'a message straddles writes'; END IF;
END $$;

SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
INSERT INTO dec_bin VALUES (1, 'one', 1.10, '2026-01-02 03:04:05+00', repeat('d', 3000)), (2, '', NULL, 'infinity', NULL);
BEGIN;
UPDATE dec_bin SET name = 'Ä' WHERE id = 1;
UPDATE dec_bin SET id = 3 WHERE id = 2;
SELECT 1 FROM pg_logical_emit_message(true, 'app', 'in the transaction');
DELETE FROM dec_bin WHERE id = 3;
COMMIT;
SELECT 1 FROM pg_logical_emit_message(false, 'app', 'outside');
INSERT INTO dec_nokey VALUES ('no key');
UPDATE dec_nokey SET v = 'changed';
DELETE FROM dec_nokey;
ANALYZE dec_bin;
INSERT INTO dec_bin VALUES (4, 'same definition', 0);
ALTER TABLE dec_bin REPLICA IDENTITY FULL;
UPDATE dec_bin SET amount = 0.5;
ALTER TABLE dec_bin DROP at, ADD more date;
DELETE FROM dec_bin WHERE id = 4;
ALTER TABLE dec_bin RENAME more TO day;
ALTER TABLE dec_bin RENAME day TO more;
INSERT INTO dec_bin VALUES (5);
TRUNCATE dec_bin RESTART IDENTITY;
SELECT line FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') WITH ORDINALITY d(lsn, xid, data, n),
  dec_read(data) WITH ORDINALITY r(line, m) ORDER BY n, m;
-- each transaction is a write; without batching, each message is
SELECT array_agg(length(data) > 0) FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary');
SELECT count(*), max(m) FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'batch', 'off') WITH ORDINALITY d(lsn, xid, data, n),
  dec_read(data) WITH ORDINALITY r(line, m);
SELECT line FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'max_value', '100') WITH ORDINALITY d(lsn, xid, data, n),
  dec_read(data) WITH ORDINALITY r(line, m) WHERE line ~ '<' ORDER BY n, m;

-- writes are filled and bounded; a message of every length around the varint's steps
INSERT INTO dec_nokey SELECT repeat('x', i) FROM generate_series(100, 140) i;
INSERT INTO dec_nokey SELECT repeat('x', i) FROM generate_series(16370, 16390) i;
INSERT INTO dec_nokey VALUES (repeat('x', 65529)), (repeat('x', 65536)), (repeat('x', 70000)), ('small'), (repeat('x', 2100000)), ('small');
SELECT n, length(data) <= 65536, length(data) > 65536, count(*) FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') WITH ORDINALITY d(lsn, xid, data, n),
  dec_read(data) r(line) GROUP BY 1, 2, 3 ORDER BY 1;
SELECT count(*) FILTER (WHERE line ~ '^I') FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') d, dec_read(data) r(line);

-- partitions under one root share a definition, whatever their own layout
CREATE TABLE dec_root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE dec_root_1 PARTITION OF dec_root FOR VALUES FROM (0) TO (10);
CREATE TABLE dec_root_2 (v text, gone int, id int PRIMARY KEY);
ALTER TABLE dec_root_2 DROP gone;
ALTER TABLE dec_root ATTACH PARTITION dec_root_2 FOR VALUES FROM (10) TO (20);
INSERT INTO dec_root VALUES (1, 'one'), (11, 'eleven');
TRUNCATE dec_root_2;
SELECT line FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') WITH ORDINALITY d(lsn, xid, data, n),
  dec_read(data) WITH ORDINALITY r(line, m) ORDER BY n, m;

-- bytea and domains over it are bytes, of any length; inside of others they are text
CREATE DOMAIN dec_raw AS bytea;
CREATE TABLE dec_raws (id bytea PRIMARY KEY, v dec_raw, a bytea[], t text);
ALTER TABLE dec_raws REPLICA IDENTITY FULL, ALTER v SET STORAGE EXTERNAL;
INSERT INTO dec_raws VALUES ('', '\x00ff', '{"\\x00ff"}', '\x00ff'), ('\xff', repeat('x', 3000)::bytea::dec_raw, NULL, NULL), ('\x01', NULL, '{}', '');
UPDATE dec_raws SET t = 'v is not touched' WHERE id = '\xff';
UPDATE dec_raws SET id = '\x02', v = '' WHERE id = '\x01';
SELECT line FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') WITH ORDINALITY d(lsn, xid, data, n),
  dec_read(data) WITH ORDINALITY r(line, m) ORDER BY n, m;
SELECT line FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'max_value', '1000') WITH ORDINALITY d(lsn, xid, data, n),
  dec_read(data) WITH ORDINALITY r(line, m) WHERE line ~ '<' ORDER BY n, m;

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_bin, dec_nokey, dec_root, dec_raws;
DROP DOMAIN dec_raw;
DROP FUNCTION dec_read, dec_fields, dec_image, dec_fixed, dec_varint;
DROP TYPE dec_pos;
