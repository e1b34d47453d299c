/*
 * Pull: what has changed at systems is asked for.
 */

-- How far each mapping has come.  Written with the rows that a page has brought.
CREATE TABLE concord.pull_state (
	mapping			int PRIMARY KEY,
	method			text NOT NULL CHECK (method IN ('delta', 'since', 'full')),
	list			text,				-- what is read: another one is begun anew
	link			text,				-- of the changes to come
	changed_to		timestamptz,		-- of the newest record, by the system's clock
	run				text CHECK (run IN ('delta', 'since', 'full', 'gone')),	-- NULL: none is under way
	position		text,				-- where it goes on
	run_changed_to	timestamptz,
	started_at		timestamptz,
	finished_at		timestamptz,
	next_at			timestamptz,
	fetched			bigint NOT NULL DEFAULT 0,
	applied			bigint NOT NULL DEFAULT 0,
	conflicts		bigint NOT NULL DEFAULT 0,
	rejected		bigint NOT NULL DEFAULT 0,
	note			text,
	failures		int NOT NULL DEFAULT 0,
	last_error		text,
	last_error_at	timestamptz
) WITH (fillfactor = 50);

-- Records that a full compare has seen so far; empty between them.
CREATE TABLE concord.pull_seen (
	mapping			int NOT NULL,
	remote_id		text NOT NULL,
	PRIMARY KEY (mapping, remote_id)
);

CREATE VIEW concord.pulling AS
	SELECT m.name AS mapping, m.server, p.method, p.run, p.started_at, p.finished_at, p.next_at,
		   p.changed_to, p.fetched, p.applied, p.conflicts, p.rejected, p.note,
		   p.failures, p.last_error, p.last_error_at
	FROM concord.pull_state p
	JOIN concord.mapping m ON m.id OPERATOR(pg_catalog.=) p.mapping;
COMMENT ON VIEW concord.pulling IS 'how far the pulls of each mapping have come, and what went wrong';

CREATE FUNCTION concord.pull(name text, OUT fetched bigint, OUT applied bigint,
							 OUT conflicts bigint, OUT rejected bigint)
	RETURNS record
	AS 'MODULE_PATHNAME', 'concord_pull' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION concord.pull IS
	'fetch what has changed at a mapping''s system and apply it, all in this transaction';

-- Which ways the catalogue's systems have.  OData's own are the protocol's.
UPDATE concord.connector AS c
	SET definition = c.definition OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('pull', m.pull)
	FROM (VALUES
		('sap_s4', '{"methods": ["since", "full"], "changed": "LastChangeDateTime"}'::jsonb),
		-- dates only: the day before is read again
		('sap_b1', '{"methods": ["since", "full"], "changed": "UpdateDate", "time": "date", "overlap": 86400}'),
		('dataverse', '{"methods": ["delta", "since", "full"], "changed": "modifiedon"}'),
		('business_central', '{"methods": ["since", "full"], "changed": "lastModifiedDateTime"}')
	) AS m (name, pull)
	WHERE c.name OPERATOR(pg_catalog.=) m.name::pg_catalog.name;

-- Their lists are not plain GETs, or they have none: messages only.
UPDATE concord.connector AS c
	SET definition = c.definition OPERATOR(pg_catalog.||) '{"pull": {"methods": []}}'::jsonb
	WHERE c.name OPERATOR(pg_catalog.=) ANY (ARRAY['webhook', 'salesforce', 'odoo', 'netsuite', 'tryton', 'sage_intacct',
		'sage_x3', 'shopify', 'bigcommerce', 'bigcommerce_customers', 'magento', 'shipstation', 'servicenow', 'slack',
		'google_pubsub', 'kafka_rest', 'azure_service_bus', 'aws_eventbridge', 'sqs', 'sqs_fifo']::name[]);
