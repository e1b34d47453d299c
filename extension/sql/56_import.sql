-- Foreign tables from a service's metadata: extension/fdw, import*.c.

-- What IMPORT FOREIGN SCHEMA would run, one command a row: CREATE FOREIGN TABLE
-- and the comments.  service is a path under the server's url, '.' the
-- server's own; options are those of IMPORT FOREIGN SCHEMA.  With a document
-- (the text of $metadata) nothing is asked of the server, which need not exist.
CREATE FUNCTION concord.import_commands(server name, service text,
	options jsonb DEFAULT '{}', document text DEFAULT NULL)
	RETURNS SETOF text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'concord_import_commands';
COMMENT ON FUNCTION concord.import_commands(name, text, jsonb, text) IS
	'the commands that IMPORT FOREIGN SCHEMA would run, comments included';

-- A hash of a service's metadata: equal as long as sets, types, properties,
-- keys, navigations and capabilities are; labels and their order do not count.
CREATE FUNCTION concord.metadata_fingerprint(server name, service text,
	document text DEFAULT NULL)
	RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'concord_metadata_fingerprint_of';
COMMENT ON FUNCTION concord.metadata_fingerprint(name, text, text) IS
	'a hash of a service''s metadata, to notice that they changed';
