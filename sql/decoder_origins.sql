-- concord_decoder: replication origins
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_o (id int PRIMARY KEY);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder', false, true);
SELECT count(pg_replication_origin_create(name)) FROM unnest(ARRAY['Dec/one', 'dec two', 'dec,"three"']) name;
CREATE FUNCTION sent(VARIADIC options text[]) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(coalesce(e #>> '{key,id}', e ->> 'content', e ->> 'op') || coalesce(' ' || (e ->> 'origin'), ''), ', ' ORDER BY n)
  FROM (SELECT row_number() OVER () AS n, data::jsonb AS e FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, VARIADIC options || '{batch,off}'::text[])) x $$;
INSERT INTO dec_o VALUES (0);
SELECT pg_replication_origin_session_setup('Dec/one');
INSERT INTO dec_o VALUES (1);
SELECT 1 FROM pg_logical_emit_message(false, 'app', 'message of one');
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_session_setup('dec two');
BEGIN; INSERT INTO dec_o VALUES (2); PREPARE TRANSACTION 'dec origins'; COMMIT PREPARED 'dec origins';
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_session_setup('dec,"three"');
INSERT INTO dec_o VALUES (3);
SELECT pg_replication_origin_session_reset();
SELECT 1 FROM pg_logical_emit_message(false, 'app', 'message of none');
INSERT INTO dec_o VALUES (4);
SELECT sent('origin', 'any');
SELECT sent('origin', 'local');
SELECT sent('origin', 'NONE');
SELECT sent('origin', 'Dec/one');
SELECT sent('origin', ' dec two , none ');
SELECT sent('origin', 'none,"dec,""three""", Dec/one');
SELECT sent('origin', 'dec two', 'include_origin', 'off');
SELECT sent('origin', '"Dec/one"', 'include_types', 'on');
-- names that do not exist, and what is no list
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT sent('origin', 'dec/one');
SELECT sent('origin', 'dec two, dec four');
SELECT sent('origin', '"none"');
SELECT sent('origin', 'any, dec two');
SELECT sent('origin', 'none, none');
SELECT sent('origin', 'dec two,');
SELECT sent('origin', ',');
SELECT sent('origin', '');
SELECT sent('origin', '"dec two');
-- one that is dropped; its name goes with it
SELECT pg_replication_origin_drop('Dec/one');
SELECT sent('origin', 'Dec/one');
SELECT sent('origin', 'any');
SELECT count(pg_replication_origin_drop(name)) FROM unnest(ARRAY['dec two', 'dec,"three"']) name;
SELECT pg_drop_replication_slot('regress_decoder');
DROP FUNCTION sent;
DROP TABLE dec_o;
