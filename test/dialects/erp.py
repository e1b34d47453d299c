"""NetSuite, Sage Intacct, Tryton, Sage X3.

Documents: docs.oracle.com NetSuite, "Using External IDs" (eid: and letters, digits, _ and -), "Using the Upsert
Operation" (PUT), "Error Handling in REST Web Services" (o:errorDetails), "Token-based Authentication" (OAuth 1
with HMAC-SHA256); developer.sage.com Intacct, "Error handling" (201, 204, 207, ia::result, ia::error), "Query
service", "Batch, bulk, and composite requests" (an array of at most 500; an address may be a list of keys); trytond doc/topics/rpc.rst and protocols/jsonrpc.py (POST to the database's address with a slash at
its end, id, method and params, Basic authorization, errors as [name, [message, description, domain]] with
status 200); developer.sage.com X3, "Mutation types" and "Fast track to GraphQL" (create, update, delete of a
node, data in the document, read by _id).
"""
import base64
import hashlib
import hmac
import json
import re
import urllib.parse

from common import Answer, Dialect, Refuse, Request


class NetSuite(Dialect):
    name = "netsuite"
    consumer, token, realm = ("ck", "cs"), ("tk", "ts"), "TSTDRV1"
    known = {"companyName": str, "creditLimit": (int, float), "externalId": str}

    def error(self, status, code, detail):
        return {"type": "https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html#sec10.4.1", "title": "Error",
                "status": status, "o:errorDetails": [{"detail": detail, "o:errorCode": code}]}

    def refuse(self, status, code, detail):
        return Refuse(status, self.error(status, code, detail))

    def signed(self, request):
        """Whether the signature is that of RFC 5849, 3.4, with HMAC-SHA256."""
        scheme, _, rest = (request.header("authorization") or "").partition(" ")
        given = {k: urllib.parse.unquote(v) for k, v in re.findall(r'(\w+)="([^"]*)"', rest)}
        if scheme != "OAuth" or given.pop("realm", None) != self.realm or given.get("oauth_signature_method") != "HMAC-SHA256":
            return False
        if (given.get("oauth_consumer_key"), given.get("oauth_token")) != (self.consumer[0], self.token[0]):
            return False
        signature = given.pop("oauth_signature", "")
        quote = lambda text: urllib.parse.quote(text, safe="~")     # noqa: E731
        pairs = sorted((quote(k), quote(v)) for k, v in list(given.items()) + list(request.query.items()))
        url = "http://%s/%s%s" % (request.header("host"), self.name, request.raw_path)
        base = "&".join([request.method, quote(url), quote("&".join("%s=%s" % p for p in pairs))])
        key = "%s&%s" % (self.consumer[1], self.token[1])
        return hmac.compare_digest(signature, base64.b64encode(hmac.new(key.encode(), base.encode(), hashlib.sha256).digest()).decode())

    def answer(self, request):
        if not self.signed(request):
            raise Answer(401, self.error(401, "INVALID_LOGIN", "Invalid login attempt."))
        if request.segments[:2] != ["services", "rest"]:
            raise self.refuse(404, "NONEXISTENT_ID", "no such address")
        rest = request.segments[2:]
        if rest in ([], [""]):
            return Answer(200, {"links": []})
        if rest[:3] != ["record", "v1", "customer"] or len(rest) != 4:
            raise self.refuse(404, "NONEXISTENT_RECORD_TYPE", "Record type %s does not exist" % rest)
        if not re.fullmatch(r"eid:[A-Za-z0-9_-]+", rest[3]):
            raise self.refuse(400, "INVALID_ID", "%s is no id" % rest[3])
        return self.record(request, rest[3][4:])

    def record(self, request, external):
        records = self.collection("customer")
        if external not in records and request.method != "PUT":
            raise Answer(404, self.error(404, "NONEXISTENT_ID", "The record instance does not exist."))
        if request.method == "GET":
            return Answer(200, records[external])
        if request.method == "DELETE":
            del records[external]
            return Answer(204)
        if request.method not in ("PUT", "PATCH"):
            raise self.refuse(405, "METHOD_NOT_ALLOWED", request.method)
        if request.header("x-netsuite-propertynamevalidation") != "Error":
            raise self.refuse(400, "SILENCE", "unknown fields would be dropped without a word")
        body = request.json()
        for member, value in body.items():
            if not isinstance(value, self.known.get(member, ())):
                raise self.refuse(400, "INVALID_CONTENT", "Error while accessing a resource. Unknown field or value: %s" % member)
        if external not in records:
            records[external] = {"id": str(106 + self.number("customer")), "externalId": external}
        records[external].update(body)
        return Answer(204, None, {"Location": "https://tstdrv1.suitetalk.api.netsuite.com/services/rest/record/v1/customer/" + records[external]["id"]})


class Intacct(Dialect):
    name = "sage_intacct"
    known = {"id": str, "name": str, "creditLimit": (int, float)}

    def error(self, code, message):
        return {"ia::result": {"ia::error": {"code": code, "message": message, "errorId": "REST-1028", "supportId": "Wc2xF%7E"}},
                "ia::meta": {"totalCount": 1, "totalSuccess": 0, "totalError": 1}}

    def refuse(self, status, code, message):
        return Refuse(status, self.error(code, message))

    def good(self, result, status=200):
        return Answer(status, {"ia::result": result, "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0}})

    def answer(self, request):
        if not request.bearer("intacct_token"):
            raise Answer(401, self.error("unauthorized", "Invalid token"))
        if request.segments[:3] != ["ia", "api", "v1"]:
            raise self.refuse(404, "notFound", "no such address")
        rest = request.segments[3:]
        if rest in ([], [""]):
            return self.good({})
        if rest == ["services", "core", "query"] and request.method == "POST":
            return self.query(request.json())
        if rest[:3] != ["objects", "accounts-receivable", "customer"] or len(rest) > 4:
            raise self.refuse(404, "notFound", "no such object %s" % rest)
        if len(rest) == 3 and isinstance(request.json(), list):
            return self.many(request)
        return self.record(request, rest[3]) if len(rest) == 4 else self.create(request)

    def many(self, request):
        """Each item as if it had come alone; a result for each, in their order."""
        items, results = request.json(), []
        self.batch(items, 500)
        for item in items:
            fate = self.fate(item)
            key = item.pop("key", None)
            if fate:
                answer = Answer(422 if fate == "refuse" else 500, self.error("operationFailed", fate))
            else:
                one = Request(request.method, request.raw_path, [("Content-Type", "application/json")], json.dumps(item).encode())
                if (key is None) != (request.method == "POST"):
                    raise self.refuse(400, "invalidRequest", "key %s" % key)
                try:
                    answer = self.create(one) if key is None else self.record(one, key)
                except Answer as raised:
                    answer = raised
            results.append(dict(json.loads(answer.body)["ia::result"], **{"ia::status": answer.status}))
        bad = sum("ia::error" in r for r in results)
        return Answer(207 if bad else 201, {"ia::result": results, "ia::meta": {"totalCount": len(items), "totalSuccess": len(items) - bad, "totalError": bad}})

    def query(self, body):
        if set(body) != {"object", "fields", "filters", "start", "size"} or body["object"] != "accounts-receivable/customer":
            raise self.refuse(400, "invalidRequest", "the query has %s" % sorted(body))
        (term,), = [f.items() for f in body["filters"]]
        (field, value), = term[1].items()
        if term[0] != "$eq" or field not in self.known:
            raise self.refuse(400, "invalidRequest", "filter %s" % body["filters"])
        return self.good([{f: k if f == "key" else r.get(f) for f in body["fields"]}
                          for k, r in self.collection("customer").items() if r.get(field) == value])

    def check(self, body):
        for member, value in body.items():
            if not isinstance(value, self.known.get(member, ())):
                raise self.refuse(400, "invalidRequest", "Payload contains errors: %s" % member)
        return body

    def create(self, request):
        if request.method != "POST":
            raise self.refuse(405, "invalidMethod", request.method)
        records, body = self.collection("customer"), self.check(request.json())
        if any(r["id"] == body["id"] for r in records.values()):
            raise Answer(422, self.error("operationFailed", "Another Customer with the given value(s) already exists"))
        key = str(self.number("customer"))
        records[key] = body
        return self.good({"key": key, "id": body["id"], "href": "/objects/accounts-receivable/customer/" + key}, 201)

    def record(self, request, key):
        records = self.collection("customer")
        if key not in records:
            raise Answer(404, self.error("resourceNotFound", "The object does not exist"))
        if request.method == "DELETE":
            del records[key]
            return Answer(204)
        if request.method == "PATCH":
            records[key].update(self.check(request.json()))
        elif request.method != "GET":
            raise self.refuse(405, "invalidMethod", request.method)
        return self.good({"key": key, "id": records[key]["id"], "href": "/objects/accounts-receivable/customer/" + key})


class Tryton(Dialect):
    name = "tryton"
    known = {"name", "code", "credit"}

    def failure(self, name, *what):
        return Refuse(200, {"id": 1, "error": [name, list(what)]})

    def answer(self, request):
        if request.header("authorization") != "Basic " + base64.b64encode(b"concord:secret").decode():
            raise Answer(401, "")
        if request.raw_path != "/erp/":
            raise Refuse(404, "the address is that of the database, with a slash at its end: %s" % request.raw_path)
        if request.method != "POST":
            return Answer(200, "")
        body = request.json()
        if set(body) != {"id", "method", "params"}:
            raise Refuse(400, "not JSON-RPC: %s" % sorted(body))
        kind, _, rest = body["method"].partition(".")
        model, _, method = rest.rpartition(".")
        calls = {"create": (1, self.create), "write": (2, self.write), "delete": (1, self.delete), "search_read": (5, self.search_read)}
        if kind != "model" or model != "party.party" or method not in calls:
            raise self.failure("UserError", "no method " + body["method"], "", None)
        *arguments, context = body["params"]
        if not isinstance(context, dict) or len(arguments) != calls[method][0]:
            raise self.failure("TypeError", "arguments %s" % body["params"], "", None)
        return Answer(200, {"id": body["id"], "result": calls[method][1](*arguments)})

    def values(self, values):
        if set(values) - self.known:
            raise self.failure("AttributeError", "no field %s" % values, "", None)
        credit = values.get("credit")
        if credit is not None:
            if not isinstance(credit, dict) or set(credit) != {"__class__", "decimal"} or credit["__class__"] != "Decimal":
                raise self.failure("UserError", "credit is a Decimal, not %r" % credit, "", None)
            values = dict(values, credit=credit["decimal"])
        return values

    def create(self, vlist):
        new = []
        for values in vlist:
            new.append(self.number("party.party"))
            self.collection("party.party")[str(new[-1])] = self.values(values)
        return new

    def known_ids(self, ids):
        for i in ids:
            if type(i) is not int:
                raise self.failure("TypeError", "id %r" % i, "", None)
        return [str(i) for i in ids if str(i) in self.collection("party.party")]

    def write(self, ids, values):
        for i in self.known_ids(ids):
            self.collection("party.party")[i].update(self.values(values))

    def delete(self, ids):
        for i in self.known_ids(ids):
            del self.collection("party.party")[i]

    def search_read(self, domain, offset, limit, order, fields):
        (field, operator, value), = domain
        if operator != "=" or offset != 0 or order is not None or fields != ["id"] + [field] * (field != "id"):
            raise self.failure("UserError", "search %s" % domain, "", None)
        return [{f: int(i) if f == "id" else r.get(f) for f in fields} for i, r in self.collection("party.party").items()
                if (int(i) if field == "id" else r.get(field)) == value][:limit]


class X3(Dialect):
    name = "sage_x3"
    known = {"code": str, "companyName1": str, "creditLimit": (int, float)}

    def failure(self, message):
        return {"data": {"x3MasterData": {"customer": None}}, "errors": [{"message": message, "path": ["x3MasterData", "customer"]}],
                "extensions": {"diagnoses": []}}

    def literal(self, text):
        """A GraphQL value: the first of a text, and what is left."""
        text = text.lstrip(" ,")
        if text.startswith("{"):
            text, made = text[1:].lstrip(" ,"), {}
            while not text.startswith("}"):
                match = re.match(r"([_A-Za-z]\w*)\s*:", text)
                if match is None:
                    raise Refuse(400, self.failure("Syntax Error: Expected Name, found %s" % text[:40]))
                made[match[1]], text = self.literal(text[match.end():])
                text = text.lstrip(" ,")
            return made, text[1:]
        match = re.match(r'"((?:[^"\\]|\\.)*)"|(-?[0-9.]+)|(null|true|false)', text)
        if match is None:
            raise Refuse(400, self.failure("Syntax Error: Unexpected %s" % text[:40]))
        value = {"null": None, "true": True, "false": False}.get(match[3])
        if match[1] is not None:
            value = re.sub(r'\\(u[0-9a-fA-F]{4}|.)', lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "u" and len(m[1]) == 5 else
                           {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}.get(m[1], m[1]), match[1])
        elif match[2] is not None:
            value = float(match[2])
        return value, text[match.end():]

    def answer(self, request):
        if not request.bearer("x3_token") or request.header("x-xtrem-endpoint") != "SEED":
            raise Answer(401, {"message": "Unauthorized"})
        if request.path != "/xtrem/api" or request.method != "POST":
            raise Refuse(404, {"message": "no such address"})
        query = request.json()["query"]
        match = re.match(r"(mutation )?\{ x3MasterData \{ customer \{ (create|update|delete|read)\((\w+): ", query)
        if match is None or bool(match[1]) != (match[2] != "read"):
            raise Refuse(400, self.failure("Cannot query field: %s" % query))
        value, rest = self.literal(query[match.end():])
        selection = re.fullmatch(r"\)( \{ code \})? \} \} \}", rest)
        argument = {"create": "data", "update": "data", "delete": "code", "read": "_id"}[match[2]]
        if selection is None or bool(selection[1]) == (match[2] == "delete") or match[3] != argument:
            raise Refuse(400, self.failure("Syntax Error: %s" % query))
        done = getattr(self, match[2])(self.collection("customer"), value)
        return Answer(200, {"data": {"x3MasterData": {"customer": {match[2]: done}}}, "extensions": {"diagnoses": []}})

    def check(self, data):
        for member, value in data.items():
            if not isinstance(value, self.known.get(member, ())):
                raise Refuse(200, self.failure("Field \"%s\" is not defined" % member))
        return data

    def create(self, records, data):
        if self.check(data)["code"] in records:
            raise Answer(200, self.failure("Customer %s: Record already exists" % data["code"]))
        records[data["code"]] = data
        return {"code": data["code"]}

    def update(self, records, data):
        if self.check(data)["code"] not in records:
            raise Answer(200, self.failure("Customer %s: record not found" % data["code"]))
        records[data["code"]].update(data)
        return {"code": data["code"]}

    def delete(self, records, code):
        if records.pop(code, None) is None:
            raise Answer(200, self.failure("Customer %s: record not found" % code))
        return 1

    def read(self, records, code):
        return {"code": code} if code in records else None
