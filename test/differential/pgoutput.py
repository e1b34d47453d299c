"""A reader of pgoutput's stream, written from its documentation.

read() gives the items of events.py: whole transactions in the order of their
commits, with what is left of streamed ones after aborts.
"""

import struct

from events import (
    Change, Column, Items, Prepared, Relation, Streams, Transaction, UNCHANGED,
)


class Cursor:
    """Walks over the bytes of one message."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, form):
        value = struct.unpack_from("!" + form, self.data, self.at)
        self.at += struct.calcsize("!" + form)
        return value[0] if len(value) == 1 else value

    def text(self):
        end = self.data.index(b"\0", self.at)
        value = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return value

    def bytes(self, size):
        value = self.data[self.at : self.at + size]
        if len(value) != size:
            raise ValueError("message ends too early")
        self.at += size
        return value

    def done(self):
        if self.at != len(self.data):
            raise ValueError("%d bytes too many" % (len(self.data) - self.at))


def read_tuple(cursor, relation):
    """Column values by name; UNCHANGED for a TOASTed value that stayed."""
    count = cursor.take("h")
    if count != len(relation.columns):
        raise ValueError("%d values for %d columns" % (count, len(relation.columns)))
    image = {}
    for column in relation.columns:
        kind = cursor.take("c")
        if kind == b"n":
            image[column.name] = None
        elif kind == b"u":
            image[column.name] = UNCHANGED
        elif kind == b"t":
            image[column.name] = cursor.bytes(cursor.take("i")).decode("utf-8")
        else:
            raise ValueError("column kind %r" % kind)
    return image


class Reader:
    def __init__(self):
        self.items = []
        self.relations = {}
        self.transaction = None
        self.streams = Streams()
        self.streaming = None  # xid of the open block

    # ---- changes

    def relation(self, cursor):
        relid = cursor.take("I")
        schema, table = cursor.text(), cursor.text()
        replident = cursor.take("c").decode()
        columns = []
        for _ in range(cursor.take("h")):
            flags = cursor.take("B")
            name = cursor.text()
            typid, typmod = cursor.take("Ii")
            columns.append(
                Column(name, typid, typmod, identity=bool(flags & 1))
            )
        self.relations[relid] = Relation(
            relid, schema or "pg_catalog", table, replident, columns
        )

    def row(self, kind, cursor):
        relation = self.relations[cursor.take("I")]
        change = Change({"I": "insert", "U": "update", "D": "delete"}[kind], relation)
        mark = cursor.take("c")
        if mark in (b"K", b"O"):
            change.old = read_tuple(cursor, relation)
            change.old_is_key = mark == b"K"
            mark = cursor.take("c") if kind == "U" else None
        if mark == b"N":
            change.new = read_tuple(cursor, relation)
        return [change]

    def truncate(self, cursor):
        count, flags = cursor.take("iB")
        changes = []
        for _ in range(count):
            change = Change("truncate", self.relations[cursor.take("I")])
            change.cascade = bool(flags & 1)
            change.restart = bool(flags & 2)
            changes.append(change)
        return changes

    def message(self, cursor):
        flags, lsn = cursor.take("BQ")
        change = Change("message", None)
        change.transactional = bool(flags & 1)
        change.lsn = lsn
        change.prefix = cursor.text()
        change.content = cursor.bytes(cursor.take("i"))
        return [change]

    # ---- transactions

    def control(self, kind, cursor):
        """Begin, end and their kin; False where kind is none of them."""
        if kind == "B":
            final, time, xid = cursor.take("QqI")
            self.transaction = Transaction(xid, time=time)
        elif kind == "C":
            _, _, end, _ = cursor.take("BQQq")
            self.transaction.end_lsn = end
            self.finish(self.transaction)
        elif kind == "O":
            _, name = cursor.take("Q"), cursor.text()
            if self.streaming is not None:
                self.streams.block(self.streaming).origin = name
            else:
                self.transaction.origin = name
        elif kind == "b":
            _, _, time, xid = cursor.take("QQqI")
            self.transaction = Transaction(xid, time=time)
            self.transaction.gid = cursor.text()
        elif kind == "P":
            _, _, end, _, _ = cursor.take("BQQqI")
            self.transaction.end_lsn = end
            cursor.text()
            self.finish(self.transaction)
        elif kind == "K":
            _, _, end, _, xid = cursor.take("BQQqI")
            self.items.append(Prepared("commit", xid, cursor.text(), end))
        elif kind == "r":
            _, _, end, _, _, xid = cursor.take("BQQqqI")
            self.items.append(Prepared("rollback", xid, cursor.text(), end))
        elif kind == "S":
            xid, first = cursor.take("IB")
            self.streaming = xid
            self.streams.start(xid, bool(first))
        elif kind == "E":
            self.streaming = None
        elif kind == "A":
            xid, subxid = cursor.take("II")
            # 18 tells aborts in a transaction of which nothing was sent, too
            if xid in self.streams.open:
                self.streams.abort(xid, subxid)
        elif kind == "c":
            xid, _, _, end, time = cursor.take("IBQQq")
            self.finish(self.streams.end(xid, end, time))
        elif kind == "p":
            _, _, end, time, xid = cursor.take("BQQqI")
            transaction = self.streams.end(xid, end, time)
            transaction.gid = cursor.text()
            self.finish(transaction)
        else:
            return False
        return True

    def finish(self, transaction):
        self.items.append(transaction)
        self.transaction = None

    def write(self, lsn, data):
        kind, cursor = chr(data[0]), Cursor(data[1:])
        if self.control(kind, cursor):
            cursor.done()
            return
        xid = None
        if self.streaming is not None and kind in "RYIUDTM":
            xid = cursor.take("I")
        changes = []
        if kind == "R":
            self.relation(cursor)
        elif kind == "Y":
            cursor.take("I"), cursor.text(), cursor.text()
        elif kind in "IUD":
            changes = self.row(kind, cursor)
        elif kind == "T":
            changes = self.truncate(cursor)
        elif kind == "M":
            changes = self.message(cursor)
        else:
            raise ValueError("message kind %r" % kind)
        cursor.done()
        for change in changes:
            if change.lsn is None:
                change.lsn = lsn
            if change.op == "message" and not change.transactional:
                self.items.append(change)
            elif self.streaming is not None:
                self.streams.add(self.streaming, xid, change)
            else:
                self.transaction.changes.append(change)


def read(writes):
    reader = Reader()
    for lsn, data in writes:
        reader.write(lsn, data)
    if reader.transaction or reader.streaming:
        raise ValueError("the stream ends in the middle of a transaction")
    return Items(reader.items, reader.streams)
