--
-- Records of a system become rows: owners, values, what is parked, what waits.
--
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT concord.wait_for_capture('60s');

CREATE SERVER inb_crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/');
SELECT concord.pause_system('inb_crm');
CREATE TABLE inb_customers (id text PRIMARY KEY, name text, city varchar(10), score int CHECK (score < 1000),
	seen timestamptz, tags text[], extra jsonb, note text DEFAULT 'none');
SELECT concord.create_mapping('inb_customers', 'inb_customers', 'inb_crm', 'customers',
	fields => '{"Name": {"column": "name", "owner": "inb_crm"}, "City": {"column": "city", "owner": "inb_crm"},
	            "Score": {"column": "score", "owner": "inb_crm"}, "Seen": {"column": "seen", "owner": "inb_crm"},
	            "Tags": {"column": "tags", "owner": "inb_crm"}, "Extra": {"column": "extra", "owner": "inb_crm"}}',
	key => '{"ID": "id"}', options => '{"pull": {"every": "1 day"}}');

-- new rows; what a record does not say has its default
SELECT * FROM concord.apply_records('inb_customers', ARRAY[
	'{"ID": "C1", "Name": "Ada", "City": "London", "Score": 7, "Seen": "2026-11-20T08:15:00.5Z", "Tags": ["a", "b,c"], "Extra": {"k": [1, null]}}',
	'{"ID": "C2", "Name": "Bob \u00e9", "City": null, "Score": "8"}']);
SELECT id, name, city, score, seen AT TIME ZONE 'UTC' AS seen, tags, extra, note FROM inb_customers ORDER BY id;
SELECT local_key, remote_id FROM concord.link WHERE mapping = 'inb_customers' ORDER BY remote_id;
SELECT outcome, local_key, remote_id FROM concord.applied WHERE mapping = 'inb_customers' ORDER BY remote_id;

-- again: nothing to do
SELECT xmin AS before FROM inb_customers WHERE id = 'C1' \gset
SELECT * FROM concord.apply_records('inb_customers', ARRAY[
	'{"ID": "C1", "Name": "Ada", "City": "London", "Score": 7, "Seen": "2026-11-20T08:15:00.5Z", "Tags": ["a", "b,c"], "Extra": {"k": [1, null]}}',
	'{"ID": "C2", "Name": "Bob \u00e9", "City": null, "Score": "8"}']);
SELECT xmin = :'before'::xid AS untouched FROM inb_customers WHERE id = 'C1';

-- only what it says; two records of one key are applied in order
SELECT * FROM concord.apply_records('inb_customers', ARRAY[
	'{"ID": "C1", "Name": "Ada L."}', '{"ID": "C2", "Score": 9}', '{"ID": "C1", "Name": "Ada Lovelace", "Score": 10}']);
SELECT id, name, city, score FROM inb_customers ORDER BY id;

-- what is wrong is parked with its reason, and the rest goes on
SELECT * FROM concord.apply_records('inb_customers', ARRAY[
	'{"ID": "B1", "Score": "many"}', '{"ID": "B2", "Score": 5000}', '{"ID": "B3", "City": "Llanfairpwllgwyngyll"}',
	'{"ID": "B4", "Name": "nul \u0000"}', '{"Name": "no key"}', 'no json', '[1, 2]', '{"ID": "B5", "Name": {"first": "x"}}',
	'{"ID": "C3", "Name": "Carol"}', NULL, '{"ID": "", "Name": "empty"}', '{"ID": null}']);
SELECT rule, error, remote_id, left(record, 40) AS record, state FROM concord.inbox WHERE mapping = 'inb_customers' ORDER BY id;
SELECT id, name FROM inb_customers ORDER BY id;

-- a later record takes the place of one that is parked
SELECT applied FROM concord.apply_records('inb_customers', ARRAY[
	'{"ID": "B2", "Name": "x", "City": "y", "Score": 50, "Seen": null, "Tags": null, "Extra": null}']);
SELECT remote_id, state, why, error FROM concord.inbox WHERE mapping = 'inb_customers' AND remote_id IN ('B2', 'C3') ORDER BY id;

-- what is older than what was applied is not applied
SELECT applied, unchanged FROM concord.apply_records('inb_customers', ARRAY['{"ID": "C3", "Name": "Carol 2"}'],
	remote_changed => ARRAY['2026-11-20 10:00+00'::timestamptz]);
SELECT applied, unchanged FROM concord.apply_records('inb_customers', ARRAY['{"ID": "C3", "Name": "Carol 1"}'],
	remote_changed => ARRAY['2026-11-20 09:00+00'::timestamptz]);
SELECT name FROM inb_customers WHERE id = 'C3';

-- deletes: links go; the row only where option pull says so
SELECT applied FROM concord.apply_records('inb_customers', ARRAY['{"ID": "C3"}'], op => 'delete');
SELECT remote_id, error FROM concord.inbox WHERE remote_id = 'C3';
SELECT count(*) AS rows, (SELECT count(*) FROM concord.link WHERE mapping = 'inb_customers' AND remote_id = 'C3') AS links
	FROM inb_customers WHERE id = 'C3';
SELECT concord.alter_mapping('inb_customers', options => '{"pull": {"delete": "delete"}}');
SELECT applied FROM concord.apply_records('inb_customers', ARRAY['{"ID": "C3", "Name": "Carol 3"}']);
SELECT applied FROM concord.apply_records('inb_customers', ARRAY['{"ID": "C3"}', '{"ID": "nobody"}'], op => 'delete');
SELECT remote_id, error FROM concord.inbox WHERE remote_id = 'C3';
SELECT count(*) AS rows, (SELECT count(*) FROM concord.link WHERE mapping = 'inb_customers' AND remote_id = 'C3') AS links
	FROM inb_customers WHERE id = 'C3';
-- and without new rows
SELECT concord.alter_mapping('inb_customers', options => '{"pull": {"insert": false}}');
SELECT applied, unchanged FROM concord.apply_records('inb_customers', ARRAY['{"ID": "N1", "Name": "new"}']);

-- parked ones again, or given up
SELECT concord.discard_inbox('inb_customers', NULL, NULL);
SELECT concord.retry_inbox('inb_customers', -1);
SELECT concord.discard_inbox('inb_customers', NULL, 'made up for a test') > 5 AS discarded;
SELECT what, why FROM concord.history WHERE mapping = 'inb_customers' AND what = 'discard_inbox';
SELECT concord.apply_records('nobody', ARRAY['{}']);
SELECT concord.apply_records('inb_customers', ARRAY['{}'], op => 'merge');
SELECT concord.apply_records('inb_customers', ARRAY['{}', '{}'], remote_ids => ARRAY['x']);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT concord.apply_records('inb_customers', ARRAY['{}']);
ROLLBACK;
SELECT concord.drop_mapping('inb_customers');
DROP TABLE inb_customers;
DROP SERVER inb_crm;
