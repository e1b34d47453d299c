"""What the dialects share: requests, answers, records, and what is wrong with a request.

A dialect is a class with the attribute `name` and the method `answer(request)`.
It speaks one system's documented wire format and is strict: what the real system
refuses, it refuses in the real system's words, so that a connector which sends
the wrong thing fails its test.
"""
import json
import re
import urllib.parse


class Request:
    """A request as a dialect sees it; `path` begins behind the dialect's name."""

    def __init__(self, method, target, headers, body):
        path, _, query = target.partition("?")
        self.method = method
        self.raw_path = path
        self.path = urllib.parse.unquote(path)
        self.segments = [urllib.parse.unquote(s) for s in path.strip("/").split("/")]
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.headers = {k.lower(): v for k, v in headers}
        self.body = body

    def json(self):
        """The body as JSON; numbers stay the digits they are."""
        kind = self.headers.get("content-type", "")
        if "json" not in kind:
            raise Refuse(415, {"message": "Content-Type %r is not JSON" % kind})
        try:
            return json.loads(self.body, parse_float=Digits, parse_int=int)
        except ValueError as error:
            raise Refuse(400, {"message": "body is not JSON: %s" % error})

    def header(self, name):
        return self.headers.get(name.lower())

    def bearer(self, token):
        return self.header("authorization") == "Bearer " + token


class Digits(float):
    """A number with a fraction that remembers how it was written."""

    def __new__(cls, text):
        number = super().__new__(cls, text)
        number.text = text
        return number


class Answer(Exception):
    """An answer; raised or returned."""

    def __init__(self, status, body=None, headers=None):
        super().__init__(status)
        self.status = status
        self.drop = None        # how many bytes of it are sent before the connection is reset
        self.headers = dict(headers or {})
        if body is None:
            self.body = b""
        elif isinstance(body, (bytes, str)):
            self.body = body.encode() if isinstance(body, str) else body
        else:
            self.body = json.dumps(body, ensure_ascii=False).encode()
            self.headers.setdefault("Content-Type", "application/json; charset=utf-8")


class Refuse(Answer):
    """An answer that says that the request was wrong; the test hears of it."""


class Dialect:
    """Records by collection, faults to come, and a journal."""

    name = None

    def __init__(self):
        self.reset()

    def reset(self):
        self.records = {}       # collection -> id -> record
        self.numbers = {}       # collection -> last id given
        self.faults = []        # {"match": regex, "status", "headers", "body", "times", "act", "drop"}
        self.journal = []       # what came and what was answered
        self.wrong = []         # what was refused, in words
        self.settings = {}      # what a test wants different

    def collection(self, name):
        return self.records.setdefault(name, {})

    def number(self, name):
        self.numbers[name] = self.numbers.get(name, 0) + 1
        return self.numbers[name]

    def fate(self, text):
        """What a test wants of one item of a batch: its text says "refuse-me", or "busy-..." (once each)."""
        text = text if isinstance(text, str) else json.dumps(text)
        if "refuse-me" in text:
            return "refuse"
        busy = re.search(r"busy-\w+", text)
        if busy and busy[0] not in self.settings.setdefault("was_busy", []):
            self.settings["was_busy"].append(busy[0])
            return "busy"
        return None

    def batch(self, items, most):
        """Counts what comes together; more than the documented number is refused."""
        if len(items) > most:
            raise Refuse(413, {"message": "%d items, and the most is %d" % (len(items), most)})
        if len(items) > 1:
            self.settings["batched"] = self.settings.get("batched", 0) + len(items)

    def handle(self, request):
        entry = {"method": request.method, "path": request.raw_path, "query": request.query,
                 "headers": request.headers, "body": request.body.decode("utf-8", "replace")}
        self.journal.append(entry)
        try:
            answer = self.fault(request) or self.answer(request)
        except Refuse as refusal:
            self.wrong.append("%s %s: %d %s" % (request.method, request.raw_path, refusal.status,
                                                refusal.body.decode("utf-8", "replace")[:300]))
            answer = refusal
        except Answer as raised:
            answer = raised
        entry["status"] = answer.status
        return answer

    def fault(self, request):
        """The answer of the first fault that is to come for this request."""
        for fault in self.faults:
            if fault.get("times", 1) > 0 and re.search(fault.get("match", ""),
                                                       request.method + " " + request.path):
                fault["times"] = fault.get("times", 1) - 1
                answer = None
                if fault.get("act"):
                    answer = self.answer(request)
                if "drop" in fault:
                    answer = answer or Answer(200, "")
                    answer.drop = fault["drop"]
                    return answer
                return Answer(fault["status"], fault.get("body"), fault.get("headers"))
        return None

    def answer(self, request):
        raise NotImplementedError
