-- CREATE EXTENSION and what it makes of a server that has everything

-- nothing is missing
SELECT * FROM concord.setup_problems();

-- the database is registered, and its launcher is there
SELECT c FROM pg_database d JOIN pg_db_role_setting s ON d.oid = s.setdatabase, unnest(s.setconfig) c
WHERE d.datname = current_database() AND s.setrole = 0 AND c LIKE 'pg_concord%';
SELECT backend_type FROM pg_stat_activity WHERE backend_type = 'concord launcher';

-- the identity is this database's
SELECT i.system_identifier = s.system_identifier::text AS system, i.dboid = d.oid AS dboid,
	i.epoch BETWEEN 0 AND 67108863 AS epoch
FROM concord.identity i, pg_control_system() s, pg_database d
WHERE d.datname = current_database();
SELECT name, length(value) FROM concord.secret;

-- nothing is granted to PUBLIC
SELECT nspacl::text ~ '[{,]=' AS schema_open FROM pg_namespace WHERE nspname = 'concord';
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'concord'::regnamespace
AND (p.proacl IS NULL OR p.proacl::text ~ '[{,]=');
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'concord'::regnamespace
AND c.relacl::text ~ '[{,]=';
CREATE ROLE concord_nobody;
SET ROLE concord_nobody;
SELECT * FROM concord.setup_problems();
SELECT value FROM concord.secret;
RESET ROLE;

-- two functions want the extension's owner, whoever may execute them
GRANT USAGE ON SCHEMA concord TO concord_nobody;
GRANT EXECUTE ON FUNCTION concord.set_up(), concord.reset_capture() TO concord_nobody;
SET ROLE concord_nobody;
SELECT concord.set_up();
SELECT concord.reset_capture();
RESET ROLE;
DROP OWNED BY concord_nobody;
DROP ROLE concord_nobody;

-- settings refuse what they cannot mean
ALTER SYSTEM SET pg_concord.hold_limit = '10';
ALTER SYSTEM SET pg_concord.hold_limit = '10GB, 5GB';
ALTER SYSTEM SET pg_concord.hold_limit = 'soon';
ALTER SYSTEM SET pg_concord.hold_limit = 'a lot';
ALTER SYSTEM SET pg_concord.hold_limit = '1 GB, 2 weeks';
ALTER SYSTEM SET pg_concord.allowed_networks = '10.0.0.0/8; 0.0.0.0/0';
ALTER SYSTEM SET pg_concord.allowed_networks = '10.0.0.0/33';
ALTER SYSTEM SET pg_concord.allowed_networks = '10.0.0.0/';
ALTER SYSTEM SET pg_concord.allowed_networks = '10.0.0.0/8, fd00::/8, 192.168.1';
ALTER SYSTEM SET pg_concord.couriers = 0;
SET pg_concord.delivery = off;
SET pg_concord.no_such_setting = 1;
SHOW pg_concord.hold_limit;
SHOW pg_concord.couriers;
SHOW pg_concord.outbox_retention;
