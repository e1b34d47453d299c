"""Odoo's JSON-2 API: POST /json/2/<model>/<method>, arguments by name, `ids` beside them.

Document: odoo/documentation, developer/reference/external_api (Odoo 19): bearer token, X-Odoo-Database,
create(vals_list) answers a list of ids in their order, a call is a transaction, write(ids, vals), unlink(ids), read(ids); errors are
{"name", "message", "arguments", "context", "debug"} with a real status.
"""
from common import Answer, Dialect, Refuse

TOKEN = "6578616d706c65206a736f6e20617069206b6579"
SIGNATURES = {"create": {"vals_list"}, "write": {"vals"}, "unlink": set(), "read": {"fields"},
              "search_read": {"domain", "fields", "limit"}}


class Odoo(Dialect):
    name = "odoo"

    def refuse(self, status, name, message):
        return Refuse(status, {"name": name, "message": message, "arguments": [message], "context": {},
                               "debug": "Traceback (most recent call last): ..."})

    def answer(self, request):
        if request.path == "/web/version":
            return Answer(200, {"version": "19.0"})
        if not request.bearer(TOKEN):
            raise Answer(401, {"name": "werkzeug.exceptions.Unauthorized", "message": "Invalid apikey",
                               "arguments": ["Invalid apikey", 401], "context": {}, "debug": ""})
        if len(request.segments) != 4 or request.segments[:2] != ["json", "2"] or request.method != "POST":
            raise self.refuse(404, "werkzeug.exceptions.NotFound", "no such address")
        model, method = request.segments[2:]
        if method not in SIGNATURES:
            raise self.refuse(404, "werkzeug.exceptions.NotFound", "the model '%s' has no method '%s'" % (model, method))
        arguments = request.json()
        ids = arguments.pop("ids", [])
        arguments.pop("context", None)
        if set(arguments) - SIGNATURES[method] or (SIGNATURES[method] - {"fields"}) - set(arguments):
            raise self.refuse(422, "builtins.TypeError", "%s() got arguments %s" % (method, sorted(arguments)))
        return self.call(model, method, ids, arguments)

    def call(self, model, method, ids, arguments):
        records = self.collection(model)
        if method == "search_read":
            (field, operator, value), = arguments["domain"]
            if operator != "=" or ids:
                raise self.refuse(422, "builtins.TypeError", "domain %s" % arguments["domain"])
            return Answer(200, [{f: int(i) if f == "id" else r.get(f) for f in arguments["fields"]}
                                for i, r in records.items() if str(r.get(field)) == value][:arguments["limit"]])
        if method == "create":
            new = []
            self.batch(arguments["vals_list"], 1000)
            if any(values.get("name") is None for values in arguments["vals_list"]):
                raise self.refuse(422, "odoo.exceptions.ValidationError", "The field 'name' is required")
            if any(self.fate(values) == "refuse" for values in arguments["vals_list"]):
                raise Answer(422, {"name": "odoo.exceptions.ValidationError", "message": "refused", "arguments": [], "context": {}, "debug": ""})
            for values in arguments["vals_list"]:
                new.append(self.number(model))
                records[str(new[-1])] = values
            return Answer(200, new)
        if not ids or not all(type(i) is int for i in ids):
            raise self.refuse(422, "builtins.TypeError", "ids is a list of integers")
        missing = [i for i in ids if str(i) not in records]
        if method == "read":
            return Answer(200, [dict(records[str(i)], id=i) for i in ids if i not in missing])
        if missing:
            raise Answer(404, {"name": "odoo.exceptions.MissingError", "message": "Record does not exist or has been deleted.",
                               "arguments": [], "context": {}, "debug": ""})
        if method == "unlink":
            self.batch(ids, 1000)
        for i in ids:
            if method == "write":
                records[str(i)].update(arguments["vals"])
            else:
                del records[str(i)]
        return Answer(200, True)
