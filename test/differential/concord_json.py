"""A reader of concord_decoder's JSON events, by python's own parser."""

import base64
import datetime
import json
import re

from events import Change, Items, Prepared, Relation, Streams, Transaction
from pg import lsn_number

EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)


class Number(str):
    """A JSON number, digit for digit."""

    def __repr__(self):
        return "#" + str(self)


class Pairs(tuple):
    """A JSON object inside a value: members in their order, repeated or not."""


def refuse(text):
    raise ValueError("%s is not JSON" % text)


def parse(text):
    """A JSON text; objects are Pairs, numbers keep their digits."""
    return json.loads(
        text, parse_float=Number, parse_int=Number, parse_constant=refuse,
        object_pairs_hook=Pairs)


def members(pairs):
    """An object as a dict; its names must differ."""
    if not isinstance(pairs, Pairs):
        raise ValueError("%r is not an object" % (pairs,))
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has a member twice")
    return result


def microseconds(text):
    """An ISO 8601 time as TimestampTz."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00:00", text)
    if not found:
        raise ValueError("time %r" % text)
    seconds = datetime.datetime.fromisoformat(found.group(1) + "+00:00") - EPOCH
    fraction = int((found.group(2) or "").ljust(6, "0") or 0)
    return (seconds.days * 86400 + seconds.seconds) * 1000000 + fraction


KNOWN = {
    "op", "schema", "table", "xid", "subxid", "lsn", "time", "origin", "ordinal", "id",
    "key", "no_identity", "old", "new", "unchanged", "oversize", "old_oversize",
    "failed", "old_failed", "json_null", "old_json_null", "types", "cascade", "restart_identity", "partition",
    "transactional", "prefix", "content", "encoding", "events", "gid", "streamed", "first",
    "prepare_lsn", "prepare_time",
}
FRAMES = {"begin", "commit", "prepare", "commit_prepared", "rollback_prepared", "stream_start", "stream_stop",
          "stream_abort", "stream_commit", "stream_prepare"}


class Reader:
    def __init__(self):
        self.items = []
        self.transaction = None
        self.ids = set()
        self.streams = Streams()
        self.sent = {}  # events of a transaction in progress, by xid
        self.streaming = None  # xid of the open block

    def change(self, event):
        op = event["op"]
        if op == "message":
            change = Change("message", None)
            change.transactional = event["transactional"]
            change.prefix = event["prefix"]
            if event.get("encoding") == "base64":
                change.content = base64.b64decode(event["content"], validate=True)
            else:
                change.content = event["content"].encode("utf-8")
        else:
            change = Change(op, Relation(None, event["schema"], event["table"], None, None))
        for name in ("key", "old", "new", "types"):
            value = event.get(name)
            setattr(change, name, None if value is None else members(value))
        change.unchanged = event.get("unchanged", [])
        change.no_identity = event.get("no_identity", False)
        change.cascade = event.get("cascade", False)
        change.restart = event.get("restart_identity", False)
        change.partition = event.get("partition", False)
        change.ordinal = int(event["ordinal"]) if "ordinal" in event else None
        change.id = event.get("id")
        for name in ("oversize", "old_oversize", "failed", "old_failed"):
            if name in event:
                raise ValueError("unexpected %s: %r" % (name, event[name]))
        return change

    def begin(self, event):
        self.transaction = Transaction(
            int(event["xid"]), lsn_number(event["lsn"]), microseconds(event["time"]))
        self.transaction.origin = event.get("origin")
        self.transaction.gid = event.get("gid")

    def frame(self, op, event):
        """What is around the events of transactions."""
        xid = int(event["xid"])
        if op == "begin":
            self.begin(event)
        elif op in ("commit", "prepare"):
            if int(event["events"]) != len(self.transaction.changes):
                raise ValueError("%s counts %s events" % (op, event["events"]))
            self.check(event)
            if (op == "prepare") != (self.transaction.gid is not None):
                raise ValueError("%s of %r" % (op, self.transaction))
            self.items.append(self.transaction)
            self.transaction = None
        elif op in ("commit_prepared", "rollback_prepared"):
            self.items.append(Prepared(op.split("_")[0], xid, event["gid"], lsn_number(event["lsn"])))
        elif op == "stream_start":
            self.streams.start(xid, event.get("first", False))
            self.streaming = xid
        elif op == "stream_stop":
            if xid != self.streaming:
                raise ValueError("the block of %s ends with %d" % (self.streaming, xid))
            self.streaming = None
        elif op == "stream_abort":
            self.streams.abort(xid, int(event.get("subxid", xid)))
            if "subxid" not in event:
                self.sent.pop(xid, None)
        else:
            transaction = self.streams.end(xid, lsn_number(event["lsn"]), microseconds(event["time"]))
            if int(event["events"]) != self.sent.pop(xid, 0):
                raise ValueError("%s counts %s events" % (op, event["events"]))
            transaction.origin = event.get("origin")
            transaction.gid = event.get("gid")
            self.items.append(transaction)

    def identified(self, change):
        """Ids differ, whatever is streamed or rolled back later."""
        if change.id is not None:
            if change.id in self.ids:
                raise ValueError("id %s comes twice" % change.id)
            self.ids.add(change.id)

    def line(self, text):
        event = members(parse(text))
        for name in event:
            if name not in KNOWN:
                raise ValueError("unknown member %s" % name)
        op = event["op"]
        if op in FRAMES:
            self.frame(op, event)
            return
        change = self.change(event)
        self.identified(change)
        if op == "message" and not change.transactional:
            change.lsn = lsn_number(event["lsn"])
            self.items.append(change)
            return
        if self.streaming is not None:
            xid = int(event["xid"])
            if xid != self.streaming or event.get("streamed") is not True or "lsn" in event:
                raise ValueError("event in the block of %d: %s" % (self.streaming, text[:200]))
            count = self.sent[xid] = self.sent.get(xid, 0) + 1
            self.streams.add(xid, int(event.get("subxid", xid)), change)
        else:
            self.check(event)
            self.transaction.changes.append(change)
            count = len(self.transaction.changes)
        if change.ordinal != count:
            raise ValueError("ordinal %s of event %d" % (change.ordinal, count))

    def check(self, event):
        """Every event of a transaction has its position."""
        found = (int(event["xid"]), lsn_number(event["lsn"]),
                 microseconds(event["time"]), event.get("origin"), event.get("gid"))
        t = self.transaction
        if found != (t.xid, t.end_lsn, t.time, t.origin, t.gid):
            raise ValueError("event of %r in %r" % (found, t))


def read(lines):
    """Events with include_transaction; a line is an event."""
    reader = Reader()
    for line in lines:
        if "\n" in line:
            raise ValueError("an event has several lines")
        reader.line(line)
    if reader.transaction or reader.streaming:
        raise ValueError("the stream ends in the middle of a transaction")
    return Items(reader.items, reader.streams)
