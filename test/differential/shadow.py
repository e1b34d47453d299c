"""Tables rebuilt from our events alone, compared with their source.

A row is found by the key that an event brings, or by the whole old row; what an
UPDATE left unchanged is kept.  Nothing else is looked at.
"""

import json

from compare import Difference
from concord_json import Number, Pairs
from events import Transaction, UNCHANGED
from pg import ident, quote

SCHEMA = "s"  # tables of this schema are rebuilt


class Rows:
    """A table's rows, which may be equal; found by a part of their columns."""

    def __init__(self):
        self.rows = []
        self.names = None
        self.found = {}

    @staticmethod
    def frozen(row, names):
        return repr([row[n] for n in names])

    def insert(self, row):
        self.rows.append(row)
        if self.names is not None:
            self.found.setdefault(self.frozen(row, self.names), []).append(row)

    def take(self, part):
        """Remove and give the row that has these values."""
        names = sorted(part)
        if names != self.names:
            self.names = names
            self.found = {}
            for row in self.rows:
                self.found.setdefault(self.frozen(row, names), []).append(row)
        rows = self.found.get(self.frozen(part, names))
        if not rows:
            raise Difference("no row has %r" % (part,))
        row = rows.pop()
        for at, other in enumerate(self.rows):
            if other is row:
                self.rows[at] = self.rows[-1]
                self.rows.pop()
                break
        return row


class Shadow:
    def __init__(self, items):
        self.tables = {}
        self.unchanged = 0
        for item in items:
            for change in item.changes if isinstance(item, Transaction) else []:
                if change.op != "message" and change.relation.schema == SCHEMA:
                    try:
                        self.apply(change)
                    except Difference as error:
                        raise Difference("%s, in %r: %r" % (error, item, change))

    def apply(self, change):
        rows = self.tables.setdefault(change.relation.table, Rows())
        if change.op == "truncate":
            rows.__init__()
            return
        row = {}
        if change.op != "insert":
            before = change.old if change.old is not None else getattr(change, "key", None)
            if before is None:  # binary, and the key did not change
                before = {c.name: change.new[c.name] for c in change.relation.columns if c.identity}
            row = rows.take(before)
        if change.op != "delete":
            row = dict(row)
            for name, value in change.new.items():
                if value is UNCHANGED:
                    self.unchanged += 1
                else:
                    row[name] = value
            self.unchanged += len(getattr(change, "unchanged", ()))
            rows.insert(row)

    def compare(self, connection, load):
        """Put what was rebuilt beside its source; EXCEPT both ways."""
        connection.query("DROP SCHEMA IF EXISTS shadow CASCADE; CREATE SCHEMA shadow")
        said = []
        for (table,) in connection.query(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 's'::regnamespace ORDER BY 1"):
            columns = connection.query(
                "SELECT attname, format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = %s::regclass"
                " AND attnum > 0 AND NOT attisdropped ORDER BY attnum" % quote("s." + ident(table)))
            # no constraint, and what is generated there is a value here
            connection.query("CREATE TABLE shadow.%s AS SELECT * FROM s.%s LIMIT 0" % ((ident(table),) * 2))
            rows = self.tables.get(table, Rows()).rows
            for at in range(0, len(rows), 50):
                load(connection, table, columns, rows[at : at + 50])
            exprs = ", ".join(load.compared(*c) for c in columns)
            counts = connection.query(
                "WITH a AS (SELECT %s FROM s.%s), b AS (SELECT %s FROM shadow.%s)"
                " SELECT (SELECT count(*) FROM (TABLE a EXCEPT ALL TABLE b) x), (SELECT count(*) FROM (TABLE b EXCEPT ALL TABLE a) x),"
                " (SELECT count(*) FROM a)" % (exprs, ident(table), exprs, ident(table)))[0]
            if counts[:2] != ("0", "0") or int(counts[2]) != len(rows):
                raise Difference("table %s: %s rows of the source are not rebuilt, %s rebuilt ones are not in the source;"
                                 " they have %s and %d" % ((table,) + counts + (len(rows),)))
            if not rows:
                continue
            said.append("%s %d" % (table, len(rows)))
        if len(said) < 4:
            raise Difference("only %r have rows" % said)
        return "rows: %s; %d unchanged values kept" % (", ".join(said), self.unchanged)


def load_text(connection, table, columns, rows):
    """Rows of the binary stream: text that each type's input reads."""
    connection.query("INSERT INTO shadow.%s (%s) VALUES %s" % (
        ident(table), ", ".join(ident(n) for n, _ in columns),
        ", ".join("(%s)" % ", ".join(
            "NULL" if row[n] is None else quote(row[n]) for n, _ in columns) for row in rows)))


def dump(value):
    """A value as JSON again."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Pairs):
        return "{%s}" % ",".join("%s:%s" % (json.dumps(k), dump(v)) for k, v in value)
    if isinstance(value, list):
        return "[%s]" % ",".join(dump(v) for v in value)
    if isinstance(value, dict):
        return "{%s}" % ",".join("%s:%s" % (json.dumps(k), dump(v)) for k, v in value.items())
    return json.dumps(value)


def load_json(connection, table, columns, rows):
    """Rows of JSON events, by the server's own way from JSON to a row."""
    connection.query("INSERT INTO shadow.%s SELECT * FROM json_populate_recordset(NULL::shadow.%s, %s)" % (
        ident(table), ident(table), quote(dump(rows))))


load_text.compared = lambda name, type_name: ident(name) + "::text"
# python writes json anew, so its white space is lost
load_json.compared = lambda name, type_name: ident(name) + (
    "::jsonb::text" if type_name == "json" else "::jsonb[]::text" if type_name == "json[]" else "::text")
