-- Options that join several events, or several tables, into one record: what
-- is refused.  What they do is test/t/322_delivery_coalesce.pl and after.
SELECT concord.wait_for_capture('60s');
\set SHOW_CONTEXT never
CREATE SCHEMA doc;
SET search_path = doc;
CREATE SERVER doc_erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url 'http://127.0.0.1:9/odata/');
CREATE SERVER doc_hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url 'http://127.0.0.1:9/');
CREATE SERVER doc_api FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/');
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, note text);
CREATE FUNCTION try(options jsonb, server name = 'doc_erp') RETURNS int LANGUAGE sql AS
$$ SELECT concord.create_mapping('doc_try', 'doc.orders', server, 'Orders', '{"Note": "note"}', options => options, paused => true) $$;

-- coalesce
SELECT try('{"coalesce": "maybe"}');
SELECT try('{"coalesce": true, "ordering": "none"}');
SELECT try('{"coalesce": true, "replay": "events"}');
SELECT try('{"coalesce": true}', 'doc_hook');
BEGIN;
SELECT try('{"coalesce": true, "replay": "state", "unchanged": "suppress"}', 'doc_hook');
SELECT concord.alter_mapping('doc_try', options => '{"ordering": "customer"}');
SELECT concord.alter_mapping('doc_try', options => '{"ordering": "none"}');
ROLLBACK;

-- patch
SELECT try('{"patch": "some"}');
SELECT try('{"patch": "changed", "replay": "events"}');
SELECT try('{"patch": "changed"}', 'doc_hook');
INSERT INTO concord.connector VALUES ('doc_put', 'rest', 'updates replace', '{"update": {"method": "PUT", "path": "{object}/{key}"}}');
CREATE SERVER doc_put FOREIGN DATA WRAPPER concord OPTIONS (connector 'doc_put', url 'http://127.0.0.1:9/');
SELECT try('{"patch": "changed"}', 'doc_put');

-- depends
CREATE TABLE item (order_id bigint, pos int, product text, PRIMARY KEY (order_id, pos));
CREATE TABLE note (id int PRIMARY KEY, order_id int, n int);
CREATE TABLE label (id text PRIMARY KEY, order_id text);
ALTER TABLE label REPLICA IDENTITY FULL;
CREATE VIEW item_view AS SELECT * FROM item;
SELECT try('{"depends": ["item"]}');
SELECT try('{"depends": {"item": "order_id"}}');
SELECT try('{"depends": {"item": {}}}');
SELECT try('{"depends": {"item": {"id": 1}}}');
SELECT try('{"depends": {"itme": {"id": "order_id"}}}');
SELECT try('{"depends": {"nowhere.item": {"id": "order_id"}}}');
SELECT try('{"depends": {"item_view": {"id": "order_id"}}}');
SELECT try('{"depends": {"orders": {"id": "id"}}}');
SELECT try('{"depends": {"item": {"customer": "order_id"}}}');
SELECT try('{"depends": {"item": {"id": "order_id", "customer": "product"}}}');
SELECT try('{"depends": {"item": {"id": "order"}}}');
SELECT try('{"depends": {"note": {"id": "order_id"}}}');
SELECT try('{"depends": {"label": {"id": "order_id"}}}');
SELECT try('{"depends": {"item": {"id": "order_id"}, "doc.item": {"id": "order_id"}}}');
SELECT concord.create_topic_mapping('doc_try', 'doc.topic', 'doc_erp', 'X', '{"A": "payload"}', key => '{"ID": "key"}', options => '{"depends": {"item": {"id": "order_id"}}}');
SELECT try('{"depends": {"item": {"id": "order_id"}}, "couriers": 2}');
-- rights on those tables too
CREATE ROLE doc_user;
GRANT USAGE ON SCHEMA concord, doc TO doc_user;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord, doc TO doc_user;
GRANT USAGE ON FOREIGN SERVER doc_erp TO doc_user;
ALTER TABLE orders OWNER TO doc_user;
SET ROLE doc_user;
SELECT try('{"depends": {"item": {"id": "order_id"}}}');
RESET ROLE;
ALTER TABLE orders OWNER TO CURRENT_USER;
-- what is captured
CREATE FUNCTION captured() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(relid::regclass::text, ', ' ORDER BY relid::regclass::text) FROM concord.captured
	WHERE relid IN (SELECT oid FROM pg_class WHERE relnamespace = 'doc'::regnamespace) $$;
ALTER TABLE note REPLICA IDENTITY FULL;
SELECT try('{"depends": {"item": {"id": "order_id"}, "doc.note": {"id": "order_id"}}}');
SELECT captured();
SELECT concord.alter_mapping('doc_try', options => '{"depends": {"item": null}}');
SELECT captured();
SELECT concord.revert_mapping('doc_try', 1);
SELECT captured();
SELECT d.name, d.source FROM concord.mapping_depends d JOIN concord.mapping m ON m.id = d.mapping WHERE m.name = 'doc_try' ORDER BY 1;
-- renamed: the definition follows
ALTER TABLE item RENAME TO line;
SELECT method FROM concord.preview('doc_try');
SELECT concord.alter_mapping('doc_try', fields => '{"Customer": "customer"}');
ALTER TABLE line RENAME TO item;
-- dropped
DROP TABLE note;
SELECT state, state_reason FROM concord.mapping WHERE name = 'doc_try';
SELECT concord.resume('doc_try');
SELECT concord.alter_mapping('doc_try', options => '{"depends": {"doc.note": null}}');
SELECT state, state_reason FROM concord.mapping WHERE name = 'doc_try';
SELECT captured();
SELECT concord.drop_mapping('doc_try');
SELECT captured();
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA concord, doc FROM doc_user;
REVOKE ALL ON SCHEMA concord, doc FROM doc_user;
REVOKE ALL ON FOREIGN SERVER doc_erp FROM doc_user;
DROP ROLE doc_user;

-- parent and children
CREATE TABLE line (order_id int, pos int, product text, PRIMARY KEY (order_id, pos));
CREATE FUNCTION mapping(name text, source regclass, fields jsonb, options jsonb = '{}', server name = 'doc_erp') RETURNS int LANGUAGE sql AS
$$ SELECT concord.create_mapping(name, source, server, name, fields, options => options, paused => true) $$;
SELECT mapping('doc_orders', 'orders', '{"Note": "note", "Lines": {"children": "doc_lines"}}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_orders": {"id": "order_id"}}}');
SELECT mapping('doc_orders', 'orders', '{"Note": "note"}');
SELECT mapping('doc_hooked', 'orders', '{"Note": "note"}', '{}', 'doc_hook');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": "doc_orders"}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_orders": {"id": "order_id"}, "b": {"id": "id"}}}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_orders": {"id": "ordr"}}}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_orders": {"id": "product"}}}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_orders": {"note": "product"}}}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_lines": {"order_id": "order_id", "pos": "pos"}}}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_hooked": {"id": "order_id"}}}');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_orders": {"id": "order_id"}}}', 'doc_api');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}', '{"parent": {"doc_orders": {"id": "order_id"}}}', 'doc_hook');
SELECT mapping('doc_lines', 'line', '{"Product": "product"}');
SELECT concord.alter_mapping('doc_orders', fields => '{"Lines": {"children": "doc_lines"}}');
SELECT concord.alter_mapping('doc_lines', options => '{"parent": {"doc_orders": {"id": "order_id"}}}');
SELECT concord.alter_mapping('doc_orders', fields => '{"Lines": {"children": "doc_lines", "on": "create"}}');
SELECT concord.alter_mapping('doc_orders', fields => '{"Lines": {"children": "doc_lines"}, "More": {"children": "doc_lines"}}');
SELECT concord.alter_mapping('doc_orders', fields => '{"Lines": {"children": "doc_lines"}}');
SELECT name, expression, "on", children FROM concord.mapping_field WHERE mapping = 'doc_orders' ORDER BY part, name;
SELECT concord.alter_mapping('doc_lines', options => '{"parent": null}');
SELECT concord.alter_mapping('doc_orders', options => '{"parent": {"doc_lines": {"order_id": "id", "pos": "id"}}}');
SELECT concord.drop_mapping('doc_lines');
SELECT concord.drop_mapping('doc_orders');
INSERT INTO orders VALUES (1, 'Ada', 'n');
INSERT INTO line VALUES (1, 1, 'pen'), (1, 2, 'ink');
SELECT concord.resume('doc_lines');
SELECT method, body FROM concord.preview('doc_orders');
SELECT concord.alter_mapping('doc_orders', fields => '{"Lines": null}');
SELECT concord.drop_mapping('doc_orders');
SELECT concord.drop_mapping('doc_lines');
SELECT concord.drop_mapping('doc_orders');
SELECT concord.drop_mapping('doc_hooked');

RESET search_path;
DROP SERVER doc_erp, doc_hook, doc_api, doc_put CASCADE;
DELETE FROM concord.connector WHERE name = 'doc_put';
\set VERBOSITY terse
DROP SCHEMA doc CASCADE;
