"""An OData service that tells what has changed, for pulls.

Documents: OData Version 4.01 Part 1 (Protocol), 11.3 "Requesting changes" (track-changes, delta links, 410 Gone
for one that is not valid any more), JSON Format 4.01, 14 "Delta payload" and 15.3 "Deleted entity" (@removed), JSON
Format 4.0, 14.2 ($deletedEntity), Protocol 11.2.6.7 (nextLink), RFC 9110 13 (If-Match).

Settings: page (records of a page), forget (tokens up to this number are gone), clock (seconds that the system's
clock is ahead), style ("4.0": deleted entities as that version has them), untracked (no delta links), circle (a
nextLink that is its own page), lost (records that lists leave out), silent (records without ModifiedAt), twice
(records that lists have a second time, with these values), nameless (records without an id in lists), first (the
first id that is given to a record that comes without one).
"""
import datetime
import re
import urllib.parse

from common import Answer
from wire import OData, entity

FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


class Feed(OData):
    name = "feed"
    sets = {"Things": {"key": "ID", "properties": {
        "ID": "number", "Name": "text", "Stock": "number", "Price": "decimal", "Owner": "number"}}}

    def reset(self):
        super().reset()
        self.changes = []       # (set, key, gone) in order
        self.times = {}         # (set, key) -> when it was changed

    def note(self, name, key, gone=False):
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.settings.get("clock", 0))
        self.changes.append((name, key, gone))
        self.times[name, key] = now
        self.touch(name, key)

    def shown(self, name, key):
        record = super().shown(name, key)
        if key not in self.settings.get("silent", []):
            record["ModifiedAt"] = self.times[name, key].strftime(FORM)
        return record

    def answer(self, request):
        name, _, key = entity(request.segments[0])
        if request.segments == ["_edit"]:
            return self.edit(request.json())
        if name not in self.sets or len(request.segments) != 1:
            raise self.refuse(404, "notfound", "no such address")
        if key is not None:
            return self.record(request, name, str(key))
        if request.method == "POST":
            return self.create(name, self.check_body(name, request.json()))
        if request.method != "GET":
            raise self.refuse(405, "method", "Method not allowed")
        if "$deltatoken" in request.query:
            return self.delta(name, int(request.query["$deltatoken"]))
        return self.page(request, name)

    def edit(self, edits):
        """Somebody at the system: [{"set", "key", "values"}] (values null: deleted)."""
        for edit in edits:
            name, key = edit["set"], str(edit["key"])
            if edit["values"] is None:
                self.collection(name).pop(key, None)
            else:
                self.collection(name).setdefault(key, {self.sets[name]["key"]: edit["key"]}).update(edit["values"])
            self.note(name, key, edit["values"] is None)
        return Answer(204)

    def create(self, name, body):
        of = self.sets[name]["key"]
        if of not in body:
            body[of] = max([self.settings.get("first", 1) - 1] + [int(k) for k in self.collection(name)]) + 1
        key = str(body[of])
        if key in self.collection(name):
            raise Answer(409, {"error": {"code": "exists", "message": "The record exists"}})
        self.collection(name)[key] = body
        self.note(name, key)
        return Answer(201, self.shown(name, key), {"ETag": self.tag(name, key)})

    def record(self, request, name, key):
        records = self.collection(name)
        if key not in records:
            raise Answer(404, {"error": {"code": "notfound", "message": "no such record"}})
        if request.method == "GET":
            return Answer(200, self.shown(name, key), {"ETag": self.tag(name, key)})
        self.if_match(request, name, key, 412, {"error": {"code": "changed", "message": "changed by another"}})
        if request.method == "DELETE":
            del records[key]
            self.note(name, key, True)
            return Answer(204)
        if request.method != "PATCH":
            raise self.refuse(405, "method", "Method not allowed")
        records[key].update(self.check_body(name, request.json()))
        self.note(name, key)
        return Answer(200, self.shown(name, key), {"ETag": self.tag(name, key)})

    def selected(self, request, name):
        """The keys of a list, filtered and in order."""
        keys = [k for k in self.collection(name) if k not in self.settings.get("lost", [])]
        text = request.query.get("$filter")
        if text:
            match = re.fullmatch(r"ModifiedAt ge (\S+)", text)
            if match is None:
                raise self.refuse(400, "filter", "Invalid filter " + text)
            since = datetime.datetime.strptime(match[1], FORM).replace(tzinfo=datetime.timezone.utc)
            keys = [k for k in keys if self.times[name, k] >= since]
        if request.query.get("$orderby"):
            if request.query["$orderby"] != "ModifiedAt asc":
                raise self.refuse(400, "orderby", "Invalid order " + request.query["$orderby"])
            return sorted(keys, key=lambda k: self.times[name, k])
        return sorted(keys, key=int)

    def page(self, request, name):
        keys = self.selected(request, name)
        start = int(request.query.get("$skiptoken", 0))
        size = self.settings.get("page", 100)
        tracked = "odata.track-changes" in request.header("prefer", ) if request.header("prefer") else False
        tracked = (tracked or "mark" in request.query) and not self.settings.get("untracked")
        mark = int(request.query.get("mark", len(self.changes)))
        body = {"value": [self.shown(name, k) for k in keys[start:start + size]]}
        for key, values in self.settings.get("twice", {}).items():
            if key in keys[start:start + size]:
                body["value"].append(dict(self.shown(name, key), **values))
        for record in body["value"]:
            if str(record[self.sets[name]["key"]]) in self.settings.get("nameless", []):
                del record[self.sets[name]["key"]]
        query = {k: v for k, v in request.query.items() if k not in ("$skiptoken", "mark")}
        if self.settings.get("circle") and start > 0:
            body["@odata.nextLink"] = "%s?%s" % (name, urllib.parse.urlencode(request.query, safe="$"))
        elif start + size < len(keys):
            query["$skiptoken"] = start + size
            if tracked:
                query["mark"] = mark
            body["@odata.nextLink"] = "%s?%s" % (name, urllib.parse.urlencode(query, safe="$"))
        elif tracked:
            body["@odata.deltaLink"] = "%s?$deltatoken=%d" % (name, mark)
        return Answer(200, body, {"Preference-Applied": "odata.track-changes"} if tracked else {})

    def gone(self, name, key):
        if self.settings.get("style") == "4.0":
            return {"@odata.context": "$metadata#%s/$deletedEntity" % name, "id": "%s(%s)" % (name, key), "reason": "deleted"}
        return {"@odata.removed": {"reason": "deleted"}, "@odata.id": "%s(%s)" % (name, key), self.sets[name]["key"]: int(key)}

    def delta(self, name, token):
        if token <= self.settings.get("forget", -1):
            raise Answer(410, {"error": {"code": "gone", "message": "The delta link is not valid any more"}})
        size = self.settings.get("page", 100)
        news = {}               # key -> where its changes begin
        for i, (of, key, _) in enumerate(self.changes[token:], token):
            if of == name:
                news.setdefault(key, i)
        keys = list(news)
        value = [self.shown(name, k) if k in self.collection(name) else self.gone(name, k) for k in keys[:size]]
        if len(keys) > size:
            link = {"@odata.nextLink": "%s?$deltatoken=%d" % (name, news[keys[size]])}
        else:
            link = {"@odata.deltaLink": "%s?$deltatoken=%d" % (name, len(self.changes))}
        return Answer(200, dict({"value": value}, **link))
