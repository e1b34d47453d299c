-- What slot regress_decoder sends, beside what slot regress_pgoutput does of the
-- same WAL: sent(publications).
-- a change in one line: operation, table, the values of the new row, or of the
-- old one where it is all there is; long runs of a letter are shortened
CREATE FUNCTION short(line text) RETURNS text LANGUAGE sql AS $$
  SELECT regexp_replace(line, '([a-z])\1{9,}', '\1...', 'g') $$;
CREATE FUNCTION ours(publications text) RETURNS TABLE (n bigint, line text) LANGUAGE sql AS $$
  SELECT row_number() OVER (ORDER BY d.n), short(concat_ws(' ', upper(left(e ->> 'op', 1)), e ->> 'table',
    (SELECT string_agg(value, ' ' ORDER BY ordinality)
     FROM json_each_text(coalesce(e -> 'new', e -> 'old', e -> 'key')) WITH ORDINALITY)))
  FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', publications)
    WITH ORDINALITY d(lsn, xid, data, n), LATERAL (SELECT data::json AS e) j
  WHERE e ->> 'op' IN ('insert', 'update', 'delete') $$;
-- the same from pgoutput's bytes: kind, relation, then tuples of an int2 and,
-- for each value, 'n', 'u', or 't' with an int4 of length
CREATE FUNCTION int_at(data bytea, pos int, bytes int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
  SELECT sum(get_byte(data, pos + i) << (8 * (bytes - 1 - i)))::int FROM generate_series(0, bytes - 1) i $$;
CREATE FUNCTION theirs(publications text) RETURNS TABLE (n bigint, line text) LANGUAGE sql AS $$
  WITH RECURSIVE message AS (
    SELECT row_number() OVER () AS n, data, chr(get_byte(data, 0)) AS kind
    FROM pg_logical_slot_peek_binary_changes('regress_pgoutput', NULL, NULL, 'proto_version', '1', 'publication_names', publications)
    WHERE chr(get_byte(data, 0)) IN ('I', 'U', 'D')
  ), walk AS (
    SELECT n, data, kind, 5 AS pos, 0 AS todo, '' COLLATE "C" AS part, '' COLLATE "C" AS line FROM message
    UNION ALL
    SELECT n, data, kind,
      pos + CASE WHEN todo = 0 THEN 3 WHEN here = 't' THEN 5 + int_at(data, pos + 1, 4) ELSE 1 END,
      CASE WHEN todo = 0 THEN int_at(data, pos + 1, 2) ELSE todo - 1 END,
      CASE WHEN todo = 0 THEN here ELSE part END,
      CASE WHEN todo > 0 AND here = 't' AND (part = 'N' OR kind = 'D')
        THEN line || ' ' || convert_from(substr(data, pos + 6, int_at(data, pos + 1, 4)), 'UTF8') ELSE line END
    FROM walk, LATERAL (SELECT chr(get_byte(data, pos)) AS here) h WHERE pos < length(data)
  )
  SELECT row_number() OVER (ORDER BY n), kind || ' ' || relname || short(line)
  FROM walk JOIN pg_class c ON c.oid = int_at(data, 1, 4)::oid WHERE pos = length(data) $$;
-- what both say; where they differ, both
CREATE FUNCTION sent(publications text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT CASE WHEN o.line = t.line THEN o.line ELSE format('ours: %s; pgoutput: %s', o.line, t.line) END
  FROM ours(publications) o FULL JOIN theirs(publications) t USING (n) ORDER BY n $$;
-- what was written so far is not looked at; to be called once the publications
-- are there, for pgoutput fails at any change before them (until 18)
CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS $$
  SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots
  WHERE slot_name IN ('regress_decoder', 'regress_pgoutput') $$;
