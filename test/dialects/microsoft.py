"""Microsoft: Dataverse (Dynamics 365) and Business Central.

Documents: Dataverse Web API, "Upsert a table row", "Retrieve a table row using an alternate key", "Compose HTTP
requests and handle errors" (412 for ConcurrencyVersionMismatch and for DuplicateRecord), "Service protection
API limits" (429, three codes, Retry-After, x-ms-ratelimit headers); Business Central API v2.0, "Create
customer", "Update customer" (POST 201, PATCH 200 with the object, If-Match required), "Error codes".
"""
import re

from common import Answer, Refuse
from parts import batch, batch_json
from wire import GUID, OData, entity, metadata

TOKEN = "eyJ0.entra.token"


class Dataverse(OData):
    name = "dataverse"
    sets = {"accounts": {"key": "accountnumber", "properties": {
        "accountnumber": "text", "name": "text", "creditlimit": "decimal"}}}
    left = {"x-ms-ratelimit-burst-remaining-xrm-requests": "5999", "x-ms-ratelimit-time-remaining-xrm-requests": "1,199.50",
            "OData-Version": "4.0"}

    def error(self, code, message):
        return {"error": {"code": code, "message": message}}

    def answer(self, request):
        if not request.bearer(TOKEN):
            raise Answer(401, "", {"WWW-Authenticate": "Bearer authorization_uri=https://login.microsoftonline.com/"})
        if request.header("odata-version") != "4.0" or request.header("odata-maxversion") is None:
            raise self.refuse(400, "0x80048d19", "OData-Version is not 4.0")
        rest = request.segments[3:]
        if request.segments[:3] != ["api", "data", "v9.2"]:
            raise self.refuse(404, "0x80060888", "Resource not found for the segment")
        if rest in ([], [""]):
            return Answer(200, {"value": [{"name": s} for s in self.sets]}, self.left)
        if rest == ["$metadata"]:
            return metadata("dataverse", ("OData-Version", "4.0"), request)
        if rest == ["$batch"]:
            return batch(self, "/api/data/v9.2/", request, False)
        name, named, key = entity(rest[0])
        if name not in self.sets or len(rest) != 1:
            raise self.refuse(404, "0x80060888", "Resource not found for the segment '%s'" % rest[0])
        if named != self.sets[name]["key"] or key is None or key.kind != "text":
            raise self.refuse(400, "0x80060888", "Bad Request - Error in query syntax: %s" % rest[0])
        return self.row(request, name, str(key))

    def row(self, request, name, key):
        records = self.collection(name)
        if self.settings.pop("changed_by_another", None):
            self.touch(name, key)
        match = request.header("if-match")
        if key not in records and (request.method != "PATCH" or match is not None):
            raise Answer(404, self.error("0x80060891", "A record with the specified key values does not exist in account entity"), self.left)
        if key in records and match not in (None, "*", self.tag(name, key)):
            raise Answer(412, self.error("0x80060882", "The version of the existing record doesn't match the RowVersion property provided."), self.left)
        if request.method == "GET":
            return Answer(200, self.shown(name, key), self.left)
        if request.method == "DELETE":
            del records[key]
            return Answer(204, None, self.left)
        if request.method != "PATCH":
            raise self.refuse(405, "0x80060888", "Method not allowed")
        body = self.check_body(name, request.json())
        if self.sets[name]["key"] in body:
            raise self.refuse(400, "0x80040216", "the alternate key stands in the address and in the body")
        records.setdefault(key, {"accountid": "%08x-0000-4000-8000-000000000000" % self.number(name), self.sets[name]["key"]: key})
        records[key].update(body)
        self.touch(name, key)
        where = "https://org.crm.dynamics.com/api/data/v9.2/accounts(%s)" % records[key]["accountid"]
        return Answer(204, None, dict(self.left, **{"OData-EntityId": where}))


class BusinessCentral(OData):
    name = "business_central"
    company = "f6f49b0a-0001-4c2b-9b4e-6b7f0b1d0c01"
    sets = {"customers": {"key": "number", "properties": {
        "number": "text", "displayName": "text", "creditLimit": "decimal"}}}

    def tag(self, name, key):
        return 'W/"JzQ0O%s7MDsn"' % self.versions.get((name, key), 1)

    def folded(self, body):
        """No. is of type Code[20], which holds upper case letters only, whatever was written."""
        return dict(body, number=body["number"].upper()) if "number" in body else body

    def search(self, name, text):
        return super().search(name, re.sub(r"number eq '[^']*'", lambda m: "number eq " + m[0][10:].upper(), text))

    def answer(self, request):
        if not request.bearer(TOKEN):
            raise Answer(401, {"error": {"code": "Authentication_InvalidCredentials", "message": "The server has rejected the client credentials."}})
        if request.segments[:4] != ["v2.0", "production", "api", "v2.0"]:
            raise self.refuse(404, "BadRequest_NotFound", "no such address")
        rest = request.segments[4:]
        if rest == [""] or not rest:
            return Answer(200, {"value": []})
        if rest == ["$metadata"]:
            return metadata("business_central", ("OData-Version", "4.0"), request)
        if rest == ["$batch"]:
            return batch_json(self, "/v2.0/production/api/v2.0/", request)
        if rest[0] != "companies(%s)" % self.company:
            raise self.refuse(404, "BadRequest_ResourceNotFound", "The company %r is not there" % rest[0])
        if rest[1:] in ([], [""]):
            return Answer(200, {"id": self.company})
        name, named, key = entity(rest[1])
        if name not in self.sets or len(rest) != 2 or named is not None:
            raise self.refuse(404, "BadRequest_ResourceNotFound", "No HTTP resource was found that matches %s" % rest[1])
        if key is None:
            return self.collect(request, name)
        if not re.fullmatch(GUID, key) or key.kind != "guid":
            raise self.refuse(400, "BadRequest", "Bad Request - Error in query syntax")
        return self.record(request, name, str(key))

    def collect(self, request, name):
        records = self.collection(name)
        if request.method == "GET":
            return Answer(200, {"value": [self.shown(name, k) for k in self.search(name, request.query.get("$filter", ""))]})
        if request.method != "POST":
            raise self.refuse(405, "BadRequest_MethodNotAllowed", "Method not allowed")
        body = self.folded(self.check_body(name, request.json()))
        if any(r["number"] == body.get("number") for r in records.values()):
            raise Answer(400, {"error": {"code": "Internal_EntityWithSameKeyExists", "message": "The record in table Customer already exists. Identification fields and values: No.='%s'" % body["number"]}})
        key = "%08x-aaaa-ed11-9f73-6045bd1dd001" % self.number(name)
        records[key] = dict(body, id=key)
        return Answer(201, self.shown(name, key))

    def record(self, request, name, key):
        records = self.collection(name)
        if key not in records:
            raise Answer(404, {"error": {"code": "BadRequest_ResourceNotFound", "message": "The record was not found."}})
        if request.method == "GET":
            return Answer(200, self.shown(name, key))
        changed = {"error": {"code": "Request_EntityChanged", "message": "Another user has already changed the record."}}
        if self.if_match(request, name, key, 409, changed) is None:
            raise self.refuse(400, "BadRequest", "If-Match is required")
        if request.method == "DELETE":
            del records[key]
            return Answer(204)
        if request.method != "PATCH":
            raise self.refuse(405, "BadRequest_MethodNotAllowed", "Method not allowed")
        records[key].update(self.folded(self.check_body(name, request.json())))
        self.touch(name, key)
        return Answer(200, self.shown(name, key))
