"""Salesforce REST API.

Documents: "REST API Developer Guide", v60.0: "sObject Basic Information" (POST /sobjects/Object), "sObject Rows" (PATCH, DELETE
/sobjects/Object/Id), "Query" (GET /query?q=), "sObject Rows by External ID" (PATCH, GET, DELETE
/sobjects/Object/Field/Value: 201 or 200 with id, success, errors, created; 300 where several records
match; the field itself must not stand in the body), "Status Codes and Error Responses" (an array of
message and errorCode; 403 REQUEST_LIMIT_EXCEEDED), "Limit Info Header" (Sforce-Limit-Info), "Upsert Multiple
Records with Fewer Round-Trips" (PATCH /composite/sobjects/Object/Field: allOrNone, records with attributes.type
and the field in each, at most 200 of one type; results in their order within a 200), "Composite" (POST
/composite: up to 25 subrequests, in order, answered with 200 whatever became of them; with allOrNone all are undone
when one fails, which has its error, and the others have PROCESSING_HALTED), "Using Reference IDs in Composite
Requests" (@{referenceId.path} in a later subrequest's url or body is a value of an earlier answer).
"""
import copy
import json
import re

from common import Answer, Dialect, Refuse, Request

TOKEN = "00Dxx!session"


class Salesforce(Dialect):
    name = "salesforce"
    required = {"Account": ["Name"], "Contact": ["LastName"]}
    prefix = {"Contact": "003"}
    refers = {"AccountId": "Account"}

    def refuse(self, status, code, message, fields=()):
        return Refuse(status, [{"message": message, "errorCode": code, "fields": list(fields)}],
                      self.limit())

    def limit(self):
        used = self.settings.get("used", 0) + len(self.journal)
        return {"Sforce-Limit-Info": "api-usage=%d/100000" % used}

    def answer(self, request):
        if not request.bearer(TOKEN):
            raise Answer(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
        if request.segments[:3] != ["services", "data", "v60.0"]:
            raise self.refuse(404, "NOT_FOUND", "The requested resource does not exist")
        rest = request.segments[3:]
        if rest == []:
            return Answer(200, {"sobjects": "/services/data/v60.0/sobjects"}, self.limit())
        if rest[:2] == ["composite", "sobjects"] and len(rest) == 4 and request.method == "PATCH":
            return self.collections(request.json(), rest[2], rest[3])
        if rest == ["composite"] and request.method == "POST":
            return self.composite(request)
        if rest == ["query"] and request.method == "GET":
            return self.query(request)
        return self.sobject(request, rest)

    def sobject(self, request, rest):
        """A record by its id or by an external one, or a new one."""
        if rest[:1] == ["sobjects"] and len(rest) == 2 and request.method == "POST":
            return self.create(rest[1], request.json())
        if rest[:1] == ["sobjects"] and len(rest) == 3:
            return self.row(request, rest[1], "Id", rest[2])
        if rest[:1] == ["sobjects"] and len(rest) == 4:
            return self.row(request, rest[1], rest[2], rest[3])
        raise self.refuse(404, "NOT_FOUND", "The requested resource does not exist")

    def query(self, request):
        """SELECT Id FROM Object WHERE Field = 'value'."""
        match = re.fullmatch(r"SELECT Id FROM (\w+) WHERE (\w+) = '(.*)'", request.query.get("q", ""))
        if match is None:
            raise self.refuse(400, "MALFORMED_QUERY", "unexpected token")
        found = [{"Id": i} for i, r in self.collection(match.group(1)).items() if str(r.get(match.group(2))) == match.group(3)]
        return Answer(200, {"totalSize": len(found), "done": True, "records": found}, self.limit())

    def check(self, kind, fields, new):
        missing = [f for f in self.required.get(kind, []) if (new or f in fields) and fields.get(f) is None]
        if missing:
            raise self.refuse(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [%s]" % ", ".join(missing), missing)
        for name, other in self.refers.items():
            if fields.get(name) is not None and fields[name] not in self.collection(other):
                raise Answer(400, [{"errorCode": "INVALID_CROSS_REFERENCE_KEY", "message": "invalid cross reference id", "fields": [name]}])

    def create(self, kind, fields):
        self.check(kind, fields, True)
        new = "%sxx%010dAAA" % (self.prefix.get(kind, "001"), self.number(kind))
        self.collection(kind)[new] = fields
        return Answer(201, {"id": new, "success": True, "errors": [], "created": True}, self.limit())

    def composite(self, request):
        """All subrequests, one after the other; with allOrNone nothing is left of them where one fails."""
        sent = request.json()
        parts = sent.get("compositeRequest")
        if not isinstance(parts, list) or not 0 < len(parts) <= 25:
            raise self.refuse(400, "LIMIT_EXCEEDED", "Limit of 25 sub requests")
        names = [p["referenceId"] for p in parts]
        if len(set(names)) < len(names) or not all(re.fullmatch(r"[A-Za-z]\w*", n) for n in names):
            raise self.refuse(400, "INVALID_INPUT", "referenceIds must be unique and begin with a letter")
        self.batch(parts, 25)
        before = copy.deepcopy(self.records)
        answers, answered, failed = [], {}, False
        for part in parts:
            if failed and sent.get("allOrNone"):
                answer = self.halted()
            else:
                answer = self.part(request, part, answered)
                answered[part["referenceId"]] = answer
            failed = failed or answer.status >= 300
            answers.append({"referenceId": part["referenceId"], "httpStatusCode": answer.status, "httpHeaders": {},
                            "body": json.loads(answer.body) if answer.body else None})
        if failed and sent.get("allOrNone"):
            self.records = before
            for answer in answers:
                if answer["httpStatusCode"] < 300:
                    answer.update(httpStatusCode=400, body=json.loads(self.halted().body))
        return Answer(200, {"compositeResponse": answers}, self.limit())

    def halted(self):
        return Answer(400, [{"errorCode": "PROCESSING_HALTED",
                             "message": "The transaction was rolled back since another operation in the same transaction failed."}])

    def part(self, request, part, answered):
        """One subrequest, its references resolved."""
        def value(match):
            name, _, path = match.group(1).partition(".")
            answer = answered.get(name)
            if answer is None or answer.status >= 300:
                raise Answer(400, [{"errorCode": "PROCESSING_HALTED",
                                    "message": "Invalid reference specified. No value for %s found" % match.group(1)}])
            found = json.loads(answer.body)
            for step in path.split("."):
                found = found[step]
            return str(found)
        try:
            text = re.sub(r"@\{([^}]*)\}", value, json.dumps(part))
            part = json.loads(text)
            inner = Request(part["method"], part["url"], [("content-type", "application/json")],
                            json.dumps(part.get("body")).encode())
            if inner.segments[0] == self.name:      # where this server has it
                del inner.segments[0]
            if inner.segments[:3] != ["services", "data", "v60.0"]:
                return Answer(404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])
            return self.sobject(inner, inner.segments[3:])
        except Answer as answer:
            return answer

    def collections(self, body, kind, field):
        records = self.collection(kind)
        if set(body) != {"allOrNone", "records"} or body["allOrNone"] is not False:
            raise self.refuse(400, "JSON_PARSER_ERROR", "members %s" % sorted(body))
        if len(body["records"]) > 200 or len({str(r.get(field)) for r in body["records"]}) != len(body["records"]):
            raise self.refuse(400, "INVALID_INPUT", "at most 200 records, each once")
        self.batch(body["records"], 200)
        results = []
        for record in body["records"]:
            fields = {k: v for k, v in record.items() if k not in ("attributes", field)}
            if record.get("attributes") != {"type": kind} or not isinstance(record.get(field), str):
                raise self.refuse(400, "INVALID_INPUT", "no type or no external id in %s" % record)
            fate = self.fate(fields)
            if fate:
                code = "FIELD_CUSTOM_VALIDATION_EXCEPTION" if fate == "refuse" else "UNABLE_TO_LOCK_ROW"
                results.append({"success": False, "errors": [{"statusCode": code, "message": fate, "fields": []}]})
                continue
            found = next((i for i, r in records.items() if str(r.get(field)) == record[field]), None)
            new = found or "001xx%010dAAA" % self.number(kind)
            records.setdefault(new, {field: record[field]}).update(fields)
            results.append({"id": new, "success": True, "errors": [], "created": found is None})
        return Answer(200, results, self.limit())

    def row(self, request, kind, field, value):
        records = self.collection(kind)
        found = [i for i, r in records.items() if value == (i if field == "Id" else str(r.get(field)))]
        if len(found) > 1:
            raise Answer(300, ["/services/data/v60.0/sobjects/%s/%s" % (kind, i) for i in found], self.limit())
        if request.method == "GET":
            if not found:
                raise Answer(404, [{"errorCode": "NOT_FOUND", "message": "Provided external ID field does not exist or is not accessible: " + field}], self.limit())
            return Answer(200, dict(records[found[0]], Id=found[0]), self.limit())
        if request.method == "DELETE":
            if not found:
                raise Answer(404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}], self.limit())
            del records[found[0]]
            return Answer(204, None, self.limit())
        if request.method != "PATCH":
            raise self.refuse(405, "METHOD_NOT_ALLOWED", "HTTP Method '%s' not allowed" % request.method)
        fields = request.json()
        if field in fields or "Id" in fields:
            raise self.refuse(400, "INVALID_FIELD", "The %s field should not be specified in the sobject data." % field)
        if found:
            self.check(kind, fields, False)
            records[found[0]].update(fields)
            return Answer(200, {"id": found[0], "success": True, "errors": [], "created": False}, self.limit())
        if field == "Id":
            raise self.refuse(404, "NOT_FOUND", "The requested resource does not exist")
        return self.create(kind, dict(fields, **{field: value}))
