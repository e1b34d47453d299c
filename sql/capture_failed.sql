-- a value that cannot be encoded: the event is captured, and says so
SELECT concord.wait_for_capture('60s');
SELECT coalesce(max(seq), 0) AS start FROM concord.outbox \gset
CREATE TYPE cap_mood AS ENUM ('sad', 'gone');
CREATE TABLE cap_failed (id int PRIMARY KEY, note text, mood cap_mood);
INSERT INTO concord.captured VALUES ('cap_failed'::regclass);
INSERT INTO cap_failed VALUES (1, 'all well', 'gone'), (2, 'all well', 'sad');
SELECT concord.wait_for_capture('60s');
SET allow_system_table_mods = on;
DELETE FROM pg_enum WHERE enumlabel = 'gone' AND enumtypid = 'cap_mood'::regtype;
RESET allow_system_table_mods;
UPDATE cap_failed SET note = 'label gone';
UPDATE cap_failed SET mood = 'sad';
SELECT concord.wait_for_capture('60s');
SELECT op, new ->> 'id' AS id, new ->> 'note' AS note, regexp_replace(new ->> 'mood', '\d+"', 'N"') AS mood
FROM concord.outbox WHERE seq > :start ORDER BY seq;
DROP TABLE cap_failed;
DROP TYPE cap_mood;
