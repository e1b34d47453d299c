-- concord.emit(): sent if and only if the transaction commits, in commit order with rows
SELECT concord.wait_for_capture('60s');
SELECT coalesce(max(seq), 0) AS start FROM concord.outbox \gset
CREATE TABLE cap_emit (id int PRIMARY KEY);
INSERT INTO concord.captured VALUES ('cap_emit'::regclass);

SELECT concord.emit('order.paid', '{"id": 1, "total": 12.50}') IS NOT NULL AS id;
BEGIN;
INSERT INTO cap_emit VALUES (1);
SELECT concord.emit('order.shipped', '[1, "ä", null]', 'key 1', '{"lang": "de"}') AS kept \gset
SAVEPOINT s;
SELECT concord.emit('order.lost', '{}') IS NOT NULL AS id;
ROLLBACK TO s;
INSERT INTO cap_emit VALUES (2);
SAVEPOINT s2;
SELECT concord.emit('order.sub', '"in a subtransaction"') IS NOT NULL AS id;
RELEASE s2;
COMMIT;
BEGIN;
SELECT concord.emit('order.lost', '{}') IS NOT NULL AS id;
ROLLBACK;
SELECT concord.wait_for_capture('60s');
SELECT op, topic, key, payload, headers, new, ordinal FROM concord.outbox WHERE seq > :start ORDER BY seq;
SELECT count(*) FROM concord.outbox WHERE event_id = :'kept' AND topic = 'order.shipped';

-- refused
SELECT concord.emit(NULL, '{}');
SELECT concord.emit('', '{}');
SELECT concord.emit('t', NULL);
SELECT concord.emit('t', '{}', NULL, '[]');
SELECT concord.emit('t', to_jsonb(repeat('x', 17 * 1024 * 1024)));
BEGIN READ ONLY;
SELECT concord.emit('t', '{}');
ROLLBACK;
CREATE ROLE cap_nobody;
SET ROLE cap_nobody;
SELECT concord.emit('t', '{}');
RESET ROLE;
-- with the grants, and no right on the key
GRANT USAGE ON SCHEMA concord TO cap_nobody;
GRANT EXECUTE ON FUNCTION concord.emit TO cap_nobody;
SET ROLE cap_nobody;
SELECT concord.emit('granted', '{}') IS NOT NULL AS id;
SELECT value FROM concord.secret;

-- everybody may write logical messages: forged ones are dropped and counted
SELECT pg_logical_emit_message(true, 'concord.emit', 'forged') IS NOT NULL AS written;
SELECT pg_logical_emit_message(true, 'concord.control', repeat('x', 100)) IS NOT NULL AS written;
SELECT pg_logical_emit_message(true, 'concord.unknown', '') IS NOT NULL AS written;
SELECT pg_logical_emit_message(false, 'concord.emit', 'not transactional') IS NOT NULL AS written;
SELECT pg_logical_emit_message(true, 'other', 'not ours') IS NOT NULL AS written;
RESET ROLE;
REVOKE ALL ON FUNCTION concord.emit FROM cap_nobody;
REVOKE ALL ON SCHEMA concord FROM cap_nobody;
DROP ROLE cap_nobody;
SELECT concord.emit('last', '{}') IS NOT NULL AS id;
SELECT concord.wait_for_capture('60s');
SELECT op, topic FROM concord.outbox WHERE seq > :start ORDER BY seq;
SELECT forged >= 4 AS counted FROM concord.capture;

DELETE FROM concord.captured WHERE relid = 'cap_emit'::regclass;
DROP TABLE cap_emit;
