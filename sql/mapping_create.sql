-- create_mapping refuses what cannot work, and says how to put it right.
SET client_min_messages = warning;
SELECT concord.wait_for_capture();
CREATE SERVER create_erp FOREIGN DATA WRAPPER concord
	OPTIONS (connector 'rest', url 'http://127.0.0.1:9/api/');
CREATE FOREIGN DATA WRAPPER create_other;
CREATE SERVER create_other FOREIGN DATA WRAPPER create_other;
CREATE SCHEMA create_test;
SET search_path = create_test;
CREATE TABLE customer (id int PRIMARY KEY, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int, total numeric(12,2), note text, code text UNIQUE);
CREATE TABLE nokey (a int);
CREATE VIEW orders_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW orders_copy AS SELECT * FROM orders;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
CREATE FOREIGN TABLE elsewhere (id int) SERVER create_other;
CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE SEQUENCE counter;

-- One call with only what a test changes.
CREATE FUNCTION try(fields jsonb = '{"Note": "note"}', source regclass = 'orders',
		server name = 'create_erp', key jsonb = NULL, filter text = NULL,
		checks jsonb = NULL, push text = 'event', initial text = 'none',
		options jsonb = '{}', name text = 'm', object text = 'Orders') RETURNS int
	LANGUAGE sql AS $$
	SELECT concord.create_mapping($10, $2, $3, $11, $1, $4, $5, $6, $7, $8, $9, paused => true) $$;
\set SHOW_CONTEXT never

-- sources
SELECT try(source => 'orders_view');
SELECT try(source => 'orders_copy');
SELECT try(source => 'unlogged');
SELECT try(source => 'temporary');
SELECT try(source => 'elsewhere');
SELECT try(source => 'counter');
SELECT try(source => 'parted_1', fields => '{"V": "v"}');
SELECT try(source => 'pg_class', fields => '{"V": "relname"}');
SELECT try(source => 'information_schema.sql_features', fields => '{"V": "feature_id"}');
SELECT try(source => 'concord.mapping', fields => '{"V": "name"}');
SELECT try(source => 'nokey', fields => '{"A": "a"}');
SELECT try(source => NULL);

-- servers
SELECT try(server => 'create_erpp');
SELECT try(server => 'create_other');
SELECT try(server => NULL);

-- what must be given
SELECT try(name => '');
SELECT try(name => NULL);
SELECT try(name => repeat('x', 64));
SELECT try(object => '');
SELECT try(fields => NULL);
SELECT try(fields => '{}');
SELECT try(fields => '[]');
SELECT try(fields => '"note"');

-- fields
SELECT try('{"A": 5}');
SELECT try('{"A": null}');
SELECT try('{"A": {"value": "note", "owner": "create_er"}}');
SELECT try('{"A": {"value": "note", "children": "items"}}');
SELECT try('{"A": {"valu": "note"}}');
SELECT try('{"A": {"on": "create"}}');
SELECT try('{"A": {"value": "note", "on": "sometimes"}}');
SELECT try('{"": "note"}');
SELECT try('{"A//B": "note"}');
SELECT try('{"A": "note", "A/B": "note"}');
SELECT try(key => '{"A": {"value": "id"}}');

-- expressions
\set SHOW_CONTEXT always
SELECT concord.create_mapping('m', 'orders', 'create_erp', 'Orders', '{"Name": "note", "Total": "totl"}');
SELECT concord.create_mapping('m', 'orders', 'create_erp', 'Orders', '{"Name": "note"}', key => '{"ID": "ident"}');
SELECT concord.create_mapping('m', 'orders', 'create_erp', 'Orders', '{"Name": "note"}', filter => 'nothing > 0');
SELECT concord.create_mapping('m', 'orders', 'create_erp', 'Orders', '{"Name": "note"}', checks => '{"positive": "totale > 0"}');
SELECT concord.create_mapping('m', 'orders', 'create_erp', 'Orders', '{"Name": "note"}', options => '{"ordering": "customer"}');
SELECT concord.create_mapping('m', 'orders', 'create_erp', 'Orders', '{"Name": "note"}', options => '{"on_delete": {"Gone": "tru"}}');
\set SHOW_CONTEXT never
SELECT try('{"A": "orders.totl"}');
SELECT try('{"A": "old.totl"}');
SELECT try('{"A": "event.ident"}');
SELECT try('{"A": "(SELECT nam FROM customer)"}');
SELECT try('{"A": "(SELECT name FROM customr)"}');
-- 19 has other hints
\set VERBOSITY terse
SELECT try('{"A": "total || note || 5 + note"}');
SELECT try('{"A": "nofunction(note)"}');
\set VERBOSITY default
SELECT try('{"A": "''x''::int"}');
SELECT try('{"A": "count(*)"}');
SELECT try('{"A": "sum(total) OVER ()"}');
SELECT try('{"A": "generate_series(1, 3)"}');
SELECT try('{"A": "row(id, note)"}');
SELECT try('{"A": "$1"}');
SELECT try('{"A": "(SELECT name FROM customer c WHERE c.id = customer_id FOR UPDATE)"}');
SELECT try('{"A": "(WITH x AS (DELETE FROM customer RETURNING name) SELECT name FROM x)"}');
SELECT try(filter => 'total');
SELECT try(checks => '{"positive": "total"}');

-- more than an expression, or less
SELECT try('{"A": ""}');
SELECT try('{"A": " "}');
SELECT try('{"A": "-- nothing"}');
SELECT try('{"A": "note /*"}');
SELECT try('{"A": "1) FROM customer; --"}');
SELECT try('{"A": "1) FROM customer WHERE (true"}');
SELECT try('{"A": "1), (2"}');
SELECT try('{"A": "1; DELETE FROM customer"}');
SELECT try('{"A": "1); DELETE FROM customer; SELECT (1"}');
SELECT try('{"A": "1) UNION SELECT (2"}');
SELECT try('{"A": "1) ORDER BY (1"}');
SELECT try('{"A": "1) LIMIT (1"}');
SELECT try('{"A": "1) INTO x WHERE (true"}');
SELECT try('{"A": "1) AS x WHERE (true"}');
SELECT try('{"A": "note AS x"}');
SELECT try('{"A": "orders.*"}');
SELECT try('{"A": "(orders).*"}');
SELECT try('{"A": "\"concord.0\""}');
SELECT try('{"A": "(SELECT count(*) FROM \"concord.rows\")"}');
SELECT try(filter => 'true) OR (true; --');
SELECT name FROM customer;

-- options
SELECT try(options => '{"ordring": "key"}');
SELECT try(options => '{"frobnicate": 1}');
SELECT try(options => '{"url": "http://elsewhere/"}');
SELECT try(options => '{"sla": "1 day"}');
SELECT try(options => '{"audit": "some"}');
SELECT try(options => '{"wait_limit": "never"}');
SELECT try(options => '{"couriers": 100}');
SELECT try(options => '{"couriers": 2, "ordering": "id % 3"}');
SELECT try(options => '{"couriers": 2, "on_dead": "block"}');
SELECT try(options => '{"nulls": "drop"}');
SELECT try(options => '{"nulls": true}');
SELECT try(options => '{"on_delete": "archive"}');
SELECT try(options => '{"on_delete": {}}');
SELECT try(options => '{"ordering": 1}');
SELECT try(options => '{"retry_limit": -1}');
SELECT try(options => '{"retry_limit": "many"}');
SELECT try(options => '{"retry_base": "soon"}');
SELECT try(options => '{"retry_base": "-1s"}');
SELECT try(options => '{"retry_base": "1 min", "retry_cap": "1 s"}');
SELECT try(options => '{"service": "http://elsewhere/"}');
SELECT try(options => '[]');
SELECT try(push => 'batch');
SELECT try(push => 'sometimes');
SELECT try(initial => 'snapshot');
SELECT try(initial => 'all');

-- what a deleted row does not tell
SELECT try(key => '{"Code": "code"}');
SELECT try(options => '{"on_delete": {"Gone": "true", "Note": "note"}}');
SELECT try(options => '{"ordering": "customer_id::text"}');
SELECT try(key => '{"Row": "orders::text"}');
ALTER TABLE orders REPLICA IDENTITY NOTHING;
SELECT try();
SELECT try(options => '{"on_delete": "ignore"}', name => 'no_deletes');
ALTER TABLE orders REPLICA IDENTITY FULL;
SELECT try(key => '{"Code": "code"}', options => '{"ordering": "customer_id::text"}', name => 'full');
ALTER TABLE orders REPLICA IDENTITY DEFAULT;
SELECT concord.drop_mapping('full');
ALTER TABLE orders REPLICA IDENTITY DEFAULT;

-- names
SELECT try(name => 'good');
SELECT try(name => 'good');
SELECT concord.create_mapping('good', 'orders', 'create_erp', 'Orders', '{"Note": "note", "Total": "total"}', or_replace => true);
SELECT concord.create_mapping('good', 'customer', 'create_erp', 'Orders', '{"Name": "name"}', or_replace => true);
SELECT try(source => 'parted', fields => '{"V": "v"}', name => 'parted');

-- topics
SELECT concord.create_topic_mapping('t', '', 'create_erp', 'Log', '{"Text": "payload->>''text''"}');
SELECT concord.create_topic_mapping('t', 'concord.start', 'create_erp', 'Log', '{"Text": "payload->>''text''"}');
SELECT concord.create_topic_mapping('t', 'app.log', 'create_erp', 'Log', '{"Text": "pay"}');
SELECT concord.create_topic_mapping('t', 'app.log', 'create_erp', 'Log', '{"Text": "old.x"}');
SELECT concord.create_topic_mapping('t', 'app.log', 'create_erp', 'Log',
	'{"Text": "payload->>''text''", "Key": "key", "From": "headers->>''from''", "Topic": "event.topic"}',
	key => '{"ID": "key"}', paused => true);

SELECT name, source, topic, server, object, definer, version, state FROM concord.mapping
	WHERE server = 'create_erp' ORDER BY name;
SELECT part, name, expression, "on", owner FROM concord.mapping_field
	WHERE mapping IN ('good', 't') ORDER BY mapping, part, name;
SELECT relid::regclass FROM concord.captured c JOIN pg_class t ON t.oid = c.relid
	WHERE t.relnamespace = 'create_test'::regnamespace ORDER BY relid::regclass::text;
TRUNCATE concord.captured;

SELECT concord.drop_mapping(name::text) FROM (SELECT name FROM concord.mapping WHERE server = 'create_erp' ORDER BY name) m;
SELECT count(*) FROM concord.captured c JOIN pg_class t ON t.oid = c.relid
	WHERE t.relnamespace = 'create_test'::regnamespace;
DROP SCHEMA create_test CASCADE;
DROP SERVER create_erp;
DROP FOREIGN DATA WRAPPER create_other CASCADE;
