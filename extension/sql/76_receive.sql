/*
 * Receive: messages of systems, handed over by an HTTP front.
 *
 * Whoever may execute the function may hand over what a system has signed;
 * what is not signed only who may act as the mapping's definer.
 */

-- Ids of messages that came, for as long as they may come again.
CREATE TABLE concord.inbox_message (
	serverid		oid NOT NULL,
	mapping			int NOT NULL,		-- 0: it was for all of the server
	message_id		text NOT NULL,
	received_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (serverid, mapping, message_id)
);
CREATE INDEX inbox_message_received_idx ON concord.inbox_message USING brin (received_at);
COMMENT ON TABLE concord.inbox_message IS 'ids of messages that came in the last days, so that none is taken twice';

CREATE FUNCTION concord.receive(name name, body text, headers jsonb = '{}')
	RETURNS text
	AS 'MODULE_PATHNAME', 'concord_receive' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION concord.receive IS
	'take a message of a system for a mapping, or for those of a server; returns what the front must answer';

/*
 * What messages of the catalogue's systems look like.  Those that a system
 * does not sign have a secret that whoever sets them up puts into a header or
 * into the address.
 */
UPDATE concord.connector AS c
	SET definition = c.definition OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('receive', m.receive)
	FROM (VALUES
		-- shopify.dev, "Deliver webhooks through HTTPS", "Verify webhooks"
		('shopify', '{"signature": "header:X-Shopify-Hmac-Sha256", "id": "header:X-Shopify-Webhook-Id",
			"object": {"at": "header:X-Shopify-Topic", "match": "^([^/]+)/"},
			"op": "header:X-Shopify-Topic", "delete": "/delete$",
			"remote_id": "item:admin_graphql_api_id", "changed": "item:updated_at"}'::jsonb),
		-- developer.bigcommerce.com, "Webhooks overview": no signature, headers of one's own, thin
		('bigcommerce', '{"signature": "header:X-Concord-Token", "algorithm": "token", "id": "body:hash",
			"object": {"at": "body:scope", "match": "^store/([^/]+)"}, "op": "body:scope", "delete": "/deleted$",
			"remote_id": "body:data.id", "fetch": true}'),
		-- learn.microsoft.com, "Working with webhooks in Dynamics 365 Business Central"
		('business_central', '{"challenges": [{"when": "query:validationToken", "answer": "query:validationToken"}],
			"signature": "item:clientState", "algorithm": "token", "items": "value",
			"object": {"at": "item:resource", "match": "([^/(?]+)(\\([^()]*\\))?(\\?.*)?$"},
			"remote_id": {"at": "item:resource", "match": "\\(([^()]*)\\)$"},
			"op": "item:changeType", "delete": "^deleted$", "changed": "item:lastModifiedDateTime", "fetch": true}'),
		-- learn.microsoft.com, "Use webhooks to create external handlers for server events": authentication WebhookKey
		('dataverse', '{"signature": "query:code", "algorithm": "token", "id": "body:OperationId",
			"object": "body:PrimaryEntityName", "remote_id": "body:PrimaryEntityId",
			"op": "body:MessageName", "delete": "^Delete$", "changed": "body:OperationCreatedOn", "fetch": true}'),
		-- help.sap.com, "SAP S/4HANA events": CloudEvents, structured, thin
		('sap_s4', '{"signature": "header:X-Concord-Token", "algorithm": "token", "id": "body:id",
			"object": {"at": "body:type", "match": "\\.([A-Za-z]+)\\.[A-Za-z]+\\.v[0-9]+$"},
			"op": "body:type", "delete": "\\.Deleted\\.v[0-9]+$", "changed": "body:time", "fetch": true}'),
		-- odoo.com/documentation, "Automation rules", action Send Webhook Notification
		('odoo', '{"signature": "query:token", "algorithm": "token",
			"object": "body:_model", "remote_id": "body:_id", "fetch": true}'),
		-- docs.slack.dev, "Verifying requests from Slack", "url_verification", "Events API"
		('slack', '{"challenges": [{"when": "body:type", "equals": "url_verification", "answer": "body:challenge"}],
			"signature": "header:X-Slack-Signature", "encoding": "hex", "prefix": "v0=",
			"signed": "v0:{timestamp}:{body}", "timestamp": "header:X-Slack-Request-Timestamp",
			"id": "body:event_id", "record": "event", "object": "body:event.type"}'),
		-- shipstation.com/docs/api, "Webhooks": an address of what has changed
		('shipstation', '{"signature": "query:token", "algorithm": "token", "id": "body:resource_url",
			"object": {"at": "body:resource_type", "match": "^([A-Z]+)_"}, "fetch": true}')
	) AS m (name, receive)
	WHERE c.name OPERATOR(pg_catalog.=) m.name::pg_catalog.name;
