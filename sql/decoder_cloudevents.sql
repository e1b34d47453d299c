-- concord_decoder: CloudEvents
\pset format unaligned
\pset tuples_only on
CREATE TABLE ce_plain (id int PRIMARY KEY, name text, amount numeric(12,2));
CREATE TABLE ce_full (a text, b text, PRIMARY KEY (a, b));
ALTER TABLE ce_full REPLICA IDENTITY FULL;
CREATE TABLE ce_text (k text PRIMARY KEY);
CREATE TABLE ce_bool (k bool PRIMARY KEY);
CREATE TABLE ce_json (k int[] PRIMARY KEY);
CREATE TABLE ce_nokey (v text);
CREATE SCHEMA "ce ""s""";
CREATE TABLE "ce ""s"""."ta\b.le" ("I\d" int PRIMARY KEY);
CREATE TABLE "ce
line" (id int);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
\set mask 'regexp_replace(regexp_replace(regexp_replace(regexp_replace(data, ''"(lsn|time|xid)":"[^"]*"'', ''"\\1":"…"'', ''g''), ''"id":"[0-9A-F]+/[0-9A-F]+'', ''"id":"L'', ''g''), ''"sequence":"[0-9A-F/]{17}'', ''"sequence":"L'', ''g''), ''"(definition|relid)":"?[0-9a-f]+"?'', ''"\\1":"…"'', ''g'')'

INSERT INTO ce_plain VALUES (1, 'one', 1.10), (2, 'two', NULL);
UPDATE ce_plain SET amount = 2 WHERE id = 1;
UPDATE ce_plain SET id = 3 WHERE id = 2;
DELETE FROM ce_plain WHERE id = 3;
INSERT INTO ce_full VALUES ('x "y"', 'z');
UPDATE ce_full SET b = 'zz';
DELETE FROM ce_full;
INSERT INTO ce_text VALUES (''), (E'quote " back \\ line\n ä 𝄞');
-- controls, and code points that are no characters: not in attributes
INSERT INTO ce_text VALUES (E'delete \x7f'), (E'next line \u0085'), (E'no character \uFFFE'), (E'nor \U0010FFFF'), (E'but \u00A0 \uFFFD \U0010FFFD');
INSERT INTO ce_full VALUES (E'\x7f \uFFFF', E'\n');
INSERT INTO "ce
line" VALUES (1);
SELECT 1 FROM pg_logical_emit_message(true, E'pre\nfix \x7f', '');
INSERT INTO ce_bool VALUES (true);
INSERT INTO ce_json VALUES ('{1,2}');
INSERT INTO ce_nokey VALUES ('a');
UPDATE ce_nokey SET v = 'b';
DELETE FROM ce_nokey;
INSERT INTO "ce ""s"""."ta\b.le" VALUES (1);
TRUNCATE ce_plain, ce_nokey;
SELECT 1 FROM pg_logical_emit_message(false, 'loose "x"', 'outside');
BEGIN;
SELECT 1 FROM pg_logical_emit_message(true, '', 'inside');
INSERT INTO ce_plain VALUES (5, 'five', 5);
COMMIT;
SELECT :mask FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'cloudevents', 'source', '/erp');
-- begin and commit; definitions
SELECT :mask FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'cloudevents', 'source', '/erp', 'tables', 'public.ce_nokey', 'schema', 'once', 'include_transaction', 'on', 'messages', '');
SELECT :mask FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'cloudevents', 'source', '/erp', 'tables', 'public.ce_bool', 'schema', 'inline', 'messages', '',
  'include_types', 'on', 'include_xid', 'off', 'include_lsn', 'off', 'include_time', 'off', 'include_ordinal', 'off');
-- what the standard asks for: the attributes' names and types, ids of their own, a sequence that sorts, a source that tells this database
CREATE TABLE ce_all AS SELECT row_number() OVER () AS n, data::jsonb AS e
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'cloudevents', 'schema', 'once', 'include_transaction', 'on');
SELECT DISTINCT key, jsonb_typeof(value), key ~ '^[a-z0-9]{1,20}$' FROM ce_all, jsonb_each(e) ORDER BY 1;
SELECT count(*), count(DISTINCT e ->> 'id'), bool_and(e ->> 'specversion' = '1.0'),
  bool_and(e ->> 'source' = '/postgresql/' || (SELECT system_identifier FROM pg_control_system()) || '/' || current_database()),
  bool_and(e ->> 'subject' <> ''), bool_and(e ->> 'datacontenttype' = 'application/json'),
  bool_and(e ->> 'time' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$'), bool_and(abs(extract(epoch FROM (e ->> 'time')::timestamptz - now())) < 3600)
FROM ce_all;
SELECT key, value FROM ce_all, jsonb_each_text(e) WHERE key NOT IN ('data') AND value ~ '[\u0001-\u001F\u007F-\u009F\uFDD0-\uFDEF\uFFFE\uFFFF\U0010FFFE\U0010FFFF]';
-- relation events stand where their row's event does
SELECT count(*), count(DISTINCT e ->> 'sequence') FROM ce_all WHERE e #>> '{data,op}' <> 'relation';
SELECT bool_and(ordered) FROM (SELECT e ->> 'sequence' >= lag(e ->> 'sequence') OVER (ORDER BY n) AS ordered FROM ce_all WHERE e #>> '{data,transactional}' IS DISTINCT FROM 'false') x;
-- ids are those of format json
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL) j JOIN ce_all ON e ->> 'id' = j.data::jsonb ->> 'id' AND e #>> '{data,op}' = j.data::jsonb ->> 'op';
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE ce_plain, ce_full, ce_text, ce_bool, ce_json, ce_nokey, ce_all, "ce
line";
DROP SCHEMA "ce ""s""" CASCADE;
