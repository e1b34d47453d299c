-- OData: what addresses and bodies look like in versions 4 and 2, ids that the system gives
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SCHEMA odata_test;
SET search_path = odata_test;
CREATE TABLE kind (id int PRIMARY KEY, i8 int8, n numeric, f8 float8, f4 float4, b bool, t text, d date, ti time, ts timestamp,
	tz timestamptz, u uuid, by bytea, iv interval);
ALTER TABLE kind REPLICA IDENTITY FULL;
INSERT INTO kind VALUES (1, 9007199254740993, 12.50, 0.1, 1.5, true, 'O''Neil & é', '2026-02-28', '08:15:00.5',
	'2026-03-01 10:00:00.25', '1969-12-31 23:59:59.9995+00', '00000000-0000-4000-8000-000000000001', '\x00ff', '1 day 2 hours'),
	(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(3, 0, 'NaN', 0, 0, false, '', 'infinity', '24:00:00', '-infinity', '2026-01-01 00:00:00+00', NULL, '\x', '0');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('odata_bad', 'odata', '{"version": "v3"}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('odata_bad', 'odata', '{"create": {"path": "{object}"}}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('odata_bad', 'odata', '{"remote_id_type": "int"}');
INSERT INTO concord.connector (name, protocol, definition) VALUES
	('odata_two', 'odata', '{"version": "v2"}'),
	('odata_named', 'odata', '{"key_names": "always", "upsert": "patch"}');
CREATE SERVER odata_two FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata_two', url 'http://127.0.0.1:9/v2/');
CREATE SERVER odata_named FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata_named', url 'http://127.0.0.1:9/v4/');
CREATE SERVER odata_four FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url 'http://127.0.0.1:9/v4/');

-- version 2: bodies
SELECT concord.create_mapping('odata_two', 'kind', 'odata_two', 'Kinds', (
	SELECT jsonb_object_agg(attname, attname) FROM pg_attribute
	WHERE attrelid = 'kind'::regclass AND attnum > 1), paused => true);
SELECT f.key, f.value FROM concord.preview('odata_two', 'id = 1') p, jsonb_each(p.body) f ORDER BY 1;
SELECT jsonb_strip_nulls(body) FROM concord.preview('odata_two', 'id = 2');
SELECT problems FROM concord.preview('odata_two', 'id = 3');

-- version 2 and 4: addresses, of each type; an update is a MERGE in version 2
SELECT concord.alter_mapping('odata_two', key => jsonb_build_object('id', NULL, 'K', x.k), options => '{"upsert": "put"}')
	IS NOT NULL AS altered, (SELECT method || ' ' || url FROM concord.preview('odata_two', 'id = 1')) AS v2
	FROM (VALUES ('id')) x(k);
CREATE FUNCTION addresses(mapping text) RETURNS TABLE (type text, address text) LANGUAGE plpgsql AS $$
DECLARE c text;
BEGIN
	FOREACH c IN ARRAY '{id,i8,n,f8,f4,b,t,d,ti,ts,tz,u,by,iv}'::text[] LOOP
		PERFORM concord.alter_mapping(mapping, key => jsonb_build_object('K', c));
		type := c;
		SELECT p.method || ' ' || p.url INTO address FROM concord.preview(mapping, 'id = 1') p;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT * FROM addresses('odata_two');
SELECT concord.create_mapping('odata_named', 'kind', 'odata_named', 'Kinds', '{"T": "t"}', '{"K": "id"}', paused => true);
SELECT * FROM addresses('odata_named');

-- ids that the system gives: a create goes to the set, without key fields
SELECT concord.create_mapping('odata_four', 'kind', 'odata_four', 'Kinds', '{"T": "t"}', '{"K": "id"}', paused => true,
	options => '{"remote_id": "assigned", "remote_id_path": "ID"}');
SELECT method, url, body FROM concord.preview('odata_four', 'id = 1');
SELECT concord.alter_mapping('odata_four', options => '{"remote_id": "asigned"}');
SELECT concord.alter_mapping('odata_four', options => '{"remote_id_path": "a b"}');
SELECT concord.alter_mapping('odata_four', options => '{"remote_id_path": "a..b"}');
SELECT concord.alter_mapping('odata_four', options => '{"remote_id_type": "guid"}');

SELECT count(concord.drop_mapping(name)) FROM concord.mapping WHERE name LIKE 'odata\_%';
DROP SERVER odata_two;
DROP SERVER odata_named;
DROP SERVER odata_four;
DELETE FROM concord.connector WHERE name LIKE 'odata\_%';
DROP SCHEMA odata_test CASCADE;
