-- base: who this database is, its key, and what the server lacks

CREATE TABLE concord.identity (
	singleton bool PRIMARY KEY DEFAULT true CHECK (singleton),
	system_identifier text NOT NULL,
	dboid oid NOT NULL,
	epoch int NOT NULL,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE concord.identity IS
'who this database is; a copy of it finds another system identifier or oid. epoch: 26 random bits that begin the ids of its events';

INSERT INTO concord.identity (system_identifier, dboid, epoch)
SELECT s.system_identifier::text, d.oid,
	('x' || substr(gen_random_uuid()::text, 1, 7))::bit(28)::int & 67108863
FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_database AS d
WHERE d.datname = current_database();

CREATE TABLE concord.secret (
	name text PRIMARY KEY,
	value bytea NOT NULL
);
COMMENT ON TABLE concord.secret IS
'keys of this database; nobody is granted anything on it';

INSERT INTO concord.secret
VALUES ('message', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) ||
	uuid_send(gen_random_uuid())));

CREATE FUNCTION concord.setup_problems(OUT problem text, OUT advice text)
RETURNS SETOF record LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'concord_setup_report';
COMMENT ON FUNCTION concord.setup_problems() IS
'what the server lacks for capture, with the line to add for each';

CREATE FUNCTION concord.set_up() RETURNS void LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'concord_setup_register';
COMMENT ON FUNCTION concord.set_up() IS
'registers this database with the launcher, as CREATE EXTENSION does, and warns of what the server lacks';
