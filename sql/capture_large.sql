-- TOASTed values, large events, wide and many rows
SELECT concord.wait_for_capture('60s');
SELECT coalesce(max(seq), 0) AS start FROM concord.outbox \gset

CREATE TABLE cap_large (id int PRIMARY KEY, small text, big text, raw bytea);
ALTER TABLE cap_large ALTER big SET STORAGE EXTERNAL;
INSERT INTO concord.captured VALUES ('cap_large'::regclass);

-- values of 1 B, 8 kB, 100 kB and 3 MB beside each other
INSERT INTO cap_large SELECT i, 'row ' || i, repeat('x', (ARRAY[1, 8000, 100000, 3000000])[i]), '\x00ff' FROM generate_series(1, 4) i;
-- a TOASTed value that is not touched is left out, one that is touched is there
UPDATE cap_large SET small = 'changed' WHERE id = 3;
UPDATE cap_large SET big = 'short now' WHERE id = 4;
-- random bytes do not compress
INSERT INTO cap_large SELECT 5, 'random', NULL, string_agg(sha256(i::text::bytea), '') FROM generate_series(1, 3000) i;

SELECT concord.wait_for_capture('60s');
SELECT op, new ->> 'id' AS id, new ->> 'small' AS small, length(new ->> 'big') AS big, length(new ->> 'raw') AS raw
FROM concord.outbox WHERE seq > :start ORDER BY seq;
SELECT new ->> 'raw' = r.raw::text AS equal FROM concord.outbox, cap_large r WHERE seq > :start AND new ->> 'id' = '5' AND r.id = 5;

-- a value beyond pg_concord.max_event_size is replaced by its length and digest
ALTER SYSTEM SET pg_concord.max_event_size = '1MB';
SELECT pg_reload_conf();
INSERT INTO cap_large VALUES (6, 'too large', repeat('y', 2000000));
SELECT concord.wait_for_capture('60s');
-- the decoder starts again with the new setting, at the latest after the next change
DO $$
DECLARE decoder int := (SELECT decoder_pid FROM concord.capture);
BEGIN
	FOR i IN 1..600 LOOP
		INSERT INTO cap_large VALUES (100 + i, 'poll', repeat('z', 2000000));
		DELETE FROM cap_large WHERE id = 100 + i;
		COMMIT;
		PERFORM concord.wait_for_capture('60s');
		EXIT WHEN EXISTS (SELECT FROM concord.outbox WHERE new -> 'big' ? 'sha256');
	END LOOP;
END $$;
SELECT DISTINCT new -> 'big' -> 'length' AS length, new -> 'big' ->> 'sha256' = encode(sha256(convert_to(repeat('z', 2000000), 'UTF8')), 'hex') AS digest
FROM concord.outbox WHERE seq > :start AND new ->> 'small' = 'poll' AND new -> 'big' ? 'sha256';
ALTER SYSTEM RESET pg_concord.max_event_size;
SELECT pg_reload_conf();

-- 20,000 rows in one statement: chunks stay small and in line
SELECT coalesce(max(seq), 0) AS start FROM concord.outbox \gset
INSERT INTO cap_large SELECT i, 'many', NULL, NULL FROM generate_series(1001, 21000) i;
SELECT concord.wait_for_capture('60s');
SELECT count(*), min((new ->> 'id')::int), max((new ->> 'id')::int), max(ordinal),
	bool_and(ordinal = seq - :start) AS in_order
FROM concord.outbox WHERE seq > :start AND new ->> 'small' = 'many';
SELECT max(length(data)) <= 7600 AS small, max(pg_column_size(data)) < 2000 AS compressed, count(*) < 200 AS few
FROM (SELECT * FROM concord.outbox_0 UNION ALL SELECT * FROM concord.outbox_1 UNION ALL SELECT * FROM concord.outbox_2
	UNION ALL SELECT * FROM concord.outbox_3 UNION ALL SELECT * FROM concord.outbox_4 UNION ALL SELECT * FROM concord.outbox_5
	UNION ALL SELECT * FROM concord.outbox_6 UNION ALL SELECT * FROM concord.outbox_7) c
WHERE seq > :start AND 'cap_large'::regclass = ANY (sources);
DELETE FROM concord.captured WHERE relid = 'cap_large'::regclass;
DROP TABLE cap_large;
