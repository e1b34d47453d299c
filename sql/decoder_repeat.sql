-- REPLICA IDENTITY FULL: what both images have alike is written once and copied
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET IntervalStyle = postgres;
DROP TABLE IF EXISTS decoder_repeat, decoder_repeat_history;
CREATE TABLE decoder_repeat (id int PRIMARY KEY, b boolean, i2 smallint, i8 bigint, f float8, n numeric,
	t text, long text, j jsonb, u uuid, d date, ts timestamptz, a int[], ch char(3), nm name, iv interval, r int4range);
ALTER TABLE decoder_repeat REPLICA IDENTITY FULL;
ALTER TABLE decoder_repeat ALTER long SET STORAGE EXTERNAL;
CREATE TABLE decoder_repeat_history (n serial, row jsonb);
INSERT INTO decoder_repeat VALUES (1, true, 2, 8, 0.5, 1.50, 'text "quoted"', repeat('lo\ng', 2000), '{"a": [1, "x", null]}',
	'00000000-0000-0000-0000-000000000001', '2026-01-02', '2026-01-02 03:04:05.678+00', '{1,2,NULL}', 'ab', 'name', '1 day', '[1,5)'),
	(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT 1 FROM pg_create_logical_replication_slot('regress_repeat', 'concord_decoder');

-- each of these is an update of one row; its result is kept
CREATE PROCEDURE decoder_repeat_do(what text, which int) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('UPDATE decoder_repeat SET %s WHERE id = %s', what, which);
	INSERT INTO decoder_repeat_history (row) SELECT to_jsonb(x) FROM decoder_repeat x WHERE id = which;
	COMMIT;
END $$;
SELECT format('CALL decoder_repeat_do(%L, %s)', what, which)
FROM (VALUES ('id = id'), ('b = NOT b'), ('i2 = i2 + 1'), ('i8 = -i8'), ('f = ''-0'''), ('f = ''0'''),
	('n = 1.5'), ('n = n * 10'), ('t = t || ''!'''), ('t = '''''), ('long = long || ''.'''),
	('j = ''{"a": [2, "x", null]}'''), ('j = ''null'''), ('j = NULL'), ('j = ''1'''), ('u = ''00000000-0000-0000-0000-000000000002'''),
	('d = d + 1'), ('ts = ts + interval ''1 microsecond'''), ('a = ''{1,3,NULL}'''), ('a = ''{}'''), ('ch = ''xyz'''), ('nm = ''other'''),
	('iv = ''24 hours'''), ('r = ''[1,6)'''), ('b = NULL, t = NULL, long = NULL'), ('b = true, t = ''again'', long = ''short'''),
	('i2 = 1, a = NULL')) v(what), (VALUES (1), (2)) w(which)
\gexec
UPDATE decoder_repeat SET id = id + 10;

CREATE TEMP TABLE got AS SELECT row_number() OVER () AS n, data::jsonb AS event
	FROM pg_logical_slot_peek_changes('regress_repeat', NULL, NULL, 'tables', 'public.decoder_repeat');
SELECT count(*), count(*) FILTER (WHERE event ? 'unchanged') AS unchanged FROM got;
-- the new image is the row; the old image is the new one before it
SELECT n, o.key, left(o.value::text, 40) AS row, left((event->'new'->o.key)::text, 40) AS new
FROM got JOIN decoder_repeat_history h USING (n), jsonb_each(h.row) o WHERE o.value IS DISTINCT FROM event->'new'->o.key;
SELECT count(*) FROM got JOIN decoder_repeat_history h USING (n);
SELECT count(*) FROM (SELECT event->'old' AS old, lag(event->'new') OVER (PARTITION BY event->'key' ORDER BY n) AS before FROM got) x
WHERE before IS NOT NULL AND old IS DISTINCT FROM before;
SELECT event->'key' AS key, event->'old'->'id' AS old, event->'new'->'id' AS new FROM got ORDER BY n DESC LIMIT 2;
SELECT pg_drop_replication_slot('regress_repeat');
DROP PROCEDURE decoder_repeat_do;
DROP TABLE decoder_repeat, decoder_repeat_history;
