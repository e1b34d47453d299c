"""A client of PostgreSQL's protocol, as small as the tests need it.

Simple queries, COPY FROM STDIN and logical replication over a Unix socket,
with trust authentication.  It is written from the protocol's documentation and
shares no code with the server or with libpq, so it is an independent reader of
what a walsender sends.
"""

import os
import select
import socket
import struct
import time


class PgError(Exception):
    """An error that the server reported."""

    def __init__(self, fields):
        self.sqlstate = fields.get("C", "")
        self.message = fields.get("M", "")
        self.detail = fields.get("D", "")
        super().__init__("%s %s %s" % (self.sqlstate, self.message, self.detail))


def quote(text):
    """A string as an SQL literal."""
    if "\\" in text:
        return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return "'" + text.replace("'", "''") + "'"


def ident(name):
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def lsn_text(lsn):
    return "%X/%X" % (lsn >> 32, lsn & 0xFFFFFFFF)


def lsn_number(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


class Connection:
    """One session."""

    def __init__(self, host, port, dbname, user, replication=False, settings=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(os.path.join(host, ".s.PGSQL.%d" % port))
        self.buffer = b""
        self.broken = False
        self.status = b"I"
        parameters = {"user": user, "database": dbname, "client_encoding": "UTF8"}
        if replication:
            parameters["replication"] = "database"
        parameters.update(settings or {})
        body = b"".join(
            k.encode() + b"\0" + v.encode() + b"\0" for k, v in parameters.items()
        )
        body = struct.pack("!i", 196608) + body + b"\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self._until_ready()

    def close(self):
        self.socket.close()

    # ---- messages

    def _fill(self, size, timeout=None):
        """Have size bytes in the buffer; False where timeout comes first."""
        while len(self.buffer) < size:
            if timeout is not None:
                ready, _, _ = select.select([self.socket], [], [], timeout)
                if not ready:
                    return False
            data = self.socket.recv(1 << 18)
            if not data:
                self.broken = True
                raise ConnectionError("the server closed the connection")
            self.buffer += data
        return True

    def _message(self, timeout=None):
        """The next message: kind and body; None where timeout comes first."""
        if not self._fill(5, timeout):
            return None
        size = struct.unpack_from("!i", self.buffer, 1)[0]
        self._fill(size + 1)
        kind, body = self.buffer[:1], self.buffer[5 : size + 1]
        self.buffer = self.buffer[size + 1 :]
        return kind, body

    def _send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    @staticmethod
    def _error(body):
        fields = {}
        for part in body.split(b"\0"):
            if part:
                fields[chr(part[0])] = part[1:].decode("utf-8", "replace")
        return PgError(fields)

    def _until_ready(self, copy_data=None):
        """Read a command's answers; rows of the last result."""
        rows, error = [], None
        while True:
            kind, body = self._message()
            if kind == b"Z":
                self.status = body
                if error:
                    raise error
                return rows
            if kind == b"E":
                error = self._error(body)
                if self.status == b"":
                    raise error
            elif kind == b"R":
                if struct.unpack("!i", body[:4])[0] != 0:
                    raise ConnectionError("the server wants a password")
            elif kind == b"T":
                rows = []
            elif kind == b"D":
                rows.append(self._row(body))
            elif kind == b"G":
                self._send(b"d", copy_data)
                self._send(b"c", b"")
            elif kind == b"W":
                return rows

    @staticmethod
    def _row(body):
        count = struct.unpack_from("!h", body)[0]
        row, at = [], 2
        for _ in range(count):
            size = struct.unpack_from("!i", body, at)[0]
            at += 4
            if size < 0:
                row.append(None)
            else:
                row.append(body[at : at + size].decode("utf-8"))
                at += size
        return tuple(row)

    # ---- queries

    def query(self, sql, copy_data=None):
        """Run SQL (also several statements); rows of the last one as text."""
        self._send(b"Q", sql.encode("utf-8") + b"\0")
        return self._until_ready(
            copy_data.encode("utf-8") if isinstance(copy_data, str) else copy_data
        )

    def value(self, sql):
        """The only value that a query gives."""
        return self.query(sql)[0][0]

    @property
    def in_transaction(self):
        return self.status != b"I"

    # ---- replication

    def stream(self, slot, options, until):
        """What a slot sends until everything before LSN until is decoded.

        Gives (lsn, payload) for each write.  Nothing is confirmed, so the same
        WAL can be read again with other options.
        """
        given = ", ".join("%s %s" % (ident(k), quote(v)) for k, v in options.items())
        self._send(
            b"Q",
            (
                "START_REPLICATION SLOT %s LOGICAL 0/0 (%s)" % (ident(slot), given)
            ).encode()
            + b"\0",
        )
        self._until_ready()
        writes = []
        asked = 0
        while True:
            message = self._message(timeout=0.02)
            now = time.monotonic()
            if message is None or now - asked > 5:
                # nothing is confirmed; the answer says how far the server is
                self._send(b"d", struct.pack("!cqqqqb", b"r", 0, 0, 0, 0, 1))
                asked = now
                if message is None:
                    continue
            kind, body = message
            if kind == b"E":
                raise self._error(body)
            if kind != b"d":
                continue
            if body[:1] == b"w":
                writes.append((struct.unpack_from("!q", body, 1)[0], body[25:]))
            elif body[:1] == b"k" and struct.unpack_from("!q", body, 1)[0] >= until:
                break
        self._send(b"c", b"")
        while True:
            kind, body = self._message()
            if kind == b"Z":
                return writes
            if kind == b"E":
                raise self._error(body)
            if kind == b"d" and body[:1] == b"w" and struct.unpack_from("!q", body, 1)[0] < until:
                raise ConnectionError("the walsender was not at its end")
