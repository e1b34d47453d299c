-- a value that cannot be encoded: the event is captured, and says so
SELECT concord.wait_for_capture('60s');
SELECT coalesce(max(seq), 0) AS start FROM concord.outbox \gset
CREATE TYPE cap_mood AS ENUM ('sad', 'gone');
-- an output function that raises: enum_out() of a number that is no label
SET client_min_messages = error;
CREATE TYPE cap_odd;
CREATE FUNCTION cap_odd_in(cstring) RETURNS cap_odd LANGUAGE internal STRICT AS 'int4in';
CREATE FUNCTION cap_odd_out(cap_odd) RETURNS cstring LANGUAGE internal STRICT AS 'enum_out';
CREATE TYPE cap_odd (INPUT = cap_odd_in, OUTPUT = cap_odd_out, INTERNALLENGTH = 4, PASSEDBYVALUE);
RESET client_min_messages;
CREATE TABLE cap_failed (id int PRIMARY KEY, note text, mood cap_mood, odd cap_odd);
INSERT INTO concord.captured VALUES ('cap_failed'::regclass);
INSERT INTO cap_failed VALUES (1, 'all well', 'gone'), (2, 'all well', 'sad');
SELECT concord.wait_for_capture('60s');
SET allow_system_table_mods = on;
DELETE FROM pg_enum WHERE enumlabel = 'gone' AND enumtypid = 'cap_mood'::regtype;
RESET allow_system_table_mods;
UPDATE cap_failed SET note = 'label gone';
UPDATE cap_failed SET mood = 'sad';
INSERT INTO cap_failed SELECT i, 'odd', 'sad', '7' FROM generate_series(3, 1002) i;
SELECT concord.wait_for_capture('60s');
SELECT op, new ->> 'id' AS id, new ->> 'note' AS note, regexp_replace(new ->> 'mood', '\d+"', 'N"') AS mood
FROM concord.outbox WHERE seq > :start AND new ->> 'note' <> 'odd' ORDER BY seq;
SELECT new ->> 'odd' AS odd, count(*) FROM concord.outbox WHERE seq > :start AND new ->> 'note' = 'odd' GROUP BY 1;
DROP TABLE cap_failed;
DROP TYPE cap_mood;
SET client_min_messages = error;
DROP TYPE cap_odd CASCADE;
