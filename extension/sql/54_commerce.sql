/* ---------------------------------------------------------------------
 * 54_commerce.sql: storefronts, shipping, service desks
 * ------------------------------------------------------------------- */

-- Shopify, GraphQL Admin API: <object>Set by an identifier, which is the
-- mapping's key (handle, email, customId, ...).  What was wrong stands within
-- a 200: errors of the document, userErrors of the mutation.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('shopify', 'rest', 'Shopify GraphQL Admin API: productSet, customerSet and their kin',
	 '{"create": {"path": "graphql.json", "body": {
		 "query": "mutation($input: {object:capital}SetInput!, $identifier: {object:capital}SetIdentifiers) { set: {object}Set(input: $input, identifier: $identifier) { record: {object} { id } userErrors { field message code } } }",
		 "variables": {"identifier": {"{key.name}": "{key}"}, "input": "{record}"}}},
	   "update": {"method": "POST", "path": "graphql.json", "body": {
		 "query": "mutation($input: {object:capital}SetInput!, $identifier: {object:capital}SetIdentifiers) { set: {object}Set(input: $input, identifier: $identifier) { record: {object} { id } userErrors { field message code } } }",
		 "variables": {"identifier": {"{key.name}": "{key}"}, "input": "{record}"}}},
	   "delete": {"method": "POST", "path": "graphql.json", "body": {
		 "query": "mutation($input: {object:capital}DeleteInput!) { delete: {object}Delete(input: $input) { userErrors { field message } } }",
		 "variables": {"input": {"id": "{remote_id}"}}}},
	   "probe": {"method": "POST", "path": "graphql.json", "body": {
		 "query": "query($identifier: {object:capital}IdentifierInput!) { record: {object}ByIdentifier(identifier: $identifier) { id } }",
		 "variables": {"identifier": {"{key.name}": "{key}"}}}},
	   "create_repeats": "yes",
	   "remote_id_path": "data.set.record.id", "idempotency_header": "",
	   "outcomes": [
		 {"name": "query cost", "status": 200, "match": "\"code\": *\"THROTTLED\"", "outcome": "throttle"},
		 {"name": "shop is locked", "status": 423, "outcome": "down"},
		 {"name": "shop is frozen", "status": 402, "outcome": "down"},
		 {"name": "gone", "operation": "read", "status": 200, "path": "data.record", "exists": false, "outcome": "gone"},
		 {"name": "access", "status": 200, "match": "\"code\": *\"ACCESS_DENIED\"", "outcome": "down"},
		 {"name": "failure at Shopify", "status": 200, "match": "\"code\": *\"INTERNAL_SERVER_ERROR\"", "outcome": "retry"},
		 {"name": "is not there", "status": 200, "path": "data.delete.userErrors.0.message", "match": "(does not|doesn.t) exist|not found", "outcome": "done"},
		 {"name": "refused by Shopify", "status": 200, "path": "errors.0.message", "outcome": "dead"},
		 {"name": "refused by Shopify", "status": 200, "path": "data.set.userErrors.0.message", "outcome": "dead"},
		 {"name": "refused by Shopify", "status": 200, "path": "data.delete.userErrors.0.message", "outcome": "dead"}]}',
	 true);

-- BigCommerce, REST Management API V3: records of the catalog one at a time,
-- customers in lists of at most ten.  Nothing is said of the order in which an
-- answer has them, so each is known by its key.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('bigcommerce', 'rest', 'BigCommerce REST Management API V3: catalog',
	 '{"create": {"path": "v3/{object}", "body": "{record}"},
	   "update": {"method": "PUT", "path": "v3/{object}/{key}", "body": "{record}"},
	   "delete": {"path": "v3/{object}/{key}"},
	   "probe": {"path": "v3/{object}/{key}"},
	   "find": {"path": "v3/{object}", "query": {"{key.name}": "{key}", "limit": "2"}}, "find_path": "data.0.id",
	   "remote_id": "assigned", "remote_id_path": "data.id", "idempotency_header": "",
	   "outcomes": [
		 {"name": "not all of it", "status": 207, "outcome": "dead"},
		 {"name": "access", "status": 403, "outcome": "down"}]}',
	 true),
	('bigcommerce_customers', 'rest', 'BigCommerce REST Management API V3: customers',
	 '{"create": {"path": "v3/{object}", "body": ["{record}"]},
	   "update": {"method": "PUT", "path": "v3/{object}", "body": [{"id": "{remote_id:json}", "...": "{record}"}]},
	   "delete": {"path": "v3/{object}", "query": {"id:in": "{key:single}"}},
	   "probe": {"path": "v3/{object}", "query": {"id:in": "{key:single}"}},
	   "find": {"path": "v3/{object}", "query": {"{key.name}:in": "{key:single}", "limit": "2"}}, "find_path": "data.0.id",
	   "remote_id": "assigned", "remote_id_path": "data.0.id", "idempotency_header": "",
	   "batch": [
		 {"format": "template", "operations": ["create"], "max_count": 10, "body": "{items}", "item": "{record}",
		  "answer": {"list": [{"path": "data", "status": 200}], "match": "key", "wrap": "array", "missing": "unknown"}},
		 {"format": "template", "operations": ["update"], "max_count": 10, "body": "{items}",
		  "item": {"id": "{remote_id:json}", "...": "{record}"},
		  "answer": {"list": [{"path": "data", "status": 200}], "match": "key", "wrap": "array", "missing": "unknown"}}],
	   "outcomes": [
		 {"name": "not all of it", "status": 207, "outcome": "dead"},
		 {"name": "access", "status": 403, "outcome": "down"}]}',
	 true);

-- Magento (Adobe Commerce), REST: products by their SKU, in an envelope named
-- after the object; a PUT creates or updates.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('magento', 'rest', 'Magento, Adobe Commerce: REST API V1, products by SKU',
	 '{"create": {"method": "PUT", "path": "V1/{object}s/{key}", "body": {"{object}": "{record}"}},
	   "update": {"method": "PUT", "path": "V1/{object}s/{key}", "body": {"{object}": "{record}"}},
	   "delete": {"path": "V1/{object}s/{key}"},
	   "probe": {"path": "V1/{object}s/{key}"}, "key_change": "recreate",
	   "create_repeats": "yes",
	   "remote_id_path": "id", "idempotency_header": "",
	   "outcomes": [
		 {"name": "lock wait timeout", "status": 400, "match": "try restarting transaction|Lock wait timeout|Deadlock found", "outcome": "retry"},
		 {"name": "access", "status": 403, "outcome": "down"}]}',
	 true);

-- ShipStation, API V1: createorder creates or updates by orderKey.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('shipstation', 'rest', 'ShipStation API V1: orders by orderKey',
	 '{"create": {"path": "{object}/createorder", "body": "{record}"},
	   "update": {"method": "POST", "path": "{object}/createorder", "body": "{record}"},
	   "delete": {"path": "{object}/{remote_id}"},
	   "probe": {"path": "{object}/{remote_id}"}, "key_change": "recreate",
	   "create_repeats": "yes",
	   "remote_id_path": "orderId", "idempotency_header": "",
	   "outcomes": [
		 {"name": "deleted already", "status": 200, "path": "success", "match": "^false$", "outcome": "dead"}]}',
	 true);

-- ServiceNow, Table API.  Encoded queries have no escape: a key with ^ cannot be
-- looked for.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('servicenow', 'rest', 'ServiceNow Table API',
	 '{"create": {"path": "api/now/table/{object}", "query": {"sysparm_fields": "sys_id"}, "body": "{record}"},
	   "update": {"method": "PATCH", "path": "api/now/table/{object}/{key}", "query": {"sysparm_fields": "sys_id"}, "body": "{body}"},
	   "delete": {"path": "api/now/table/{object}/{key}"},
	   "probe": {"path": "api/now/table/{object}/{key}", "query": {"sysparm_fields": "sys_id"}},
	   "lookup": {"path": "api/now/table/{object}/{key}"},
	   "find": {"path": "api/now/table/{object}", "query": {"sysparm_query": "{key.name}={key:encoded_query}", "sysparm_fields": "sys_id,{key.name}", "sysparm_limit": "2"}},
	   "find_path": "result.0.sys_id",
	   "remote_id": "assigned", "remote_id_path": "result.sys_id", "idempotency_header": "",
	   "outcomes": [
		 {"name": "transaction cancelled", "match": "Transaction cancelled", "outcome": "retry"}]}',
	 true);
