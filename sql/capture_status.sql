-- concord.capture, and the extension's own tables are not captured
SELECT concord.wait_for_capture('60s');
SELECT slot = 'pg_concord_' || d.oid AS slot, state, ready, lag_bytes >= 0 AS lag, captured >= confirmed AS order,
	blockers, reason, hint, decoder_pid IS NOT NULL AS decoder, capture_pid IS NOT NULL AS capture
FROM concord.capture, pg_database d WHERE datname = current_database();
SELECT plugin, slot_type, temporary FROM pg_replication_slots s, concord.capture c WHERE s.slot_name = c.slot;

-- the workers' own writes carry an origin that the decoder drops; a person's
-- writes into our tables are dropped as changes of schema concord
SELECT last_seq AS before FROM concord.capture \gset
INSERT INTO concord.captured VALUES ('concord.capture_gap'::regclass);
INSERT INTO concord.capture_gap (after_lsn, after_seq, reset_by) VALUES ('0/1', 1, 'postgres');
DELETE FROM concord.capture_gap WHERE after_lsn = '0/1';
DELETE FROM concord.captured WHERE relid = 'concord.capture_gap'::regclass;
SELECT concord.wait_for_capture('60s');
SELECT last_seq - :before AS more FROM concord.capture;

-- inside a transaction that has written it works once capture is ready
BEGIN;
CREATE TABLE cap_status (id int);
SELECT concord.wait_for_capture('60s');
ROLLBACK;
SELECT concord.wait_for_capture(NULL);
-- reset_capture() does nothing where there is no gap
SELECT concord.reset_capture();
SELECT state, slot_lsn <> '0/0' AS slot FROM concord.capture, concord.capture_state;
SELECT count(*) FROM concord.capture_gap;
