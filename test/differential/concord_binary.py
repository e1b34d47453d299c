"""A reader of concord_decoder's binary stream, written from protocol.h."""

import struct

from events import (
    Change, Column, Items, Prepared, Relation, Streams, Transaction, UNCHANGED,
)

COLUMN_IDENTITY, COLUMN_PRIMARY, COLUMN_GENERATED = 1, 2, 4
ROW_OLD, ROW_KEY, ROW_NEW, ROW_NO_IDENTITY, ROW_UNCHANGED, ROW_OVERSIZE, ROW_FAILED = (
    1, 2, 4, 8, 16, 32, 64)
BYTEA = 17
FIRST_NORMAL = 16384  # from here on, a domain may be over bytea


class Absent:
    def __repr__(self):
        return "ABSENT"


ABSENT = Absent()


class Cursor:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("varint is too long")

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def fixed(self, form="Q"):
        self.at += 8
        return struct.unpack_from("<" + form, self.data, self.at - 8)[0]

    def bytes(self, size=None):
        size = self.varint() if size is None else size
        value = self.data[self.at : self.at + size]
        if len(value) != size:
            raise ValueError("message ends too early")
        self.at += size
        return value

    def text(self):
        return self.bytes().decode("utf-8")

    def end(self):
        return self.at == len(self.data)

    def done(self):
        if not self.end():
            raise ValueError("%d bytes too many" % (len(self.data) - self.at))


class Reader:
    def __init__(self):
        self.items = []
        self.relations = {}
        self.transaction = None
        self.streams = Streams()
        self.streaming = None  # xid of the open block
        self.subxid = None  # whose changes follow in it
        self.hello = False

    def image(self, cursor, relation):
        """Values by name, and the row flags that they bring."""
        if cursor.varint() != len(relation.columns):
            raise ValueError("image and definition differ in their columns")
        image, flags = {}, 0
        for column in relation.columns:
            header = cursor.varint()
            if header == 0:
                image[column.name] = None
            elif header == 1:
                image[column.name] = UNCHANGED
                flags |= ROW_UNCHANGED
            elif header == 2:
                image[column.name] = ABSENT
            elif header == 3:
                image[column.name] = (cursor.varint(), cursor.bytes(32).hex())
                flags |= ROW_OVERSIZE
            elif header == 4:
                image[column.name] = (cursor.bytes(5).decode(), cursor.text())
                flags |= ROW_FAILED
            elif (header == 5) != (column.typid == BYTEA) and column.typid < FIRST_NORMAL:
                raise ValueError("header %d of a %s" % (header, column.type_name))
            elif header == 5:
                image[column.name] = "\\x" + cursor.bytes().hex()
            else:
                image[column.name] = cursor.bytes(header - 6).decode("utf-8")
        return image, flags

    def relation(self, cursor):
        relnum, relid = cursor.varint(), cursor.varint()
        if relnum in self.relations:
            raise ValueError("relation %d is sent twice" % relnum)
        replident = chr(cursor.byte())
        if cursor.byte() != 0:
            raise ValueError("relation flags")
        schema, table = cursor.text(), cursor.text()
        columns = []
        attnum = 0
        for _ in range(cursor.varint()):
            before, attnum = attnum, cursor.varint()
            if attnum <= before:
                raise ValueError("attribute %d of %s.%s" % (attnum, schema, table))
            flags = cursor.byte()
            typid, typmod = cursor.varint(), cursor.varint() - 1
            column = Column(
                cursor.text(), typid, typmod, bool(flags & COLUMN_IDENTITY),
                bool(flags & COLUMN_PRIMARY), bool(flags & COLUMN_GENERATED))
            column.type_name = cursor.text()
            columns.append(column)
        self.relations[relnum] = Relation(relid, schema, table, replident, columns)

    def row(self, kind, cursor):
        relation = self.relations[cursor.varint()]
        change = Change({"I": "insert", "U": "update", "D": "delete"}[kind], relation)
        flags = cursor.byte()
        brought = 0
        if flags & ROW_OLD:
            change.old_is_key = bool(flags & ROW_KEY)
            image, brought = self.image(cursor, relation)
            if change.old_is_key:
                for column in relation.columns:
                    if (image[column.name] is ABSENT) == column.identity:
                        raise ValueError("key image of %s" % relation.name)
            change.old = {k: v for k, v in image.items() if v is not ABSENT}
        if flags & ROW_NEW:
            change.new, more = self.image(cursor, relation)
            brought |= more
        if flags & (ROW_UNCHANGED | ROW_OVERSIZE | ROW_FAILED) != brought:
            raise ValueError("row flags %d, images bring %d" % (flags, brought))
        change.no_identity = bool(flags & ROW_NO_IDENTITY)
        return change

    def begin(self, cursor, prepared=False):
        """The fields of BEGIN or BEGIN_PREPARE."""
        xid = cursor.varint()
        cursor.fixed()
        end, time = cursor.fixed(), cursor.fixed("q")
        transaction = Transaction(xid, end, time)
        transaction.origin = cursor.varint() or None
        if prepared:
            transaction.gid = cursor.text()
        return transaction

    def add(self, change):
        if change.op == "message" and not change.transactional:
            self.items.append(change)
        elif self.streaming is not None:
            self.streams.add(self.streaming, self.subxid, change)
        else:
            self.transaction.changes.append(change)

    def frame(self, kind, cursor):
        """What is around the events of transactions; False where kind is not."""
        if kind in "Bb":
            self.transaction = self.begin(cursor, kind == "b")
        elif kind in "Cp":
            if cursor.fixed() != self.transaction.end_lsn:
                raise ValueError("end and begin differ")
            if (kind == "p") != (self.transaction.gid is not None):
                raise ValueError("%s ends %r" % (kind, self.transaction))
            self.items.append(self.transaction)
            self.transaction = None
        elif kind == "c":
            item = self.begin(cursor, True)
            self.items.append(Prepared("commit", item.xid, item.gid, item.end_lsn))
        elif kind == "r":
            xid = cursor.varint()
            cursor.fixed()
            end = cursor.fixed()
            cursor.fixed(), cursor.fixed()
            self.items.append(Prepared("rollback", xid, cursor.text(), end))
        elif kind == "S":
            self.streaming = self.subxid = cursor.varint()
            self.streams.start(self.streaming, bool(cursor.byte() & 1))
            self.streams.block(self.streaming).origin = cursor.varint() or None
        elif kind == "X":
            self.subxid = cursor.varint()
        elif kind == "E":
            self.streaming = None
        elif kind == "A":
            xid, subxid = cursor.varint(), cursor.varint()
            cursor.fixed()
            self.streams.abort(xid, subxid)
        elif kind in "KQ":
            end = self.begin(cursor, kind == "Q")
            end.changes = self.streams.end(end.xid, None, None).changes
            self.items.append(end)
        else:
            return False
        return True

    def message(self, kind, cursor):
        if kind == "H":
            if self.hello:
                raise ValueError("HELLO comes twice")
            self.hello = True
            if cursor.varint() != 3:
                raise ValueError("protocol version")
            cursor.varint(), cursor.text()
        elif not self.hello:
            raise ValueError("HELLO is missing")
        elif self.frame(kind, cursor):
            return
        elif kind == "R":
            self.relation(cursor)
        elif kind in "IUD":
            self.add(self.row(kind, cursor))
        elif kind == "T":
            change = Change("truncate", self.relations[cursor.varint()])
            flags = cursor.byte()
            change.cascade = bool(flags & 1)
            change.restart = bool(flags & 2)
            change.partition = bool(flags & 4)
            self.add(change)
        elif kind == "M":
            change = Change("message", None)
            change.transactional = bool(cursor.byte() & 1)
            change.lsn = cursor.fixed()
            change.prefix = cursor.text()
            change.content = cursor.bytes()
            self.add(change)
        else:
            raise ValueError("message kind %r" % kind)

    def write(self, lsn, data):
        cursor = Cursor(data)
        while not cursor.end():
            kind = chr(cursor.byte())
            body = Cursor(cursor.bytes())
            self.message(kind, body)
            body.done()


def read(writes):
    reader = Reader()
    for lsn, data in writes:
        reader.write(lsn, data)
    if reader.transaction or reader.streaming:
        raise ValueError("the stream ends in the middle of a transaction")
    return Items(reader.items, reader.streams)
