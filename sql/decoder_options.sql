-- concord_decoder: options
\pset format unaligned
\pset tuples_only on
\set VERBOSITY default
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
\set try 'SELECT data FROM pg_logical_slot_get_changes(''regress_decoder'', NULL, NULL, '
-- unknown: the closest name, and all of them
:try 'include_lns', 'on');
\set VERBOSITY terse
:try 'Format', 'json');
:try 'something_else', 'x');
:try '', 'x');
\set VERBOSITY default
-- repeated
:try 'origin', 'any', 'format', 'json', 'origin', 'any');
-- without a value, or with a wrong one
:try 'batch');
:try 'format', 'xml');
:try 'origin', 'here');
:try 'selection', 'some');
:try 'batch', 'perhaps');
:try 'max_value', '-1');
:try 'max_value', '12 parsecs');
:try 'max_value', '99999GB');
:try 'numbers', 'roman');
:try 'bytea', 'escape');
:try 'format', 'binary', 'version', '2');
:try 'version', '3');
:try 'messages', 'a,,b');
:try 'messages', 'a,');
:try 'messages', 'a*b');
:try 'messages', '"a');
:try 'publication_names', 'a b');
:try 'publication_names', '');
-- contradictory
:try 'selection', 'captured', 'tables', 'public.*');
:try 'publication_names', 'p', 'tables', 'public.*');
:try 'two_phase_gid', 'a*');
:try 'streaming', 'on', 'include_xid', 'off');
:try 'format', 'binary', 'schema', 'once');
-- the binary form is not text
:try 'format', 'binary');
-- what is accepted
:try 'format', 'JSON', 'selection', 'all', 'tables', 'public.*', 'messages', ' a , b ', 'origin', 'local', 'max_value', '1MB', 'batch', 'off',
  'numbers', 'number', 'bytea', 'base64', 'include_xid', 'yes', 'include_lsn', '1', 'include_id', 'no', 'include_ordinal', 't', 'include_time', 'no',
  'include_origin', 'off', 'include_types', 'false', 'include_transaction', 'n');
-- prefixes: what they begin with, a star at the end changes nothing, in double quotes it is one
SELECT count(pg_logical_emit_message(true, p, '')) FROM (VALUES ('app.one'), ('app,two'), ('ap*'), ('other')) AS v (p);
SELECT data::jsonb->'prefix' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'messages', 'app.*, other');
SELECT data::jsonb->'prefix' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'messages', '"app,"');
SELECT data::jsonb->'prefix' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'messages', '"ap*"');
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'messages', 'ap*');
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'messages', '');
SELECT pg_drop_replication_slot('regress_decoder');
