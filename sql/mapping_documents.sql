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

RESET search_path;
DROP SERVER doc_erp, doc_hook, doc_api, doc_put CASCADE;
DELETE FROM concord.connector WHERE name = 'doc_put';
\set VERBOSITY terse
DROP SCHEMA doc CASCADE;
