--
-- What people get wrong when they set up and operate delivery: each is refused
-- with a reason, and with what to write instead.
--
SET client_min_messages = warning;
CREATE TABLE mistake (id int, zone text, a text, PRIMARY KEY (id, zone));
CREATE SERVER mistake FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/');
SELECT concord.create_mapping('mistake', 'mistake', 'mistake', 'Mistakes', fields => '{"a": "a"}', paused => true);
RESET client_min_messages;

-- options at the wrong place, and values of the wrong kind
ALTER SERVER mistake OPTIONS (ADD linger '1s');
ALTER SERVER mistake OPTIONS (ADD patch 'changed');
ALTER SERVER mistake OPTIONS (ADD headers 'X-Version: 1');
ALTER SERVER mistake OPTIONS (ADD account '  ');
SELECT concord.alter_mapping('mistake', options => '{"couriers": 2.5}');
SELECT concord.alter_mapping('mistake', options => '{"couriers": 17}');

-- replay by a key that is none
SELECT concord.replay('mistake', keys => '{"idd": 1}');
SELECT concord.replay('mistake', keys => '{"id": 1}');
SELECT concord.replay('mistake', keys => '[{"id": 1, "zone": "n"}, {"id": 1, "zone": "n", "a": "x"}]');
SELECT concord.replay('mistake', keys => '[7]');
SELECT concord.replay('mistake', keys => '{"zone": "n", "id": 1}');

-- a condition over dead letters, not over rows of the table
SELECT concord.retry_dead('mistake', filter => 'zone = ''n''');
SELECT concord.retry_dead('mistake', filter => 'local_key ->> ''zone'' = ''n''');

-- a table that is gone
DROP TABLE mistake;
SELECT concord.replay('mistake');
SELECT concord.resync('mistake');
SELECT concord.drop_mapping('mistake');

-- connectors that come with the extension, or are in use
UPDATE concord.connector SET definition = '{}' WHERE name = 'rest';
DELETE FROM concord.connector WHERE name = 'rest';
DELETE FROM concord.connector;
TRUNCATE concord.connector;
INSERT INTO concord.connector (name, protocol, builtin) VALUES ('mistake', 'rest', true);
INSERT INTO concord.connector (name, protocol) VALUES ('mistake', 'rest');
UPDATE concord.connector SET builtin = true WHERE name = 'mistake';
ALTER SERVER mistake OPTIONS (SET connector 'mistake');
DELETE FROM concord.connector WHERE name = 'mistake';
UPDATE concord.connector SET name = 'mistaken' WHERE name = 'mistake';
UPDATE concord.connector SET description = 'may be changed' WHERE name = 'mistake';
UPDATE concord.connector SET definition = '{"idempotency_header": "X Id"}' WHERE name = 'mistake';
UPDATE concord.connector SET definition = '{"idempotency_header": "Host"}' WHERE name = 'mistake';
UPDATE concord.connector SET definition = '{"idempotency_header": ""}' WHERE name = 'mistake';
UPDATE concord.connector SET definition = '{"update": {"path": "{object}/{key"}}' WHERE name = 'mistake';
DROP SERVER mistake;
UPDATE concord.connector SET name = 'mistaken' WHERE name = 'mistake';
DELETE FROM concord.connector WHERE name = 'mistaken';

-- answers that cannot be
SELECT * FROM concord.explain_outcome('rest', 4000);
SELECT * FROM concord.explain_outcome('rest', 400, method => 'PST');
SELECT rule, outcome, message FROM concord.explain_outcome('rest', 429);
