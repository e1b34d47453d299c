--
-- Fields of both sides: base, ours, theirs, and the policies.
--
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT concord.wait_for_capture('60s');
CREATE SERVER ibc_crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/');
SELECT concord.pause_system('ibc_crm');
CREATE TABLE ibc_items (id int PRIMARY KEY, l text, r text, n text, stock numeric(12,2), m text, own text, theirs text);
SELECT concord.create_mapping('ibc_items', 'ibc_items', 'ibc_crm', 'items',
	fields => '{"L": {"column": "l", "owner": "shared", "policy": "local"}, "R": {"column": "r", "owner": "shared", "policy": "remote"},
	            "N": {"column": "n", "owner": "shared", "policy": "newest"}, "Stock": {"column": "stock", "owner": "shared", "policy": "additive"},
	            "M": {"column": "m", "owner": "shared", "policy": "manual"}, "Own": "own",
	            "Theirs": {"column": "theirs", "owner": "ibc_crm"}}',
	key => '{"ID": "id"}');
SELECT applied, conflicts FROM concord.apply_records('ibc_items', ARRAY[
	'{"ID": 1, "L": "l0", "R": "r0", "N": "n0", "Stock": 10, "M": "m0", "Theirs": "t0"}',
	'{"ID": 2, "L": "l0", "R": "r0", "N": "n0", "Stock": 10, "M": "m0", "Theirs": "t0"}']);
SELECT local_key, base FROM concord.link_item k JOIN concord.mapping m ON m.id = k.mapping WHERE m.name = 'ibc_items' ORDER BY 1;

-- only theirs has changed
SELECT applied, conflicts FROM concord.apply_records('ibc_items', ARRAY[
	'{"ID": 1, "L": "l1", "R": "r1", "N": "n1", "Stock": 11, "M": "m1", "Theirs": "t1"}']);
SELECT * FROM ibc_items ORDER BY id;
-- only ours has: it stays
UPDATE ibc_items SET l = 'lo', r = 'ro', n = 'no', stock = 15, m = 'mo', own = 'oo' WHERE id = 1;
SELECT applied, unchanged, conflicts FROM concord.apply_records('ibc_items', ARRAY[
	'{"ID": 1, "L": "l1", "R": "r1", "N": "n1", "Stock": 11, "M": "m1", "Own": "xx", "Theirs": "t1"}']);
SELECT * FROM ibc_items ORDER BY id;
-- both have: the policies
SELECT applied, unchanged, conflicts FROM concord.apply_records('ibc_items', ARRAY[
	'{"ID": 1, "L": "l2", "R": "r2", "N": "n2", "Stock": 14, "M": "m2", "Own": "xx", "Theirs": "t2"}']);
SELECT * FROM ibc_items ORDER BY id;
SELECT field, policy, base, ours, theirs FROM concord.conflict WHERE mapping = 'ibc_items' ORDER BY field;
SELECT field, policy, base, ours, theirs, state, winner, value FROM concord.conflict_log WHERE mapping = 'ibc_items' ORDER BY field;
-- the same record again changes nothing
SELECT applied, unchanged, conflicts FROM concord.apply_records('ibc_items', ARRAY[
	'{"ID": 1, "L": "l2", "R": "r2", "N": "n2", "Stock": 14, "M": "m2", "Own": "xx", "Theirs": "t2"}']);
SELECT * FROM ibc_items ORDER BY id;
SELECT count(*) FROM concord.conflict_log WHERE mapping = 'ibc_items';
-- both have come to the same: there is nothing to decide any more
UPDATE ibc_items SET m = 'm2' WHERE id = 1;
SELECT applied, conflicts FROM concord.apply_records('ibc_items', ARRAY['{"ID": 1, "M": "m2"}']);
SELECT field, state FROM concord.conflict_log WHERE mapping = 'ibc_items' AND field = 'M';

-- a person decides
UPDATE ibc_items SET m = 'ours' WHERE id = 2;
SELECT conflicts FROM concord.apply_records('ibc_items', ARRAY['{"ID": 2, "M": "theirs"}']);
SELECT conflict AS c FROM concord.conflict WHERE mapping = 'ibc_items' AND field = 'M' \gset
SELECT concord.resolve(:c, 'nobody');
SELECT concord.resolve(:c, 'value');
SELECT concord.resolve(:c, 'local', '"x"');
SELECT concord.resolve(-1, 'local');
SELECT concord.resolve(:c, 'value', '"between"');
SELECT m FROM ibc_items WHERE id = 2;
SELECT concord.resolve(:c, 'local');
SELECT field, ours, theirs, state, winner, value, decided_by = current_user AS by_me FROM concord.conflict_log WHERE conflict = :c;
UPDATE ibc_items SET m = 'ours' WHERE id = 2;
SELECT conflicts FROM concord.apply_records('ibc_items', ARRAY['{"ID": 2, "M": "theirs 2"}']);
SELECT concord.resolve(conflict, 'remote') FROM concord.conflict WHERE mapping = 'ibc_items' AND field = 'M';
SELECT m FROM ibc_items WHERE id = 2;
UPDATE ibc_items SET m = 'ours' WHERE id = 2;
SELECT conflicts FROM concord.apply_records('ibc_items', ARRAY['{"ID": 2, "M": "theirs 3"}']);
SELECT concord.resolve(conflict, 'local') FROM concord.conflict WHERE mapping = 'ibc_items' AND field = 'M';
SELECT m FROM ibc_items WHERE id = 2;
SELECT conflicts, unchanged FROM concord.apply_records('ibc_items', ARRAY['{"ID": 2, "M": "theirs 3"}']);
SELECT what, count FROM concord.history WHERE mapping = 'ibc_items' AND what = 'resolve' ORDER BY at;

-- not a member of the definer: nothing
CREATE ROLE ibc_other;
GRANT USAGE ON SCHEMA concord TO ibc_other;
GRANT SELECT ON ALL TABLES IN SCHEMA concord TO ibc_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO ibc_other;
SET ROLE ibc_other;
SELECT concord.apply_records('ibc_items', ARRAY['{"ID": 2}']);
SELECT concord.resolve(:c, 'local');
SELECT concord.retry_inbox('ibc_items');
RESET ROLE;
DROP OWNED BY ibc_other;
DROP ROLE ibc_other;
SELECT concord.drop_mapping('ibc_items');
DROP TABLE ibc_items;
DROP SERVER ibc_crm;
