"""What OData services have in common: keys, searches, versions of records, sessions.

Documents: OData Version 4.01 Part 2 (key predicates), OData 2.0 "Overview", 6 (literals), RFC 9110 13
(If-Match), help.sap.com "Cross-Site Request Forgery Protection", SAP Business One Service Layer guide
("Login and Logout").
"""
import pathlib
import re

from common import Answer, Dialect, Refuse

GUID = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"


def metadata(name, version, request):
    """What a service says of itself: a document of test/metadata, which has an ETag."""
    if request.method != "GET":
        raise Refuse(405, {"error": {"code": "405", "message": "Method not allowed"}})
    body = (pathlib.Path(__file__).resolve().parent.parent / "metadata" / (name + ".xml")).read_bytes()
    headers = {"ETag": 'W/"%d"' % len(body), "Content-Type": "application/xml", version[0]: version[1]}
    if request.header("if-none-match") == headers["ETag"]:
        return Answer(304, None, headers)
    return Answer(200, body, headers)


class Literal(str):
    """A value of an address with the kind in which it was written."""

    kind = "text"


def literal(text, v2):
    """Reads 'text', 17, a GUID; None where it is none."""
    made = None
    if re.fullmatch("'(?:[^']|'')*'", text):
        made, kind = Literal(text[1:-1].replace("''", "'")), "text"
    elif re.fullmatch("guid'%s'" % GUID if v2 else GUID, text):
        made, kind = Literal(text[5:-1] if v2 else text), "guid"
    elif re.fullmatch("-?[0-9]+[LM]?" if v2 else "-?[0-9]+", text):
        made, kind = Literal(text.rstrip("LM")), "number"
    if made is not None:
        made.kind = kind
    return made


def entity(segment, v2=False):
    """Set(key) or Set(Name=key): the set, the name (or None), the value (or None)."""
    match = re.fullmatch(r"(\w+)(?:\((?:(\w+)=)?(.*)\))?", segment)
    if match is None:
        return segment, None, None
    return match[1], match[2], match[3] is not None and literal(match[3], v2) or None


class OData(Dialect):
    """An OData service with sets of records; subclasses say which and how they refuse."""

    v2 = False
    sets = {}                   # set -> {"key", "kind", "properties": {name: kind}, "number": function of a count}

    def refuse(self, status, code, message):
        return Refuse(status, {"error": {"code": code, "message": message}})

    def tag(self, name, key):
        """The record's version as an ETag."""
        return 'W/"%d"' % self.versions.get((name, key), 1)

    def reset(self):
        super().reset()
        self.versions = {}      # (set, key) -> number

    def touch(self, name, key):
        self.versions[name, key] = self.versions.get((name, key), 1) + 1

    def shown(self, name, key):
        """A record as an answer has it."""
        record = dict(self.collection(name)[key])
        if self.v2:
            return {"d": dict({"__metadata": {"etag": self.tag(name, key)}}, **record)}
        return dict({"@odata.etag": self.tag(name, key)}, **record)

    def check_body(self, name, body):
        """Refuses what the set's type does not have."""
        properties = self.sets[name]["properties"]
        for member, value in body.items():
            kind = properties.get(member)
            if kind is None:
                raise self.refuse(400, "property", "Property %s is invalid" % member)
            fits = {"text": isinstance(value, str), "number": isinstance(value, int),
                    "decimal": isinstance(value, str) if self.v2 else isinstance(value, (int, float))}
            if value is not None and not fits[kind]:
                raise self.refuse(400, "value", "%s has an invalid value %r" % (member, value))
        return body

    def search(self, name, text):
        """Keys of the records that $filter selects: equalities joined by and."""
        found = []
        for key, record in self.collection(name).items():
            holds = True
            for term in re.split(r"\s+and\s+", text):
                match = re.fullmatch(r"(\w+) eq (.+)", term)
                value = literal(match[2], self.v2) if match else None
                if value is None or match[1] not in self.sets[name]["properties"]:
                    raise self.refuse(400, "filter", "Invalid filter " + text)
                holds = holds and str(record.get(match[1])) == value
            if holds:
                found.append(key)
        return found

    def if_match(self, request, name, key, status, answer):
        """Answers a stale tag; somebody else may change the record just before."""
        if self.settings.pop("changed_by_another", None):
            self.touch(name, key)
        sent = request.header("if-match")
        if sent not in (None, "*", self.tag(name, key)):
            raise Answer(status, answer)
        return sent
