-- Metadata of OData services as foreign tables: what would be imported.
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on

\echo == SAP Gateway, version 2
\set doc `cat "$PG_ABS_SRCDIR/test/metadata/gateway_v2.xml"`
SELECT concord.import_commands('sap', 'API_BUSINESS_PARTNER', document => :'doc') || ';';
SELECT concord.import_commands('sap', '.', '{"navigation": "columns", "names": "snake", "complex": "jsonb", "comments": false, "not_null": "off", "verbose": true}', :'doc') || ';';

\echo == SAP S/4HANA, version 4
\set doc `cat "$PG_ABS_SRCDIR/test/metadata/s4_v4.xml"`
SELECT concord.import_commands('s4', 'sap/api_salesorder/srvd_a2x/sap/salesorder/0001', '{"navigation": "columns"}', :'doc') || ';';

\echo == Dataverse
\set doc `cat "$PG_ABS_SRCDIR/test/metadata/dataverse.xml"`
SELECT concord.import_commands('crm', '.', '{"names": "lower"}', :'doc') || ';';

\echo == Business Central
\set doc `cat "$PG_ABS_SRCDIR/test/metadata/business_central.xml"`
SELECT concord.import_commands('bc', '.', '{"names": "snake", "navigation": "tables", "verbose": true}', :'doc') || ';';

\echo == Business One
\set doc `cat "$PG_ABS_SRCDIR/test/metadata/service_layer.xml"`
SELECT concord.import_commands('b1', '.', '{"navigation": "columns"}', :'doc') || ';';

\echo == every type
\set doc `cat "$PG_ABS_SRCDIR/test/metadata/types_v4.xml"`
SELECT concord.import_commands('t', '.', '{"verbose": true, "navigation": "columns"}', :'doc') || ';';
SELECT c FROM concord.import_commands('t', '.', '{"navigation": "tables", "comments": false}', :'doc') AS c WHERE c LIKE '%/%';
