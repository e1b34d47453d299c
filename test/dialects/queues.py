"""Queues and streams over HTTP, and Slack.

Documents:
google_pubsub      Pub/Sub REST reference v1, projects.topics.publish (PublishRequest, PubsubMessage); "Quotas and limits"
                   (1000 messages, 10 MB); FAILED_PRECONDITION for different ordering keys in one request, as in
                   yoshidan/google-cloud-rust issue 226.
kafka_rest         Confluent REST Proxy API reference v2, POST /topics/(topic_name): media types, offsets with
                   error_code and error, {"error_code": 40401, "message"}.
azure_service_bus  Azure Service Bus REST, "Send Message": 201, BrokerProperties, Authorization; "Send Message Batch": an
                   array of Body (a text), BrokerProperties, UserProperties; the Content-Type without parameters.
aws_eventbridge    EventBridge API reference, PutEvents: Entries (at most 10, 256 KB together; results in their order),
                   FailedEntryCount, ErrorCode; AWS JSON 1.1.
sqs, sqs_fifo      SQS API reference, SendMessage: AWS JSON 1.0, MessageAttributes, MD5OfMessageBody; SendMessageBatch: at
                   most 10 entries and 1 MiB, Ids that differ, Successful and Failed (Id, Code, Message, SenderFault).
slack              Slack Web API, chat.postMessage: {"ok": false, "error": ...} within a 200.
"""
import base64
import hashlib
import json
import re

from common import Answer, Dialect, Refuse


def need(condition, refusal):
    if not condition:
        raise refusal


class Messages(Dialect):
    """Messages in the order of their arrival, by queue."""

    def take(self, queue, message):
        self.records.setdefault(queue, []).append(message)
        return len(self.records[queue])


class PubSub(Messages):
    name = "google_pubsub"

    def error(self, code, status, message):
        return Refuse(code, {"error": {"code": code, "message": message, "status": status}})

    def answer(self, request):
        if not request.bearer("ya29.token"):
            raise Answer(401, {"error": {"code": 401, "message": "Request had invalid authentication credentials.",
                                         "status": "UNAUTHENTICATED"}})
        match = re.fullmatch(r"/v1/(projects/[^/]+/topics/[^/:]+):publish", request.path)
        need(match and request.method == "POST", self.error(404, "NOT_FOUND", "no such method"))
        body = request.json()
        need(set(body) == {"messages"} and body["messages"], self.error(400, "INVALID_ARGUMENT", "messages is empty"))
        self.batch(body["messages"], 1000)
        need(len(request.body) <= 10000000, self.error(400, "INVALID_ARGUMENT", "the request is too large"))
        need(len({m.get("orderingKey") for m in body["messages"]}) == 1,
             self.error(400, "FAILED_PRECONDITION", "all messages must have no ordering key or the same ordering key"))
        if any(self.fate(base64.b64decode(m.get("data", "")).decode()) == "refuse" for m in body["messages"]):
            raise Answer(400, {"error": {"code": 400, "message": "refused", "status": "INVALID_ARGUMENT"}})
        ids = []
        for message in body["messages"]:
            need(set(message) <= {"data", "attributes", "orderingKey"},
                 self.error(400, "INVALID_ARGUMENT", "Unknown name in %s" % sorted(message)))
            need(all(isinstance(v, str) for v in message.get("attributes", {}).values()),
                 self.error(400, "INVALID_ARGUMENT", "attributes are strings"))
            try:
                data = json.loads(base64.b64decode(message["data"], validate=True))
            except (KeyError, ValueError) as problem:
                raise self.error(400, "INVALID_ARGUMENT", "data: %s" % problem)
            ids.append(str(self.take(match[1], dict(message, data=data))))
        return Answer(200, {"messageIds": ids})


class KafkaRest(Messages):
    name = "kafka_rest"

    def answer(self, request):
        media = "application/vnd.kafka.v2+json"
        match = re.fullmatch(r"/topics/([^/]+)", request.path)
        need(match and request.method == "POST", Refuse(404, {"error_code": 404, "message": "HTTP 404 Not Found"}))
        need(request.header("content-type") == "application/vnd.kafka.json.v2+json",
             Refuse(415, {"error_code": 415, "message": "HTTP 415 Unsupported Media Type"}))
        need(media in (request.header("accept") or ""), Refuse(406, {"error_code": 406, "message": "HTTP 406 Not Acceptable"}))
        body = request.json()
        need(body.get("records"), Refuse(422, {"error_code": 42201, "message": "Request includes no records"}))
        self.batch(body["records"], 1000)
        offsets = []
        for record in body["records"]:
            need(set(record) <= {"key", "value", "partition"}, Refuse(422, {"error_code": 42200, "message": "unknown field"}))
            fate = self.fate(record)
            if fate:
                offsets.append({"partition": None, "offset": None, "error_code": 1 if fate == "refuse" else 2, "error": fate})
                continue
            offsets.append({"partition": 0, "offset": self.take(match[1], record) - 1, "error_code": None, "error": None})
        return Answer(200, {"key_schema_id": None, "value_schema_id": None, "offsets": offsets}, {"Content-Type": media})


class ServiceBus(Messages):
    name = "azure_service_bus"

    def answer(self, request):
        if not request.bearer("eyJ.token"):
            raise Answer(401, "<Error><Code>401</Code><Detail>MalformedToken</Detail></Error>", {"Content-Type": "application/xml"})
        match = re.fullmatch(r"/([^/]+)/messages", request.path)
        need(match and request.method == "POST", Refuse(404, "<Error><Code>404</Code></Error>", {"Content-Type": "application/xml"}))
        kind = request.header("content-type") or ""
        if kind.startswith("application/vnd.microsoft.servicebus.json"):
            need(kind == "application/vnd.microsoft.servicebus.json", Refuse(400, "<Error><Code>400</Code><Detail>Content-Type</Detail></Error>"))
            need(request.header("brokerproperties") is None, Refuse(400, "<Error><Code>400</Code><Detail>BrokerProperties</Detail></Error>"))
            return self.many(request, match[1])
        try:
            properties = json.loads(request.header("brokerproperties") or "{}")
        except ValueError as problem:
            raise Refuse(400, "<Error><Code>400</Code><Detail>BrokerProperties: %s</Detail></Error>" % problem)
        self.check(properties)
        if self.fate(request.body.decode()) == "refuse":
            raise Answer(400, "<Error><Code>400</Code><Detail>refused</Detail></Error>")
        self.take(match[1], {"body": request.json(), "properties": properties})
        return Answer(201, "")

    def check(self, properties):
        need(set(properties) <= {"MessageId", "SessionId", "Label", "PartitionKey", "CorrelationId", "ContentType"}
             and all(isinstance(v, str) for v in properties.values()),
             Refuse(400, "<Error><Code>400</Code><Detail>%s</Detail></Error>" % properties))
        need(len(properties.get("MessageId", "")) <= 128 and len(properties.get("SessionId", "")) <= 128,
             Refuse(400, "<Error><Code>400</Code><Detail>too long</Detail></Error>"))

    def many(self, request, queue):
        messages = request.json()
        self.batch(messages, 1000)
        need(len(request.body) <= 262144, Refuse(403, "<Error><Code>403</Code><Detail>too large</Detail></Error>"))
        if any(self.fate(m["Body"]) == "refuse" for m in messages):
            raise Answer(400, "<Error><Code>400</Code><Detail>refused</Detail></Error>")
        for message in messages:
            need(set(message) <= {"Body", "BrokerProperties", "UserProperties"} and isinstance(message["Body"], str),
                 Refuse(400, "<Error><Code>400</Code><Detail>%s</Detail></Error>" % sorted(message)))
            self.check(message["BrokerProperties"])
        for message in messages:
            self.take(queue, {"body": json.loads(message["Body"]), "properties": message["BrokerProperties"]})
        return Answer(201, "")


class Aws(Messages):
    """What the JSON protocols of AWS share; the signature has a test of its own."""
    service = media = None

    def error(self, kind, message):
        return Refuse(400, json.dumps({"__type": kind, "message": message}), {"Content-Type": self.media})

    def operation(self, request, target):
        signature = request.header("authorization") or ""
        need(re.match(r"AWS4-HMAC-SHA256 Credential=AKID/\d{8}/eu-central-1/%s/aws4_request, ?SignedHeaders=[^,]*x-amz-target" % self.service, signature),
             Answer(400, json.dumps({"__type": "com.amazon.coral.service#MissingAuthenticationTokenException", "message": signature}), {"Content-Type": self.media}))
        need(request.method == "POST" and request.path == "/", self.error("UnknownOperationException", request.path))
        need(request.header("content-type") == self.media, self.error("SerializationException", "Content-Type"))
        need(request.header("x-amz-target") == target, self.error("UnknownOperationException", request.header("x-amz-target")))
        return json.loads(request.body)


class EventBridge(Aws):
    name = "aws_eventbridge"
    service = "events"
    media = "application/x-amz-json-1.1"

    def answer(self, request):
        body = self.operation(request, "AWSEvents.PutEvents")
        entries = body.get("Entries", [])
        need(set(body) == {"Entries"} and 1 <= len(entries) <= 10, self.error("ValidationException", "Entries"))
        self.batch(entries, 10)
        need(sum(len(str(v).encode()) for e in entries for v in e.values()) < 262144, self.error("ValidationException", "Total size"))
        results = []
        for entry in entries:
            need(set(entry) <= {"EventBusName", "Source", "DetailType", "Resources", "Detail", "Time"},
                 self.error("SerializationException", sorted(entry)))
            try:
                need(isinstance(json.loads(entry["Detail"]), dict), self.error("ValidationException", "Detail"))
            except ValueError:
                results.append({"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."})
                continue
            fate = self.fate(entry["Detail"])
            if fate:
                results.append({"ErrorCode": "NotAuthorizedForDetailTypeException" if fate == "refuse" else "InternalFailure", "ErrorMessage": fate})
                continue
            results.append({"EventId": "e-%d" % self.take(entry["EventBusName"], entry)})
        failed = sum("ErrorCode" in r for r in results)
        return Answer(200, json.dumps({"FailedEntryCount": failed, "Entries": results}), {"Content-Type": self.media})


class Sqs(Aws):
    name = "sqs"
    service = "sqs"
    media = "application/x-amz-json-1.0"

    def answer(self, request):
        if request.header("x-amz-target") == "AmazonSQS.SendMessageBatch":
            return self.many(request)
        body = self.operation(request, "AmazonSQS.SendMessage")
        queue = self.queue(body)
        self.message(queue, body, {"QueueUrl"})
        return Answer(200, json.dumps({"MD5OfMessageBody": hashlib.md5(body["MessageBody"].encode()).hexdigest(),
                                       "MessageId": "m-1"}), {"Content-Type": self.media})

    def queue(self, body):
        queue = re.search(r"/(\d{12}/[\w.-]+)$", body.get("QueueUrl", ""))
        need(queue, self.error("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist."))
        return queue[1]

    def many(self, request):
        body = self.operation(request, "AmazonSQS.SendMessageBatch")
        queue = self.queue(body)
        entries = body.get("Entries", [])
        need(set(body) == {"QueueUrl", "Entries"} and entries, self.error("com.amazonaws.sqs#EmptyBatchRequest", "no entries"))
        need(len(entries) <= 10, self.error("com.amazonaws.sqs#TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10."))
        self.batch(entries, 10)
        need(sum(len(e["MessageBody"].encode()) for e in entries) <= 1048576,
             self.error("com.amazonaws.sqs#BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes."))
        ids = [e.get("Id", "") for e in entries]
        need(len(set(ids)) == len(ids), self.error("com.amazonaws.sqs#BatchEntryIdsNotDistinct", "Id"))
        need(all(re.fullmatch(r"[\w-]{1,80}", i) for i in ids), self.error("com.amazonaws.sqs#InvalidBatchEntryId", "Id"))
        done = {"Successful": [], "Failed": []}
        for entry in reversed(entries):     # no order is promised
            fate = self.fate(entry["MessageBody"])
            if fate:
                done["Failed"].append({"Id": entry["Id"], "SenderFault": fate == "refuse", "Message": fate,
                                       "Code": "InvalidMessageContents" if fate == "refuse" else "InternalError"})
                continue
            self.message(queue, entry, {"Id"})
            done["Successful"].append({"Id": entry["Id"], "MessageId": "m-1",
                                       "MD5OfMessageBody": hashlib.md5(entry["MessageBody"].encode()).hexdigest()})
        return Answer(200, json.dumps({k: v for k, v in done.items() if v}), {"Content-Type": self.media})

    def message(self, queue, body, beside):
        allowed = {"MessageBody", "MessageAttributes"} | beside
        if queue.endswith(".fifo"):
            allowed |= {"MessageGroupId", "MessageDeduplicationId"}
            need(body.get("MessageGroupId"), self.error("com.amazonaws.sqs#MissingParameter", "MessageGroupId"))
            sent = [m for m in self.records.get(queue, []) if m["MessageDeduplicationId"] == body["MessageDeduplicationId"]]
        else:
            sent = []
        need(set(body) <= allowed, self.error("com.amazon.coral.validate#InvalidParameterValue", sorted(body)))
        attributes = body.get("MessageAttributes", {})
        need(len(attributes) <= 10 and all(a.get("StringValue") for a in attributes.values()),
             self.error("com.amazonaws.sqs#InvalidParameterValue", "MessageAttributes"))
        if not sent:
            self.take(queue, body)


class SqsFifo(Sqs):
    name = "sqs_fifo"


class Slack(Messages):
    name = "slack"

    def answer(self, request):
        need(request.segments == ["api", "chat.postMessage"] and request.method == "POST",
             Refuse(200, {"ok": False, "error": "unknown_method"}))
        if not request.bearer("xoxb-token"):
            raise Answer(200, {"ok": False, "error": "invalid_auth"})
        body = request.json()
        need(re.fullmatch(r"C[A-Z0-9]+", body.get("channel", "")), Refuse(200, {"ok": False, "error": "channel_not_found"}))
        need(body.get("text") or body.get("blocks"), Refuse(200, {"ok": False, "error": "no_text"}))
        self.take(body["channel"], body)
        return Answer(200, {"ok": True, "channel": body["channel"], "ts": "1503435956.000247", "message": {"text": body.get("text")}})
