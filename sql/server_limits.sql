-- options that limit what is sent to a system, and what connectors say of limits
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE SERVER limits_a FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://127.0.0.1:1/a/', rate '600/min', quota '100000/1d',
    interactive_share '20%', concurrency '8', account 'acme');

-- what is wrong is refused, with what is right
ALTER SERVER limits_a OPTIONS (SET rate '600');
ALTER SERVER limits_a OPTIONS (SET rate '600/minute');
ALTER SERVER limits_a OPTIONS (SET rate '0/s');
ALTER SERVER limits_a OPTIONS (SET rate '-5/s');
ALTER SERVER limits_a OPTIONS (SET rate '10 / s');
ALTER SERVER limits_a OPTIONS (SET rate '5/d');
ALTER SERVER limits_a OPTIONS (SET rate '100001/s');
ALTER SERVER limits_a OPTIONS (SET rate '99999999999999999999/s');
ALTER SERVER limits_a OPTIONS (SET quota '100000');
ALTER SERVER limits_a OPTIONS (SET quota '100000/d');
ALTER SERVER limits_a OPTIONS (SET quota '100000/1day');
ALTER SERVER limits_a OPTIONS (SET quota '0/1d');
ALTER SERVER limits_a OPTIONS (SET quota '10/500ms');
ALTER SERVER limits_a OPTIONS (SET quota '10/400d');
ALTER SERVER limits_a OPTIONS (SET interactive_share '20');
ALTER SERVER limits_a OPTIONS (SET interactive_share '95%');
ALTER SERVER limits_a OPTIONS (SET interactive_share '0.2');
ALTER SERVER limits_a OPTIONS (SET account '');
ALTER SERVER limits_a OPTIONS (SET account 'a name that is longer than a name in PostgreSQL may be, by a few');
ALTER SERVER limits_a OPTIONS (SET concurrency '257');
ALTER SERVER limits_a OPTIONS (ADD interactive_shaer '20%');

-- servers of one account that differ
CREATE SERVER limits_b FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://127.0.0.1:1/b/', rate '10/min', account 'acme');
SELECT server, state, account, breaker, in_flight, budget_left, hint FROM concord.system
WHERE server LIKE 'limits%' ORDER BY server;
ALTER SERVER limits_b OPTIONS (SET rate '600/min', ADD quota '100000/1d', ADD interactive_share '20%', ADD concurrency '8');
SELECT hint FROM concord.system WHERE server LIKE 'limits%' ORDER BY server;

-- limits hold for a session too, and are shown
ALTER SERVER limits_a OPTIONS (SET quota '4/1h');
ALTER SERVER limits_b OPTIONS (SET quota '4/1h');
CREATE USER MAPPING FOR CURRENT_USER SERVER limits_a OPTIONS (auth 'none');
SELECT ok, status, error IS NOT NULL AS failed FROM concord.ping('limits_a');
SELECT count(concord.ping('limits_a')) FROM generate_series(1, 3);
SELECT ok, error FROM concord.ping('limits_a');
SELECT server, state, rate, concurrency, in_flight, budget_left, until > now() + interval '59 min' AS in_an_hour, reason, hint
FROM concord.system WHERE server LIKE 'limits%' ORDER BY server;
DROP SERVER limits_a CASCADE;

-- an account of the same name that is another one, as its server has another owner
CREATE ROLE limits_other;
GRANT USAGE ON FOREIGN DATA WRAPPER concord TO limits_other;
SET ROLE limits_other;
CREATE SERVER limits_c FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/c/', account 'acme');
CREATE SERVER limits_d FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/c/');
ALTER SERVER limits_d OPTIONS (ADD account 'acme');
ALTER SERVER limits_d OPTIONS (SET account 'acme of others');
RESET ROLE;
ALTER SERVER limits_b OPTIONS (SET rate '700/min');
ALTER SERVER limits_c OWNER TO CURRENT_USER;
ALTER SERVER limits_b OPTIONS (SET rate '600/min');
DROP SERVER limits_c;
DROP SERVER limits_d;
REVOKE USAGE ON FOREIGN DATA WRAPPER concord FROM limits_other;
DROP ROLE limits_other;
DROP SERVER limits_b CASCADE;

-- with more accounts than have a place, those of idle ones are used again
DO $$
BEGIN
  FOR i IN 1 .. 300 LOOP
    EXECUTE format('CREATE SERVER limits_%s FOREIGN DATA WRAPPER concord OPTIONS (connector ''rest'', url ''http://127.0.0.1:1/'')', i);
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER limits_%s OPTIONS (auth ''none'')', i);
    PERFORM concord.ping(format('limits_%s', i)::name);
  END LOOP;
END $$;
SELECT count(*) FILTER (WHERE state = 'ok') BETWEEN 200 AND 256 AS some_have, bool_or(state = 'ok') FILTER (WHERE server = 'limits_1') AS first_has,
  bool_or(state = 'ok') FILTER (WHERE server = 'limits_300') AS last_has, sum(in_flight) AS in_flight
FROM concord.system WHERE server LIKE 'limits%';
SET client_min_messages = warning;
DO $$ BEGIN FOR i IN 1 .. 300 LOOP EXECUTE format('DROP SERVER limits_%s CASCADE', i); END LOOP; END $$;
RESET client_min_messages;

-- member "limits" of a connector's definition
CREATE FUNCTION limits_try(limits jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  INSERT INTO concord.connector (name, protocol, definition) VALUES ('limits_try', 'rest', jsonb_build_object('limits', limits));
  DELETE FROM concord.connector WHERE name = 'limits_try';
  RETURN 'taken';
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN detail;
END $$;
SELECT limits_try(l::jsonb) FROM (VALUES
  ('{"form": "ietf"}'),
  ('[{"remaining": "X-RateLimit-Remaining", "limit": "X-RateLimit-Limit", "reset": "X-RateLimit-Reset", "reset_form": "epoch"}]'),
  ('{"used": "x-used", "limit": 5000, "window": "1d"}'),
  ('{"form": "ratio", "header": "sforce-limit-info", "name": "api-usage", "window": "1d"}'),
  ('"ietf"'),
  ('["ietf"]'),
  ('{"form": "itef"}'),
  ('{"form": "ratio"}'),
  ('{"limit": 5000}'),
  ('{"used": "x-used"}'),
  ('{"remaining": "x remaining"}'),
  ('{"remaining": "x", "limit": 0}'),
  ('{"remaining": "x", "reset_form": "minutes"}'),
  ('{"remaining": "x", "window": "20"}'),
  ('{"remainign": "x"}')) AS v (l);
DROP FUNCTION limits_try;
