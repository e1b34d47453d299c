-- The order of local keys in the index of links: bytes, but equal is what jsonb
-- calls equal.
SELECT opcname, amvalidate(oid) FROM pg_opclass WHERE opcname = 'key_ops' AND opcnamespace = 'concord'::regnamespace;

CREATE TEMP TABLE sample AS SELECT row_number() OVER () AS n, v FROM unnest(ARRAY[
	'{}', '[]', '1', '[1]', '"1"', 'null', 'true', 'false', '{"id": 1}', '{"id": 1.0}', '{"id": 1.00}', '{"id": "1"}', '{"id": null}',
	'{"id": true}', '{"id": "ä"}', '{"id": "z"}', '{"id": "Z"}', '{"id": ""}', '{"id": "1", "no": 2}', '{"no": 2, "id": "1"}', '{"id": 12, "no": 345678901234567890.5}',
	'{"id": 12.0, "no": 345678901234567890.50}', '{"id": -5}', '{"id": 1e20}', '{"id": 100000000000000000000}', '{"id": {"a": [1, 2]}}',
	'{"id": {"a": [1, 2.0]}}', '{"id": {"a": [2, 1]}}', '{"id": [1, 2]}', '{"a": 1, "id": 2}', '{"ab": 1, "a": 2}']::jsonb[]) AS v;
-- long ones: every 32nd element has its offset, the others their length
INSERT INTO sample SELECT 100 + i, (SELECT jsonb_object_agg('k' || g, CASE WHEN g % 2 = 0 THEN to_jsonb(g * i) ELSE to_jsonb('v' || g) END)
	FROM generate_series(1, 70) g) FROM generate_series(1, 3) i;

-- the same pairs are equal, and the five agree with each other
SELECT count(*) AS pairs, count(*) FILTER (WHERE a.v = b.v) AS equal,
	count(*) FILTER (WHERE (a.v = b.v) <> (concord.key_compare(a.v, b.v) = 0)) AS differ,
	count(*) FILTER (WHERE sign(concord.key_compare(a.v, b.v)) <> -sign(concord.key_compare(b.v, a.v))) AS crooked,
	count(*) FILTER (WHERE (a.v OPERATOR(concord.~<~) b.v) <> (concord.key_compare(a.v, b.v) < 0)
		OR (a.v OPERATOR(concord.~<=~) b.v) <> (concord.key_compare(a.v, b.v) <= 0)
		OR (a.v OPERATOR(concord.~>=~) b.v) <> (concord.key_compare(a.v, b.v) >= 0)
		OR (a.v OPERATOR(concord.~>~) b.v) <> (concord.key_compare(a.v, b.v) > 0)) AS wrong
	FROM sample a, sample b;
SELECT count(*) AS triples, count(*) FILTER (WHERE NOT a.v OPERATOR(concord.~<=~) c.v) AS wrong
	FROM sample a, sample b, sample c WHERE a.v OPERATOR(concord.~<=~) b.v AND b.v OPERATOR(concord.~<=~) c.v;

-- who asks by key is served by the index
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT FROM concord.link_item WHERE mapping = 1 AND local_key = '{"id": 7}';
INSERT INTO concord.link_item (mapping, local_key, seq, present) SELECT -1, jsonb_build_object('id', i), i, true FROM generate_series(1, 100) i;
SELECT seq FROM concord.link_item WHERE mapping = -1 AND local_key = '{"id": 7.0}';
INSERT INTO concord.link_item (mapping, local_key, seq, present) VALUES (-1, '{"id": 7.00}', 101, true);
DELETE FROM concord.link_item WHERE mapping = -1;
