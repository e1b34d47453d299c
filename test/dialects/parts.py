"""OData's $batch, multipart and JSON: a request's parts, an answer's.

Documents: OData Version 4.01 Part 1, 11.7.7 "Multipart Batch Format"; JSON Format, 19 "Batch Requests and
Responses"; Business Central, "Use OData transactional $batch requests" (at most 100); OData 2.0 "Batch Processing"
(changes stand in change sets only, and a change set has an answer of its own).
"""
import json
import re

from common import Answer, Refuse, Request


def boundary(kind):
    """The boundary of a Content-Type, or None."""
    match = re.match(r'multipart/mixed\s*;.*boundary="?([^";]+)', kind or "", re.I)
    return match[1] if match else None


def parts(body, mark):
    """Header and body of each part between the marks."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + mark.encode())
    if pieces[-1].strip() != b"--":
        raise Refuse(400, "the batch does not end with its boundary")
    for piece in pieces[1:-1]:
        head, _, rest = piece.lstrip(b"\r\n").partition(b"\r\n\r\n")
        yield headers(head), rest


def headers(head):
    return dict((k.strip().lower(), v.strip()) for k, _, v in (line.partition(":") for line in head.decode().split("\r\n") if ":" in line))


def inner(root, outer, given, text):
    """The request that a part is, with what the outer one says of its sender."""
    if given.get("content-type") != "application/http" or given.get("content-transfer-encoding") != "binary":
        raise Refuse(400, "a part is not application/http, binary: %s" % given)
    head, _, body = text.partition(b"\r\n\r\n")
    line, _, rest = head.partition(b"\r\n")
    method, target, _ = line.decode().split(" ")
    own = headers(rest)
    sender = {k: v for k, v in outer.headers.items() if k in ("authorization", "cookie", "x-csrf-token", "sap-client")}
    if not target.startswith("/"):
        target = root + target
    length = own.get("content-length")
    return Request(method, target, dict(sender, **own).items(), body[:int(length)] if length else body.rstrip(b"\r\n"))


def written(given, answer):
    text = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    if "content-id" in given:
        text += "Content-ID: %s\r\n" % given["content-id"]
    text += "\r\nHTTP/1.1 %d X\r\n" % answer.status
    for name, value in dict(answer.headers, **{"Content-Length": str(len(answer.body))}).items():
        text += "%s: %s\r\n" % (name, value)
    return text.encode() + b"\r\n" + answer.body


def batch(dialect, root, request, change_sets, stops=False):
    """Answers a $batch; with change sets every change must be in one; one that fails may be the last."""
    mark = boundary(request.header("content-type"))
    if mark is None or request.method != "POST":
        raise Refuse(415, "a batch is multipart/mixed with a boundary")
    answers, most = [], 100
    for given, text in parts(request.body, mark):
        if stops and answers and re.search(rb"HTTP/1.1 [45]", answers[-1]):
            break
        nested = boundary(given.get("content-type"))
        if change_sets and nested is None and not text.startswith(b"GET "):
            raise Refuse(400, "a change stands outside of a change set")
        if nested is None:
            answers.append(written(given, answered(dialect, inner(root, request, given, text))))
            continue
        (own, one), = parts(text, nested)
        answer = written(own, answered(dialect, inner(root, request, own, one)))
        if b"HTTP/1.1 4" not in answer and b"HTTP/1.1 5" not in answer:
            answer = b"Content-Type: multipart/mixed; boundary=set\r\n\r\n--set\r\n" + answer + b"\r\n--set--"
        answers.append(answer)
    if len(answers) > most:
        raise Refuse(400, "more than %d parts" % most)
    dialect.settings["batched"] = dialect.settings.get("batched", 0) + len(answers)
    body = b"".join(b"--answers\r\n" + a + b"\r\n" for a in answers) + b"--answers--\r\n"
    return Answer(202 if change_sets else 200, body, {"Content-Type": "multipart/mixed; boundary=answers"})


def answered(dialect, request):
    """What the dialect makes of one part; what it refuses, the test hears of."""
    try:
        return dialect.fault(request) or dialect.answer(request)
    except Refuse as refusal:
        dialect.wrong.append("%s %s in a batch: %d %s" % (request.method, request.raw_path, refusal.status, refusal.body[:200]))
        return refusal
    except Answer as answer:
        return answer


def batch_json(dialect, root, request):
    """Answers a $batch in JSON."""
    requests, answers = request.json()["requests"], []
    if len(requests) > 100 or request.method != "POST":
        raise Refuse(400, {"error": {"code": "BadRequest", "message": "at most 100 operations"}})
    for one in requests:
        body = json.dumps(one["body"]).encode() if "body" in one else b""
        given = dict({k.lower(): v for k, v in one.get("headers", {}).items()}, authorization=request.header("authorization"))
        answer = answered(dialect, Request(one["method"], root + one["url"], given.items(), body))
        done = {"id": one["id"], "status": answer.status, "headers": {k.lower(): v for k, v in answer.headers.items()}}
        if answer.body:
            done["body"] = json.loads(answer.body)
        answers.append(done)
    dialect.settings["batched"] = dialect.settings.get("batched", 0) + len(answers)
    return Answer(200, {"responses": answers})
