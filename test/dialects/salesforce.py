"""Salesforce REST API.

Documents: "REST API Developer Guide", v60.0: "sObject Rows by External ID" (PATCH, GET, DELETE
/sobjects/Object/Field/Value: 201 or 200 with id, success, errors, created; 300 where several records
match; the field itself must not stand in the body), "Status Codes and Error Responses" (an array of
message and errorCode; 403 REQUEST_LIMIT_EXCEEDED), "Limit Info Header" (Sforce-Limit-Info), "Upsert Multiple
Records with Fewer Round-Trips" (PATCH /composite/sobjects/Object/Field: allOrNone, records with attributes.type
and the field in each, at most 200 of one type; results in their order within a 200), "Composite" (25 requests).
"""
import json
import re

from common import Answer, Dialect, Refuse, Request

TOKEN = "00Dxx!session"


class Salesforce(Dialect):
    name = "salesforce"
    required = {"Account": ["Name"]}

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
        if len(rest) != 4 or rest[0] != "sobjects":
            raise self.refuse(404, "NOT_FOUND", "The requested resource does not exist")
        return self.row(request, rest[1], rest[2], rest[3])

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

    def composite(self, request):
        body = request.json()
        parts = body.get("compositeRequest", [])
        if len(parts) > 25 or len({p.get("referenceId") for p in parts}) != len(parts):
            raise self.refuse(400, "INVALID_INPUT", "at most 25 requests, each with a name of its own")
        self.batch(parts, 25)
        results = []
        for part in parts:
            part["url"] = part["url"].replace("/" + self.name, "", 1)   # where the dialect is mounted
            inner = Request(part["method"], part["url"], [("Authorization", "Bearer " + TOKEN), ("Content-Type", "application/json")],
                            json.dumps(part.get("body")).encode())
            if not re.fullmatch(r"\w+", part["referenceId"]) or not part["url"].startswith("/services/data/v60.0/sobjects/"):
                raise self.refuse(400, "INVALID_INPUT", "%s %s" % (part["referenceId"], part["url"]))
            try:
                answer = self.answer(inner)
            except Answer as raised:
                answer = raised
            results.append({"body": json.loads(answer.body or b"null"), "httpHeaders": {}, "httpStatusCode": answer.status,
                            "referenceId": part["referenceId"]})
        return Answer(200, {"compositeResponse": results}, self.limit())

    def row(self, request, kind, field, value):
        records = self.collection(kind)
        found = [i for i, r in records.items() if str(r.get(field)) == value]
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
            records[found[0]].update(fields)
            return Answer(200, {"id": found[0], "success": True, "errors": [], "created": False}, self.limit())
        missing = [f for f in self.required.get(kind, []) if fields.get(f) is None]
        if missing:
            raise self.refuse(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [%s]" % ", ".join(missing), missing)
        new = "001xx%010dAAA" % self.number(kind)
        records[new] = dict(fields, **{field: value})
        return Answer(201, {"id": new, "success": True, "errors": [], "created": True}, self.limit())
