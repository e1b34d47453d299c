"""SAP: S/4HANA's OData services of both versions (SAP Gateway), Business One's Service Layer.

Documents: help.sap.com "Cross-Site Request Forgery Protection" (x-csrf-token: Fetch, the token with its
cookies, 403 with x-csrf-token: Required), SAP Gateway Foundation Developer Guide (MERGE, `d`), SAP
knowledge base 3514624 (If-Match: 428 where it is missing, 412 where it is stale); Working with SAP
Business One Service Layer 10.0 (Login, cookies B1SESSION and ROUTEID, 401 with code 301, POST 201,
PATCH 204, ETags with 412 and -2039, -2035, -2028).
"""
import base64

from common import Answer, Refuse
from parts import batch
from wire import OData, entity, metadata

USER = "Basic " + base64.b64encode(b"CONCORD:secret").decode()


class Gateway(OData):
    """SAP Gateway: basic authentication, a CSRF token that counts with its cookie, a client."""

    sets = {"A_BusinessPartner": {"key": "BusinessPartner", "kind": "text", "properties": {
                "BusinessPartner": "text", "OrganizationBPName1": "text", "CreditLimit": "decimal"}},
            "A_SalesOrder": {"key": "SalesOrder", "kind": "text", "number": "%010d", "properties": {
                "PurchaseOrderByCustomer": "text", "SalesOrderType": "text", "TotalNetAmount": "decimal"}}}

    def refuse(self, status, code, message):
        return Refuse(status, self.error(code, message))

    def error(self, code, message):
        return {"error": {"code": code, "message": {"lang": "en", "value": message} if self.v2 else message}}

    def reset(self):
        super().reset()
        self.sessions = {}      # cookie -> token

    def csrf(self, request):
        """A session: asked for with a read, required with all else."""
        token, cookie = request.header("x-csrf-token"), request.header("cookie")
        if request.method in ("GET", "HEAD"):
            if (token or "").lower() != "fetch":
                return {}
            n = self.number("session")
            self.sessions["SAP_SESSIONID_S4P_100=s%d" % n] = "token%d==" % n
            return {"x-csrf-token": "token%d==" % n, "Set-Cookie": [
                "SAP_SESSIONID_S4P_100=s%d; path=/; HttpOnly" % n, "sap-usercontext=sap-client=100; path=/"]}
        if self.settings.pop("sessions_end", None):
            self.sessions = {}
        held = [self.sessions.get(c) for c in (cookie or "").split("; ")]
        if token is None or token not in held:
            raise Answer(403, "CSRF token validation failed", {"x-csrf-token": "Required", "Content-Type": "text/plain"})
        return {}

    def answer(self, request):
        if request.header("authorization") != USER:
            raise Answer(401, "Logon failed", {"WWW-Authenticate": 'Basic realm="SAP NetWeaver"'})
        if request.header("sap-client") != "100":
            raise self.refuse(403, "client", "no client")
        session = self.csrf(request)
        if request.segments == self.root + ["$batch"]:
            return batch(self, "/" + "/".join(self.root) + "/", request, self.v2)
        if request.segments == self.root + ["$metadata"]:
            return metadata(self.document, ("DataServiceVersion", "2.0") if self.v2 else ("OData-Version", "4.0"), request)
        if "json" not in (request.header("accept") or ""):
            raise self.refuse(406, "accept", "this would be XML")
        if request.segments[:len(self.root)] != self.root:
            raise self.refuse(404, "/IWFND/MED/170", "No service found for namespace '', name '%s', version '0001'" % request.path)
        rest = request.segments[len(self.root):]
        if rest in ([], [""]):
            return Answer(200, {"d": {"EntitySets": list(self.sets)}} if self.v2 else {"value": []}, session)
        name, named, key = entity(rest[0], self.v2)
        if name not in self.sets or len(rest) != 1 or (named, getattr(key, "kind", "text")) != (None, "text"):
            raise self.refuse(404, "/IWBEP/CM_MGW_RT/021", "Resource not found for segment '%s'" % rest[0])
        if key is None:
            return self.collect(request, name)
        return self.record(request, name, str(key))

    def collect(self, request, name):
        kind = self.sets[name]
        if request.method == "GET":
            found = [self.shown(name, k) for k in self.search(name, request.query.get("$filter", ""))]
            return Answer(200, {"d": {"results": [f["d"] for f in found]}} if self.v2 else {"value": found})
        if request.method != "POST":
            raise self.refuse(405, "method", "Method not allowed")
        body = self.check_body(name, request.json())
        key = kind["number"] % self.number(name) if "number" in kind else body.get(kind["key"])
        if not key:
            raise self.refuse(400, "R11/401", "%s is required" % kind["key"])
        if key in self.collection(name):
            raise Answer(400, self.error("R11/124", "Business partner %s already exists" % key))
        self.collection(name)[key] = dict(body, **{kind["key"]: key})
        where = "/".join(["https://s4.example.com"] + self.root) + "/%s('%s')" % (name, key)
        return Answer(201, self.shown(name, key), {"Location": where})

    def record(self, request, name, key):
        records = self.collection(name)
        if key not in records:
            raise Answer(404, self.error("/IWBEP/CM_MGW_RT/020", "Resource not found for segment '%s'" % name))
        if request.method == "GET":
            return Answer(200, self.shown(name, key), {"ETag": self.tag(name, key)})
        if request.method not in ("DELETE", "PATCH", "MERGE" if self.v2 else "PATCH"):
            raise self.refuse(405, "method", "Method not allowed")
        stale = self.error("/IWBEP/CM_MGW_RT/076", "Precondition failed: the record was changed by another user")
        if self.if_match(request, name, key, 412, stale) is None:
            raise Answer(428, self.error("/IWFND/CM_MGW/592", "Precondition required"))
        if request.method == "DELETE":
            del records[key]
            return Answer(204)
        body = self.check_body(name, request.json())
        if self.sets[name]["key"] in body:
            raise self.refuse(400, "key", "The key stands in the body")
        records[key].update(body)
        self.touch(name, key)
        return Answer(204, None, {} if self.v2 else {"ETag": self.tag(name, key)})


class S4(Gateway):
    name = "sap_s4"
    document = "s4_v4"
    root = ["sap", "opu", "odata4", "sap", "api_bp", "srvd_a2x", "sap", "bp", "0001"]


class S4v2(Gateway):
    name = "sap_s4_v2"
    document = "gateway_v2"
    v2 = True
    root = ["sap", "opu", "odata", "sap", "API_BUSINESS_PARTNER"]


class BusinessOne(OData):
    """The Service Layer, version 2 (OData 4): a session of cookies."""

    name = "sap_b1"
    sets = {"BusinessPartners": {"key": "CardCode", "kind": "text", "properties": {
                "CardCode": "text", "CardName": "text", "CreditLimit": "decimal", "CardType": "text"}},
            "Orders": {"key": "DocEntry", "kind": "number", "number": "%d", "properties": {
                "NumAtCard": "text", "Comments": "text", "DocTotal": "decimal"}}}

    def answer(self, request):
        if request.segments[:2] != ["b1s", "v2"]:
            raise self.refuse(404, "404", "Resource not found")
        rest = request.segments[2:]
        if rest == ["Login"] and request.method == "POST":
            return self.login(request.json())
        if not set((request.header("cookie") or "").split("; ")) >= {"B1SESSION=" + str(self.settings.get("session")), "ROUTEID=.node1"}:
            raise Answer(401, {"error": {"code": "301", "details": [], "message": "Invalid session or session already timeout."}})
        if self.settings.pop("sessions_end", None):
            self.settings["session"] = None
            raise Answer(401, {"error": {"code": "301", "details": [], "message": "Invalid session or session already timeout."}})
        if rest in ([], [""]):
            return Answer(200, {"value": []})
        if rest == ["$metadata"]:
            return metadata("service_layer", ("OData-Version", "4.0"), request)
        if rest == ["$batch"]:
            return batch(self, "/b1s/v2/", request, False, stops=True)
        name, named, key = entity(rest[0])
        if name not in self.sets or len(rest) != 1 or named is not None:
            raise self.refuse(400, "-1000", "Unrecognized resource path")
        if key is None:
            return self.collect(request, name)
        if key.kind != self.sets[name]["kind"]:
            raise self.refuse(400, "-1000", "Bad key %r" % key)
        return self.record(request, name, str(key))

    def login(self, body):
        if body != {"CompanyDB": "SBODEMO", "UserName": "concord", "Password": "secret"}:
            raise Answer(401, {"error": {"code": "-304", "message": "Fail to get DB Credentials from SLD"}})
        self.settings["session"] = "session%d" % self.number("session")
        return Answer(200, {"SessionId": self.settings["session"], "Version": "1000230", "SessionTimeout": 30},
                      {"Set-Cookie": ["B1SESSION=%s; HttpOnly" % self.settings["session"], "ROUTEID=.node1; path=/b1s"]})

    def collect(self, request, name):
        kind = self.sets[name]
        if request.method == "GET":
            return Answer(200, {"value": [self.shown(name, k) for k in self.search(name, request.query.get("$filter", ""))]})
        body = self.check_body(name, request.json())
        key = kind["number"] % self.number(name) if "number" in kind else body.get(kind["key"])
        if not key:
            raise self.refuse(400, "-5002", "Enter a code")
        if key in self.collection(name):
            raise Answer(400, {"error": {"code": "-2035", "details": [], "message": "This entry already exists in the following tables (ODBC -2035)"}})
        self.collection(name)[key] = dict(body, **{kind["key"]: int(key) if kind["kind"] == "number" else key})
        return Answer(201, self.shown(name, key), {"ETag": self.tag(name, key)})

    def record(self, request, name, key):
        records = self.collection(name)
        if key not in records:
            raise Answer(404, {"error": {"code": "-2028", "details": [], "message": "No matching records found (ODBC -2028)"}})
        if request.method == "GET":
            return Answer(200, self.shown(name, key), {"ETag": self.tag(name, key)})
        self.if_match(request, name, key, 412, {"error": {
            "code": "-2039", "message": "Another user or another operation modified data; to continue, open the window again (ODBC -2039)"}})
        if request.method == "DELETE":
            del records[key]
            return Answer(204)
        if request.method != "PATCH":
            raise self.refuse(405, "-1000", "Method not allowed")
        body = self.check_body(name, request.json())
        if self.sets[name]["key"] in body:
            raise self.refuse(400, "key", "read-only properties are ignored without a word")
        records[key].update(body)
        self.touch(name, key)
        return Answer(204)
