-- connectors whose requests are data: paths, queries, headers and bodies with places
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SCHEMA shape_test;
SET search_path = shape_test;
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);
INSERT INTO item VALUES (7, 'Nut "M6" {key} é', 1.50), (8, NULL, 2);

-- what is no place, no header, no address is refused when the row is written
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": "{objekt}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": "{object}/{key"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": "../{object}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": "{object}/{body}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": 5}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"body": {"a": {"b": ["{bodi}"]}}}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"body": {"a": "{body:base65}"}}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"body": {"...": "{key}"}}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"body": "{items}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"headers": {"A B": "c"}}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"headers": {"Content-Length": "1"}}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"headers": {"Authorization": "Bearer x"}}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', E'{"headers": {"X": "a\\r\\nb: c"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"headers": ["X"]}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"content_type": "text/plain"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"query": "a=b"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": "./{object}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": "{object}/%2E%2e/{key}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"create": {"path": "{object}/.#{key}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', E'{"idempotency_header": "X\\r\\nY"}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"idempotency_header": "Content-Length"}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"find": {"path": "{object}"}, "find_path": "data..id"}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('shape_bad', 'rest', '{"batch": {"format": "json_array", "answer": {"success": "results..ok"}}}');

-- each place and form, alone and within a text
INSERT INTO concord.connector (name, protocol, definition) VALUES ('shape_all', 'rest', '{
  "create": {"method": "PUT", "path": "v1/{object}/{key.name}/{key}", "query": {"$top": "1", "q": "{key} of {object}"},
	"body": {"body": "{body}", "fields": "{fields}", "record": "{record}", "text": "{body:text}", "base64": "{body:base64}",
	  "object": "{object}", "key": "{key}", "number": "{key:json}", "mapping": "{mapping}", "in": "<{object}:{key}>",
	  "spread": {"...": "{fields}", "kind": "{object}"}, "only": {"...": "{body}"}, "list": [1, true, null, "{key:json}", []],
	  "graphql": "mutation { itemSet(id: \"{key}\") { item { id } userErrors { field } } }"}}}');
CREATE SERVER shape_all FOREIGN DATA WRAPPER concord OPTIONS (connector 'shape_all', url 'http://127.0.0.1:9/api/');
SELECT concord.create_mapping('shape_all', 'item', 'shape_all', 'items',
  '{"Name": "name", "Price": "price"}', '{"ID": "id"}', paused => true);
SELECT key, method, url, problems FROM concord.preview('shape_all');
SELECT b.key, b.value FROM concord.preview('shape_all', 'id = 7') p, jsonb_each(p.body) b ORDER BY 1;
SELECT convert_from(decode(body->>'base64', 'base64'), 'UTF8')::jsonb = body->'body' AS base64,
	(body->>'text')::jsonb = body->'body' AS text FROM concord.preview('shape_all', 'id = 7');

-- an object without members leaves no comma behind
SELECT concord.alter_mapping('shape_all', fields => '{"Price": null, "Name": {"value": "name", "on": "update"}}');
SELECT body->'spread' AS spread, body->'fields' AS fields FROM concord.preview('shape_all', 'id = 7');

SELECT concord.drop_mapping('shape_all');
DROP SERVER shape_all;
DELETE FROM concord.connector WHERE name = 'shape_all';
DROP SCHEMA shape_test CASCADE;
