-- concord_decoder: rows that do not fit into one event lose their largest values
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_large (id int PRIMARY KEY, small text, doc jsonb, nums numeric[]);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

-- few bytes whose text is larger than a gigabyte
INSERT INTO dec_large (id, small, doc)
SELECT 1, 'a', jsonb_build_object('n', jsonb_agg(1e131071::numeric)) FROM generate_series(1, 9000);
INSERT INTO dec_large (id, small, nums)
SELECT 2, 'b', array_agg(1e131071::numeric) FROM generate_series(1, 9000);
INSERT INTO dec_large (id, small, nums)
SELECT 3, 'c', array_agg(array[1e131071::numeric, 1]) FROM generate_series(1, 9000);
INSERT INTO dec_large (id, small, nums) VALUES (4, 'd', '{1.50,NULL,NaN,-2,-Infinity}');
SELECT data::jsonb -> 'new', o.key, o.value ? 'sha256'
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL)
LEFT JOIN LATERAL jsonb_each(data::jsonb -> 'oversize') AS o ON true;

-- the compact stream: each row arrives, with a marker
SELECT count(*), sum(length(data)) < 1000,
	count(*) FILTER (WHERE position('{1.50,NULL,NaN,-2,-Infinity}'::bytea IN data) > 0)
FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'batch', '0');

SELECT 'dropped' FROM pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_large;
