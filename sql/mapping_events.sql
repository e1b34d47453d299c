-- explain: what mappings make of events that were captured.
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SERVER events_erp FOREIGN DATA WRAPPER concord
	OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE SCHEMA events_test;
SET search_path = events_test;
\set SHOW_CONTEXT never

-- insert, update, delete with the default replica identity
CREATE TABLE orders (id int PRIMARY KEY, total numeric(12,2), note text, status text);
SELECT concord.create_mapping('o', 'orders', 'events_erp', 'Orders',
	'{"Total": "total", "Note": "upper(note)", "OldID": "old.id", "OldTotal": "old.total", "Op": "event.op"}',
	key => '{"Key": "''O'' || id"}', filter => 'status = ''open''', checks => '{"positive": "total > 0"}', paused => true);
INSERT INTO orders VALUES (1, 10, 'a', 'open'), (2, 20, 'b', 'draft'), (3, -1, 'c', 'open'), (4, NULL, NULL, 'open'), (5, 5, 'e', NULL);
UPDATE orders SET total = 11 WHERE id = 1;
UPDATE orders SET status = 'closed' WHERE id = 1;
UPDATE orders SET id = 14 WHERE id = 4;
DELETE FROM orders WHERE id IN (1, 14);
SELECT concord.wait_for_capture();
SELECT op, verdict, action, local_key, old_local_key, ordering_key, keys, old_keys, fields, only_if_linked AS linked, rule, error FROM concord.explain('o');

-- the same events, with other options
CREATE FUNCTION again(options jsonb) RETURNS TABLE (op text, verdict text, action text, local_key jsonb,
		ordering_key text, keys jsonb, fields jsonb, linked bool, rule text)
	LANGUAGE sql AS $$
	SELECT concord.alter_mapping('o', options => again.options);
	SELECT op, verdict, action, local_key, ordering_key, keys, fields - 'Op', only_if_linked, rule
	FROM concord.explain('o') WHERE op <> 'insert' $$;
SELECT * FROM again('{"unmatched": "update"}');
SELECT * FROM again('{"unmatched": "delete", "ordering": "id % 2"}');
SELECT * FROM again('{"unmatched": null, "on_delete": "ignore", "ordering": "none"}');
SELECT * FROM again('{"on_delete": {"Gone": "true", "What": "event.op"}, "ordering": null}');
SELECT concord.alter_mapping('o', options => '{"on_delete": null}');

-- with the whole row before: the filter decides for deletes, too
ALTER TABLE orders REPLICA IDENTITY FULL;
TRUNCATE orders;
INSERT INTO orders VALUES (1, 10, 'a', 'open'), (2, 20, 'b', 'draft'), (3, 30, 'c', 'open');
UPDATE orders SET total = 11, status = 'open' WHERE id = 1;
UPDATE orders SET id = 13, status = 'closed' WHERE id = 3;
UPDATE orders SET note = 'x' WHERE id = 2;
DELETE FROM orders WHERE id = 1;
DELETE FROM orders WHERE id = 2;
SELECT concord.wait_for_capture();
SELECT min(seq) AS full_from FROM concord.explain('o') WHERE op = 'truncate' \gset
SELECT op, verdict, action, local_key, keys, old_keys, fields, only_if_linked AS linked, rule, error FROM concord.explain('o', :full_from);
SELECT concord.alter_mapping('o', options => '{"unmatched": "delete", "truncate": "delete"}');
SELECT op, verdict, action, local_key, old_local_key, keys, old_keys, only_if_linked AS linked, rule FROM concord.explain('o', :full_from) WHERE op <> 'insert';
SELECT concord.alter_mapping('o', options => '{"unmatched": null, "truncate": "ignore"}');
SELECT op, verdict, action, rule FROM concord.explain('o', :full_from, 1);
SELECT concord.drop_mapping('o');

-- an image is found by column, not by name: rename, retype, add, drop
CREATE TABLE part (id int PRIMARY KEY, code varchar(3), qty int, gone text, flag bool);
SELECT concord.create_mapping('p', 'part', 'events_erp', 'Parts', '{"Code": "code", "Qty": "qty", "Double": "qty * 2"}', paused => true);
INSERT INTO part VALUES (1, 'ab', 5, 'x', true), (2, 'cd', 6, 'y', false);
SELECT concord.wait_for_capture();
SET pg_concord.on_schema_change = 'pause';
ALTER TABLE part RENAME COLUMN code TO number;
ALTER TABLE part ALTER COLUMN qty TYPE numeric(8,2);
ALTER TABLE part DROP COLUMN gone;
ALTER TABLE part ADD COLUMN added text DEFAULT 'new';
SELECT op, verdict, local_key, fields, error FROM concord.explain('p');
SELECT concord.alter_mapping('p', fields => '{"Code": "number", "Added": "added", "Upper": "upper(added)"}');
UPDATE part SET added = 'changed' WHERE id = 1;
DELETE FROM part WHERE id = 2;
SELECT concord.wait_for_capture();
-- what the image does not have is read from the table, where the row is still there
SELECT op, verdict, local_key, fields, error FROM concord.explain('p');
ALTER TABLE part ALTER COLUMN qty TYPE text;
UPDATE part SET qty = 'many';
SELECT concord.alter_mapping('p', fields => '{"Double": null}', filter => 'qty <> ''6.00''');
SELECT concord.wait_for_capture();
SELECT op, verdict, local_key, fields, error FROM concord.explain('p');
-- a value that the type of today does not take fails alone
ALTER TABLE part ALTER COLUMN qty TYPE int USING 7;
SELECT concord.alter_mapping('p', filter => 'true');
SELECT op, verdict, local_key, fields->'Qty' AS qty, rule, error FROM concord.explain('p');
SELECT concord.drop_mapping('p');

-- a TOASTed value that a change did not touch
CREATE TABLE doc (id int PRIMARY KEY, title text, body text);
ALTER TABLE doc ALTER COLUMN body SET STORAGE EXTERNAL;
SELECT concord.create_mapping('d', 'doc', 'events_erp', 'Docs', '{"Title": "title", "Body": "body", "Length": "length(body)"}', paused => true);
INSERT INTO doc VALUES (1, 'one', repeat('x', 10000)), (2, 'two', repeat('y', 10000));
UPDATE doc SET title = 'uno' WHERE id = 1;
UPDATE doc SET title = 'dos' WHERE id = 2;
DELETE FROM doc WHERE id = 2;
SELECT concord.wait_for_capture();
SELECT op, verdict, local_key, fields->>'Title' AS title, length(fields->>'Body') AS body, fields->'Length' AS length, error FROM concord.explain('d');
SELECT concord.drop_mapping('d');

-- partitions come under the root; keys of several columns
CREATE TABLE sale (region text, id int, amount numeric, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE sale_n PARTITION OF sale FOR VALUES IN ('north');
CREATE TABLE sale_s PARTITION OF sale FOR VALUES IN ('south');
SELECT concord.create_mapping('s', 'sale', 'events_erp', 'Sales', '{"Amount": "amount", "Row": "to_jsonb(sale)"}', paused => true);
INSERT INTO sale VALUES ('north', 1, 1), ('south', 1, 2);
UPDATE sale_n SET amount = 3;
UPDATE sale SET region = 'south', id = 2 WHERE region = 'north';
DELETE FROM sale WHERE region = 'south' AND id = 1;
SELECT concord.wait_for_capture();
SELECT op, verdict, local_key, keys, old_keys, fields FROM concord.explain('s');
SELECT concord.drop_mapping('s');

-- another index as replica identity: its columns are the local key
CREATE TABLE item (id int PRIMARY KEY, sku text NOT NULL, name text);
CREATE UNIQUE INDEX item_sku ON item (sku);
ALTER TABLE item REPLICA IDENTITY USING INDEX item_sku;
SELECT concord.create_mapping('i', 'item', 'events_erp', 'Items', '{"ID": "id"}', paused => true);
INSERT INTO item VALUES (1, 'a', 'x');
UPDATE item SET sku = 'b';
DELETE FROM item;
SELECT concord.wait_for_capture();
SELECT op, verdict, local_key, old_local_key, keys, old_keys, fields FROM concord.explain('i');
SELECT concord.drop_mapping('i');

-- emitted events
SELECT concord.create_topic_mapping('t', 'app.log', 'events_erp', 'Log',
	'{"Text": "payload->>''text''", "From": "headers->>''from''", "Whole": "payload", "Topic": "event.topic", "Key": "coalesce(key, ''-'')"}',
	key => '{"ID": "coalesce(key, event.id::text)"}', filter => 'payload->>''level'' <> ''debug''',
	checks => '{"text": "payload ? ''text''"}', paused => true);
SELECT count(concord.emit(topic, payload::jsonb, key, headers::jsonb)) FROM (VALUES
	('app.log', '{"text": "one", "level": "info"}', 'k1', '{"from": "me"}'),
	('app.log', '{"text": "two", "level": "debug"}', 'k1', NULL),
	('other', '{"text": "three", "level": "info"}', 'k1', NULL),
	('app.log', '{"level": "info"}', 'k"2', NULL),
	('app.log', '{"text": "five", "level": "info"}', NULL, NULL)) v (topic, payload, key, headers);
SELECT concord.wait_for_capture();
SELECT op, verdict, CASE WHEN local_key ? 'event' THEN '{"event": ...}' ELSE local_key::text END AS local_key,
	CASE WHEN keys->>'ID' ~ '-.*-' THEN 'uuid' ELSE keys->>'ID' END AS key, fields, rule FROM concord.explain('t');
SELECT key IS NOT NULL AS key, body - 'ID' AS body, problems FROM concord.preview('t');
SELECT concord.drop_mapping('t');

-- an event waits for the link that a field names
CREATE TABLE customer (id int PRIMARY KEY, name text);
CREATE TABLE invoice (id int PRIMARY KEY, customer int);
SELECT concord.create_mapping('c', 'customer', 'events_erp', 'Customers', '{"Name": "name"}', paused => true);
SELECT concord.create_mapping('v', 'invoice', 'events_erp', 'Invoices', '{"Customer": "concord.remote_id(''c'', customer)"}', paused => true);
INSERT INTO invoice VALUES (1, 7), (2, NULL), (3, 8);
SELECT concord.wait_for_capture();
SELECT verdict, local_key, fields, rule, error FROM concord.explain('v');
INSERT INTO concord.link_item (mapping, local_key, remote_id, seq, present)
	SELECT id, '{"id": 7}', 'C-0007', 1, true FROM concord.mapping WHERE name = 'c';
SELECT verdict, local_key, fields, rule, error FROM concord.explain('v');
SELECT concord.remote_id('c', 7), concord.remote_id('c', '{"id": 7}'::jsonb), concord.remote_id('c', 9), concord.local_key('c', 'C-0007'), concord.local_key('c', 'C');
SELECT concord.remote_id('nothing', 7);
-- in an expression both are found without their schema, unless something else has the name
SELECT concord.alter_mapping('v', fields => '{"Customer": "remote_id(''c'', customer)", "Key": "local_key(''c'', ''C-0007'')"}');
SELECT verdict, local_key, fields, rule, error FROM concord.explain('v');
CREATE FUNCTION remote_id(text, int) RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$;
SELECT verdict, local_key, fields->>'Customer' AS customer, rule, error FROM concord.explain('v');
DROP FUNCTION remote_id(text, int);
SELECT concord.drop_mapping('v'), concord.drop_mapping('c');
-- the courier removes them
DO $$ BEGIN
	FOR i IN 1 .. 600 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM concord.link_item WHERE remote_id = 'C-0007');
		COMMIT;
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;
SELECT count(*) FROM concord.link_item WHERE remote_id = 'C-0007';

-- many events with some bad ones: the others are not held up
CREATE TABLE many (id int PRIMARY KEY, n int);
SELECT concord.create_mapping('m', 'many', 'events_erp', 'Many', '{"Inverse": "1000 / n", "Text": "n::text"}', paused => true);
INSERT INTO many SELECT i, i % 97 FROM generate_series(1, 1000) i;
SELECT concord.wait_for_capture();
SELECT verdict, rule, error, count(*), min(fields->>'Inverse') FROM concord.explain('m', max_rows => 1000) GROUP BY 1, 2, 3 ORDER BY 1, 2;
SELECT concord.drop_mapping('m');

-- only partitions were truncated: never a delete of everything
CREATE TABLE ledger (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
CREATE TABLE ledger_1 PARTITION OF ledger FOR VALUES FROM (0) TO (10);
CREATE TABLE ledger_2 PARTITION OF ledger FOR VALUES FROM (10) TO (20);
SELECT concord.create_mapping('l', 'ledger', 'events_erp', 'Ledger', '{"Note": "note"}', options => '{"truncate": "delete"}', paused => true);
TRUNCATE ledger_1;
TRUNCATE ledger;
SELECT concord.wait_for_capture();
SELECT op, verdict, action, rule, error FROM concord.explain('l');
SELECT concord.drop_mapping('l');

-- a key that no link could be stored under, and emit() in an expression
CREATE FUNCTION again_emit() RETURNS text LANGUAGE sql AS $$ SELECT concord.emit('events_topic', '{}')::text $$;
SELECT concord.create_topic_mapping('k', 'events_topic', 'events_erp', 'Keys', '{"A": "CASE WHEN key = ''e'' THEN again_emit() END"}', key => '{"Key": "md5(key)"}', paused => true);
SELECT count(concord.emit('events_topic', '{}', k)) FROM unnest(ARRAY[repeat('k', 3000), 'short', 'e']) k;
SELECT concord.wait_for_capture();
SELECT verdict, rule, error FROM concord.explain('k');
SELECT concord.drop_mapping('k');

-- bytea is stored as its bytes: in a key, a domain, a whole row, under a changed key, in a column that is text by now
CREATE DOMAIN seal AS bytea CHECK (length(VALUE) < 4);
CREATE TABLE file (id bytea PRIMARY KEY, content bytea, seal seal, late bytea);
ALTER TABLE file REPLICA IDENTITY FULL;
SELECT concord.create_mapping('f', 'file', 'events_erp', 'Files',
	'{"Content": "content", "Size": "length(content)", "Seal": "seal", "Row": "file::text", "Late": "late", "Before": "old.content"}',
	key => '{"Key": "encode(id, ''hex'')"}', paused => true);
INSERT INTO file VALUES ('\x00', '\x00ff5c', '\x', '\x4142'), ('\xff', NULL, '\xffffff', NULL);
UPDATE file SET content = '' WHERE id = '\x00';
UPDATE file SET id = '\x0102' WHERE id = '\xff';
SELECT concord.wait_for_capture();
SELECT op, action, local_key, old_local_key, keys, old_keys, fields, error FROM concord.explain('f');
SELECT op, old, new FROM concord.outbox WHERE source = 'events_test.file' ORDER BY seq;
ALTER TABLE file ALTER late TYPE text USING NULL;
SELECT op, fields->'Late' AS late, error FROM concord.explain('f');
SELECT concord.drop_mapping('f');

DROP SCHEMA events_test CASCADE;
DROP SERVER events_erp CASCADE;
