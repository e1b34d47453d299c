-- What a mapping's deliveries come to where nobody answers: a port that is
-- closed.  Faults of a live system are test/t/300_delivery.pl.
SELECT concord.wait_for_capture('60s');
CREATE TABLE delivery_queue (id int PRIMARY KEY, name text, amount numeric);
CREATE SERVER delivery_nobody FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://127.0.0.1:9/', breaker_cooldown '100ms', connect_timeout '1s');
CREATE USER MAPPING FOR CURRENT_USER SERVER delivery_nobody OPTIONS (auth 'none');
SELECT concord.create_mapping('delivery_queue', 'delivery_queue', 'delivery_nobody', 'things',
  '{"name": "name", "ratio": "1 / amount"}', checks => '{"amount is positive": "amount >= 0"}');

-- until something is true, or for too long
CREATE PROCEDURE delivery_until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	found bool;
BEGIN
	FOR i IN 1 .. 600 LOOP
		EXECUTE 'SELECT ' || condition INTO found;
		EXIT WHEN found;
		COMMIT;
		PERFORM pg_sleep(0.05);
	END LOOP;
	IF found IS NOT TRUE THEN
		RAISE WARNING 'never came true: %', condition;
	END IF;
END $$;

-- nothing pending: true at once
SELECT concord.wait_for_delivery('delivery_queue', '30s');

-- rows that no request can be made of are dead, under the name of what failed
INSERT INTO delivery_queue VALUES (1, 'negative', -1), (2, 'by zero', 0);
SELECT concord.wait_for_delivery('delivery_queue', '30s');
SELECT mapping, version, server, local_key, op, attempts, rule, status, error, superseded_by
  FROM concord.dead_letter ORDER BY local_key;
SELECT state, pending, dead, delivered FROM concord.status WHERE mapping = 'delivery_queue';

-- again: of the same row a newer image is dead too, the older is superseded
UPDATE delivery_queue SET name = 'still negative' WHERE id = 1;
SELECT concord.wait_for_delivery('delivery_queue', '30s');
SELECT concord.retry_dead('delivery_queue', filter => $$local_key ->> 'id' = '1'$$);
SELECT concord.wait_for_delivery('delivery_queue', '30s');
SELECT local_key, state, superseded_by IS NOT NULL AS superseded FROM concord.exception
  WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 'delivery_queue') ORDER BY delivery;

-- very many at once take seconds: of each row the newest goes again
BEGIN;
INSERT INTO concord.exception (mapping, version, seq, event_id, op, committed_at, local_key, event, state)
  SELECT e.mapping, e.version, e.seq + g, e.event_id, e.op, e.committed_at,
         jsonb_build_object('id', (1000 + g % 10000)::text), e.event, 'dead'
    FROM (SELECT * FROM concord.exception WHERE state = 'dead' ORDER BY delivery LIMIT 1) e, generate_series(1, 20000) g;
SET LOCAL statement_timeout = '30s';
SELECT concord.retry_dead('delivery_queue', filter => $$(local_key ->> 'id')::int >= 1000$$);
SELECT state, superseded_by IS NOT NULL AS superseded, count(*) FROM concord.exception
  WHERE (local_key ->> 'id')::int >= 1000 GROUP BY 1, 2 ORDER BY 1;
ROLLBACK;

-- a condition is one condition
SELECT concord.retry_dead('delivery_queue', filter => 'true) OR (true');
SELECT concord.retry_dead('delivery_queue', filter => 'true; DROP TABLE delivery_queue');
SELECT concord.retry_dead('delivery_queue', filter => '1, 2');
SELECT concord.retry_dead('delivery_queue', filter => 'true FROM pg_class');
SELECT concord.retry_dead('delivery_queue', filter => 'true ORDER BY 1');
SELECT concord.retry_dead('delivery_queue', filter => 'no_such_column');
SELECT concord.retry_dead('delivery_queue', filter => 'false -- nothing');
SELECT concord.retry_dead('delivery_nothing');
SELECT concord.retry_dead(NULL);

-- given up, with a reason
SELECT concord.discard_dead('delivery_queue', NULL, '');
SELECT concord.discard_dead('delivery_queue', NULL, NULL);
SELECT concord.discard_dead('delivery_queue', -1, 'no such delivery');
SELECT concord.discard_dead('delivery_queue', NULL, 'a test');
SELECT count(*) FROM concord.dead_letter;

-- a role without rights
CREATE ROLE delivery_nobody;
GRANT USAGE ON SCHEMA concord TO delivery_nobody;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO delivery_nobody;
SET ROLE delivery_nobody;
SELECT concord.retry_dead('delivery_queue');
SELECT concord.discard_dead('delivery_queue', NULL, 'mine');
SELECT concord.replay('delivery_queue');
SELECT concord.pause_system('delivery_nobody');
SELECT count(*) FROM concord.dead_letter;
RESET ROLE;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA concord FROM delivery_nobody;
REVOKE USAGE ON SCHEMA concord FROM delivery_nobody;
DROP ROLE delivery_nobody;

-- the system does not answer: the breaker opens, nothing is counted or dead
INSERT INTO delivery_queue VALUES (3, 'three', 3);
CALL delivery_until($$EXISTS (SELECT FROM concord.system WHERE server = 'delivery_nobody'
  AND breaker <> 'closed' AND state = 'down' AND reason IS NOT NULL AND last_error IS NOT NULL)$$);
SELECT concord.wait_for_delivery('delivery_queue', '500ms');
SELECT state, pending, dead, lag IS NOT NULL AS lag FROM concord.status WHERE mapping = 'delivery_queue';
SELECT state, op FROM concord.delivery WHERE mapping = 'delivery_queue' AND state = 'pending';

-- waiting
SELECT concord.wait_for_delivery('delivery_nothing');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT concord.wait_for_delivery('delivery_queue');
ROLLBACK;
SELECT concord.pause_system('delivery_nobody');
SELECT concord.wait_for_delivery('delivery_queue', '30s');
SELECT state FROM concord.system WHERE server = 'delivery_nobody';
SELECT concord.resume_system('delivery_nobody');
SELECT concord.pause('delivery_queue');
SELECT concord.wait_for_delivery('delivery_queue', '30s');
SELECT concord.wait_for_delivery(NULL, '30s');
SELECT concord.resume('delivery_queue');
SELECT concord.pause_system('delivery_nothing');

-- replay: what is on its way is not sent twice
SELECT concord.replay('delivery_queue', keys => '[{"id": 3}]');
SELECT concord.replay('delivery_queue', keys => '"id"');
SELECT concord.replay('delivery_queue', to_time => '2000-01-01');

-- a mapping that is dropped leaves nothing
SELECT id AS gone FROM concord.mapping WHERE name = 'delivery_queue' \gset
SELECT concord.drop_mapping('delivery_queue');
CALL delivery_until(format($$NOT EXISTS (SELECT FROM concord.lane WHERE mapping = %1$s)
  AND NOT EXISTS (SELECT FROM concord.exception WHERE mapping = %1$s)$$, :gone));
SELECT concord.wait_for_delivery(NULL, '30s');
DROP PROCEDURE delivery_until;
DROP TABLE delivery_queue;
DROP SERVER delivery_nobody CASCADE;
