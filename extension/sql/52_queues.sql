/* ---------------------------------------------------------------------
 * 52_queues.sql: queues and streams over HTTP, and Slack
 *
 * One message per event, in order, never suppressed.  The record is the
 * message; what CloudEvents says of the event goes beside it, as the
 * bindings' binary mode has it.
 * ------------------------------------------------------------------- */

-- Google Cloud Pub/Sub REST API v1, projects.topics.publish: at most 1000
-- messages and 10 MB in a request, all done or none; those of one request have
-- one ordering key or none at all.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('google_pubsub', 'webhook', 'Google Cloud Pub/Sub: projects.topics.publish',
	 '{"create": {"path": "v1/{object}:publish",
		 "body": {"messages": [{"data": "{record:base64}", "orderingKey": "{ordering_key}", "attributes": {
		   "content-type": "application/json", "ce-specversion": "1.0", "ce-id": "{event.id}", "ce-type": "{event.type}",
		   "ce-source": "{event.source}", "ce-subject": "{event.subject}", "ce-time": "{event.time}"}}]}},
	   "unchanged": "send", "replay": "events", "idempotency_header": "",
	   "batch": {"format": "template", "unordered": "yes", "max_count": 1000, "max_bytes": 9500000,
		 "body": {"messages": "{items}"},
		 "item": {"data": "{record:base64}", "attributes": {
		   "content-type": "application/json", "ce-specversion": "1.0", "ce-id": "{event.id}", "ce-type": "{event.type}",
		   "ce-source": "{event.source}", "ce-subject": "{event.subject}", "ce-time": "{event.time}"}},
		 "answer": {"list": "messageIds", "wrap": "array", "missing": "unknown"}},
	   "outcomes": [
		 {"name": "aborted", "status": 409, "match": "ABORTED", "outcome": "retry"},
		 {"name": "quota", "status": 403, "match": "RESOURCE_EXHAUSTED|rateLimitExceeded", "outcome": "throttle"}]}',
	 true);

-- Confluent REST Proxy for Kafka, API v2: a record that could not be produced
-- has an error_code within a 200; 2 can be retried, 1 cannot.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('kafka_rest', 'webhook', 'Confluent REST Proxy for Kafka, API v2: keyed JSON records',
	 '{"create": {"path": "topics/{object}",
		 "body": {"records": [{"key": "{ordering_key}", "value": {
		   "specversion": "1.0", "id": "{event.id}", "type": "{event.type}", "source": "{event.source}",
		   "subject": "{event.subject}", "time": "{event.time}", "datacontenttype": "application/json",
		   "data": "{record}"}}]},
		 "content_type": "application/vnd.kafka.json.v2+json",
		 "headers": {"Accept": "application/vnd.kafka.v2+json"}},
	   "unchanged": "send", "replay": "events", "idempotency_header": "",
	   "batch": {"format": "template", "body": {"records": "{items}"}, "content_type": "application/vnd.kafka.json.v2+json",
		 "item": {"key": "{ordering_key}", "value": {
		   "specversion": "1.0", "id": "{event.id}", "type": "{event.type}", "source": "{event.source}",
		   "subject": "{event.subject}", "time": "{event.time}", "datacontenttype": "application/json",
		   "data": "{record}"}},
		 "answer": {"list": "offsets", "wrap": "array", "missing": "unknown"}},
	   "outcomes": [
		 {"name": "record was not produced", "status": 200, "path": "offsets.0.error_code", "match": "^2$", "outcome": "retry"},
		 {"name": "record was refused", "status": 200, "path": "offsets.0.error_code", "match": "^[0-9]", "outcome": "dead"}]}',
	 true);

-- Azure Service Bus, "Send Message" and "Send Message Batch" of its REST API: a
-- batch is taken as a whole, its content type has no parameters, and it is no
-- larger than a message of the tier "Standard" may be.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('azure_service_bus', 'webhook', 'Azure Service Bus over HTTP: Send Message to a queue or topic',
	 '{"create": {"path": "{object}/messages", "body": "{record}",
		 "content_type": "application/json; charset=utf-8",
		 "headers": {"BrokerProperties": {"MessageId": "{event.id}", "SessionId": "{ordering_key}",
		   "Label": "{event.type}"}}},
	   "unchanged": "send", "replay": "events", "idempotency_header": "",
	   "batch": {"format": "template", "max_bytes": 256000, "content_type": "application/vnd.microsoft.servicebus.json",
		 "headers": {"BrokerProperties": null}, "body": "{items}",
		 "item": {"Body": "{record:text}", "BrokerProperties": {"MessageId": "{event.id}", "SessionId": "{ordering_key}",
		   "Label": "{event.type}", "ContentType": "application/json; charset=utf-8"}}},
	   "outcomes": [
		 {"name": "quota of the entity", "status": 403, "match": "quota", "outcome": "throttle"},
		 {"name": "credentials", "status": 401, "outcome": "down"},
		 {"name": "disabled", "status": 410, "outcome": "down"}]}',
	 true);

-- Amazon EventBridge, PutEvents (AWS JSON 1.1): an entry that failed has an
-- ErrorCode within a 200.  At most ten entries and 256 KB; results stand in the
-- order of the entries.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('aws_eventbridge', 'webhook', 'Amazon EventBridge: PutEvents to an event bus',
	 '{"create": {"path": "", "headers": {"X-Amz-Target": "AWSEvents.PutEvents"},
		 "body": {"Entries": [{"EventBusName": "{object}", "Source": "{event.source}", "DetailType": "{event.type}",
		   "Resources": ["{event.subject}"], "Detail": "{record:text}"}]},
		 "content_type": "application/x-amz-json-1.1"},
	   "unchanged": "send", "replay": "events", "idempotency_header": "",
	   "batch": {"format": "template", "max_count": 10, "max_bytes": 256000, "body": {"Entries": "{items}"},
		 "content_type": "application/x-amz-json-1.1",
		 "item": {"EventBusName": "{object}", "Source": "{event.source}", "DetailType": "{event.type}",
		   "Resources": ["{event.subject}"], "Detail": "{record:text}"},
		 "answer": {"list": "Entries", "wrap": "array", "missing": "unknown"}},
	   "outcomes": [
		 {"name": "entry was throttled", "status": 200, "path": "Entries.0.ErrorCode", "match": "Throttling", "outcome": "throttle"},
		 {"name": "entry failed", "status": 200, "path": "Entries.0.ErrorCode", "match": "InternalFailure|InternalException", "outcome": "retry"},
		 {"name": "entry was refused", "status": 200, "path": "Entries.0.ErrorCode", "match": "^[A-Z]", "outcome": "dead"},
		 {"name": "throttled", "status": 400, "path": "__type", "match": "Throttling|RequestLimitExceeded", "outcome": "throttle"},
		 {"name": "credentials", "path": "__type", "match": "UnrecognizedClient|ExpiredToken|InvalidSignature|AccessDenied|MissingAuthenticationToken|IncompleteSignature", "outcome": "down"}]}',
	 true);

-- Amazon SQS, SendMessage and SendMessageBatch (AWS JSON 1.0).  A queue whose
-- name ends in .fifo wants a group and takes a deduplication id, another one
-- refuses the latter.  A batch has at most ten messages and 1 MiB; its answer, a
-- 200, names by Id which were taken and which were not, and whose fault it is.
WITH base (definition) AS (VALUES (
	'{"create": {"path": "", "headers": {"X-Amz-Target": "AmazonSQS.SendMessage"},
		"body": {"QueueUrl": "{url}{object}", "MessageBody": "{record:text}", "MessageAttributes": {
		  "ce-specversion": {"DataType": "String", "StringValue": "1.0"},
		  "ce-id": {"DataType": "String", "StringValue": "{event.id}"},
		  "ce-type": {"DataType": "String", "StringValue": "{event.type}"},
		  "ce-source": {"DataType": "String", "StringValue": "{event.source}"},
		  "ce-time": {"DataType": "String", "StringValue": "{event.time}"}}},
		"content_type": "application/x-amz-json-1.0"},
	  "unchanged": "send", "replay": "events", "idempotency_header": "",
	  "message_path": ["message", "Message"],
	  "batch": {"format": "template", "max_count": 10, "max_bytes": 1048576, "id": "m",
		"content_type": "application/x-amz-json-1.0", "headers": {"X-Amz-Target": "AmazonSQS.SendMessageBatch"},
		"body": {"QueueUrl": "{url}{object}", "Entries": "{items}"},
		"item": {"Id": "{request.id}"},
		"answer": {"list": [{"path": "Successful", "status": 200}, {"path": "Failed", "status": 400}],
		  "match": "id", "id": "Id", "missing": "unknown"}},
	  "outcomes": [
		{"name": "message was throttled", "status": 400, "path": "Code", "match": "Throttl|OverLimit", "outcome": "throttle"},
		{"name": "failure at SQS", "status": 400, "path": "SenderFault", "equals": false, "outcome": "retry"},
		{"name": "throttled", "status": 400, "path": "__type", "match": "Throttl|OverLimit|RequestLimitExceeded", "outcome": "throttle"},
		{"name": "credentials", "path": "__type", "match": "UnrecognizedClient|ExpiredToken|InvalidSignature|AccessDenied|InvalidClientTokenId|MissingAuthenticationToken|IncompleteSignature|InvalidSecurity", "outcome": "down"},
		{"name": "no such queue", "path": "__type", "match": "QueueDoesNotExist|NonExistentQueue", "outcome": "down"}]}'::jsonb))
INSERT INTO concord.connector (name, protocol, description, definition, builtin)
	SELECT n.name, 'webhook', n.description,
		   pg_catalog.jsonb_set(
			   pg_catalog.jsonb_set(b.definition, '{create,body}',
									(b.definition OPERATOR(pg_catalog.#>) '{create,body}') OPERATOR(pg_catalog.||) n.more),
			   -- an entry of a batch is the message, with an Id and without the queue
			   '{batch,item}',
			   (b.definition OPERATOR(pg_catalog.#>) '{batch,item}') OPERATOR(pg_catalog.||)
			   ((b.definition OPERATOR(pg_catalog.#>) '{create,body}') OPERATOR(pg_catalog.-) 'QueueUrl'::text) OPERATOR(pg_catalog.||) n.more),
		   true
	FROM base b,
		 (VALUES ('sqs', 'Amazon SQS: SendMessage to a standard queue', '{}'::jsonb),
				 ('sqs_fifo', 'Amazon SQS: SendMessage to a FIFO queue',
				  '{"MessageGroupId": "{ordering_key}", "MessageDeduplicationId": "{event.id}"}')) n (name, description, more);

-- Slack Web API, chat.postMessage: what went wrong stands within a 200.
INSERT INTO concord.connector (name, protocol, description, definition, builtin) VALUES
	('slack', 'webhook', 'Slack: chat.postMessage to a channel',
	 '{"create": {"path": "chat.postMessage", "body": {"channel": "{object}", "...": "{fields}"},
		 "content_type": "application/json; charset=utf-8"},
	   "unchanged": "send", "replay": "events", "idempotency_header": "",
	   "outcomes": [
		 {"name": "rate limited", "path": "error", "match": "^(ratelimited|rate_limited)$", "outcome": "throttle"},
		 {"name": "credentials", "path": "error", "match": "^(invalid_auth|not_authed|account_inactive|token_revoked|token_expired|no_permission|missing_scope|org_login_required|ekm_access_denied)$", "outcome": "down"},
		 {"name": "failure at Slack", "path": "error", "match": "^(internal_error|fatal_error|service_unavailable|request_timeout)$", "outcome": "retry"},
		 {"name": "refused by Slack", "status": 200, "path": "ok", "match": "^false$", "outcome": "dead"}]}',
	 true);
