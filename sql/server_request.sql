-- What connectors make of a mapping: addresses, bodies, and what they refuse

SELECT concord.wait_for_capture('60s');

CREATE TABLE server_key (t text PRIMARY KEY, i int, n numeric, u uuid, d date,
  tz timestamptz, ts timestamp, b bool, y bytea, note text, amount numeric(20,2), big bigint);
INSERT INTO server_key VALUES
  ('O''Neil & Söhne/1?#%', 7, -1.50, '00000000-0000-0000-0000-0000000000ab', '2026-11-20',
   '2026-11-20 08:15:00.5+00', '2026-11-20 08:15:00', true, '\xfbff', E'line\n"two"', 123456789012345678.50, 9007199254740993);
CREATE SERVER server_odata FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'http://127.0.0.1:1/odata/v4', service 'sales');
CREATE SERVER server_rest FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://127.0.0.1:1/api/');
CREATE SERVER server_hook FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'webhook', url 'http://127.0.0.1:1/hook?code=7');

-- show(MAPPING): what would be sent
CREATE FUNCTION server_show(name text) RETURNS TABLE (method text, url text, body jsonb, problems text[])
  LANGUAGE sql AS 'SELECT method, url, body, problems FROM concord.preview($1)';

-- odata: a create is a POST to the set, with the key's parts in the body
SELECT concord.create_mapping('server_a', 'server_key', 'server_odata', 'Things',
  '{"Note": "note", "Amount": "amount", "Big": "big", "Address/City": "''Ulm''", "Address/Zip": "null::text"}',
  '{"ID": "t"}', paused => true);
SELECT * FROM server_show('server_a');

-- quoting of keys by their type, as PUT shows it
SELECT concord.create_mapping('server_b', 'server_key', 'server_odata', '/Things/',
  '{"Note": "note"}', '{"ID": "t"}', options => '{"upsert": "put"}', paused => true);
SELECT url FROM server_show('server_b');
SELECT concord.create_mapping('server_c', 'server_key', 'server_odata', 'Things', '{"Amount": "amount"}',
  '{"I": "i", "N": "n", "U": "u", "D": "d", "TZ": "tz", "TS": "ts", "B": "b", "Y": "y", "T": "note"}',
  options => '{"upsert": "put", "numbers": "string", "on_delete": "ignore"}', paused => true);
SELECT * FROM server_show('server_c');

-- parts of a key in the order of the primary key, or of an array
CREATE TABLE server_shelf (a int, zone text, n int, PRIMARY KEY (zone, a));
INSERT INTO server_shelf VALUES (7, 'north', 1);
INSERT INTO concord.connector VALUES ('server_put', 'rest', 'records are put',
  '{"create": {"method": "PUT", "path": "{object}/{key}"}}');
CREATE SERVER server_put FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'server_put', url 'http://127.0.0.1:1/api/');
SELECT concord.create_mapping('server_k1', 'server_shelf', 'server_put', 'shelf', '{"n": "n"}',
  paused => true);
SELECT url, body FROM server_show('server_k1');
SELECT concord.create_mapping('server_k2', 'server_shelf', 'server_put', 'shelf', '{"n": "n"}',
  '[{"zone": "zone"}, {"number": "n"}, {"a": "a"}]',
  options => '{"on_delete": "ignore"}', paused => true);
SELECT url, body FROM server_show('server_k2');
SELECT concord.alter_mapping('server_k2', key => '[{"a": "a"}, {"zone": "zone"}]');
SELECT url, body FROM server_show('server_k2');
SELECT name, expression FROM concord.mapping_field WHERE mapping = 'server_k2' AND part = 'key' ORDER BY 1;
SELECT concord.alter_mapping('server_k2', key => '{"n": "n"}');
SELECT concord.alter_mapping('server_k2', key => '[{"a": "a", "zone": "zone"}]');
SELECT concord.alter_mapping('server_k2', key => '[{"a": "a"}, {"a": "zone"}]');
SELECT concord.alter_mapping('server_k2', key => '"a"');

SELECT count(concord.drop_mapping(m)) FROM unnest('{server_k1,server_k2}'::text[]) AS m;
DROP SERVER server_put;
DELETE FROM concord.connector WHERE name = 'server_put';
DROP TABLE server_shelf;

-- rest
SELECT concord.create_mapping('server_d', 'server_key', 'server_rest', 'things/all',
  '{"note": "note", "gone": "null::text"}', '{"id": "t"}', options => '{"nulls": "omit"}', paused => true);
SELECT * FROM server_show('server_d');

-- webhook: the address as it was given, with or without a path more
SELECT concord.create_mapping('server_e', 'server_key', 'server_hook', '', '{"note": "note"}', paused => true);
SELECT * FROM server_show('server_e');
SELECT concord.create_mapping('server_f', 'server_key', 'server_hook', 'a/b', '{"note": "note"}',
  options => '{"cloudevents": "structured"}', paused => true);
SELECT method, url, body - 'id' - 'time' - 'source' AS body FROM server_show('server_f');

-- what a connector refuses
SELECT concord.create_mapping('server_g', 'server_key', 'server_odata', '', '{"note": "note"}');
SELECT concord.create_mapping('server_g', 'server_key', 'server_odata', '../other', '{"note": "note"}');
SELECT concord.create_mapping('server_g', 'server_key', 'server_odata', 'http://elsewhere/', '{"note": "note"}');
SELECT concord.create_mapping('server_g', 'server_key', 'server_odata', 'Things?$filter=x', '{"note": "note"}');
SELECT concord.create_mapping('server_g', 'server_key', 'server_odata', 'Things', '{"note": "note"}',
  options => '{"cloudevents": "off"}');
SELECT concord.create_mapping('server_g', 'server_key', 'server_rest', 'things', '{"note": "note"}',
  options => '{"if_match": "star"}');
SELECT concord.create_mapping('server_g', 'server_key', 'server_hook', 'things', '{"note": "note"}',
  options => '{"upsert": "put"}');
SELECT concord.create_mapping('server_g', 'server_key', 'server_odata', 'Things', '{"note": "note"}',
  options => '{"upsert": "merge"}');

-- a key that cannot name a record
INSERT INTO server_key (t, note) VALUES ('..', 'dots'), ('', 'empty');
SELECT key, method, url, problems FROM concord.preview('server_d', 'note IN (''dots'', ''empty'')');

-- another environment
ALTER SERVER server_rest OPTIONS (environment 'prod');
SELECT problems FROM server_show('server_d') LIMIT 1;

SELECT count(concord.drop_mapping(m)) FROM unnest('{server_a,server_b,server_c,server_d,server_e,server_f}'::text[]) AS m;
DROP FUNCTION server_show(text);
DROP SERVER server_odata, server_rest, server_hook;
DROP TABLE server_key;
