-- captured rows are in concord.outbox, in commit order, exactly once
SELECT concord.wait_for_capture('60s');
SELECT coalesce(max(seq), 0) AS start FROM concord.outbox \gset

CREATE TABLE cap_order (id int PRIMARY KEY, customer text, total numeric(10,2), at timestamptz);
CREATE TABLE cap_other (id int PRIMARY KEY);
INSERT INTO cap_order VALUES (1, 'before');
INSERT INTO concord.captured VALUES ('cap_order'::regclass);

INSERT INTO cap_order VALUES (2, 'Ann', 1.50, '2026-01-01 12:00+02'), (3, 'Bo', NULL, NULL);
UPDATE cap_order SET customer = 'Änn "x"' WHERE id = 2;
UPDATE cap_order SET id = 4 WHERE id = 3;
DELETE FROM cap_order WHERE id = 1;

-- another table is not captured
INSERT INTO cap_other VALUES (1);

-- savepoints: what was rolled back is not there, and ordinals have no holes
BEGIN;
INSERT INTO cap_order VALUES (10, 'kept');
SAVEPOINT a;
INSERT INTO cap_order VALUES (11, 'rolled back');
ROLLBACK TO a;
INSERT INTO cap_order VALUES (12, 'kept');
SAVEPOINT b;
UPDATE cap_order SET total = 7 WHERE id = 12;
RELEASE b;
COMMIT;

BEGIN;
INSERT INTO cap_order VALUES (13, 'rolled back');
ROLLBACK;

-- values do not depend on the session's settings
SET DateStyle = 'German';
SET TimeZone = 'Asia/Tokyo';
INSERT INTO cap_order VALUES (14, NULL, 'NaN', '2026-06-01 00:00');
RESET DateStyle;
RESET TimeZone;

-- two-phase commit arrives at COMMIT PREPARED
BEGIN;
INSERT INTO cap_order VALUES (15, 'prepared');
PREPARE TRANSACTION 'cap_rows';
INSERT INTO cap_order VALUES (16, 'in between');
COMMIT PREPARED 'cap_rows';

TRUNCATE cap_order;

SELECT concord.wait_for_capture('60s');
SELECT op, source, ordinal, old, new FROM concord.outbox WHERE seq > :start ORDER BY seq;

-- seq has no gaps, ids differ, positions grow
SELECT max(seq) - :start = count(*) AS no_gaps, count(*) = count(DISTINCT event_id) AS ids_differ,
	bool_and(position_grows) AS positions_grow, bool_and(uuid_extract) AS version_8
FROM (SELECT seq, event_id, (lsn, ordinal) > lag((lsn, ordinal)) OVER (ORDER BY seq)
		OR lag(seq) OVER (ORDER BY seq) IS NULL AS position_grows,
		substr(event_id::text, 15, 1) = '8' AND substr(event_id::text, 20, 1) IN ('8', '9', 'a', 'b') AS uuid_extract
	FROM concord.outbox WHERE seq > :start) e;

-- leaving: nothing more is captured
DELETE FROM concord.captured WHERE relid = 'cap_order'::regclass;
INSERT INTO cap_order VALUES (20, 'not captured');
SELECT concord.wait_for_capture('60s');
SELECT count(*) FROM concord.outbox WHERE seq > :start AND new ->> 'id' = '20';
DROP TABLE cap_order, cap_other;
