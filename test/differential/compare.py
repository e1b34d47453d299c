"""Are two streams of the same WAL the same, row for row?

pgoutput is the measure.  What it does not have is taken from ours before:
generated columns, UPDATE and DELETE of tables without replica identity, and
TRUNCATE of partitions that are sent under a root.  What ours has and it has
not (a TOASTed value that the old row holds) is merged into its rows first.
"""

import base64
import re

from concord_json import Number, Pairs, parse
from events import Change, Prepared, Transaction, UNCHANGED, brief
from pg import lsn_text


class Difference(Exception):
    pass


# ---- pgoutput's text of a value as JSON

NUMBERS = {20, 21, 23, 26, 700, 701, 1700}
QUOTED = {20, 1700}  # by numbers=string
NAMES = {24, 2205, 2206}  # regproc, regclass, regtype
WORDS = {  # types that SQL has a name for, and nothing at all
    "-", "bigint", "bit", "bit varying", "boolean", "character", "character varying", "double precision", "integer",
    "interval", "numeric", "real", "smallint", "time with time zone", "time without time zone",
    "timestamp with time zone", "timestamp without time zone"}
BOOL, BYTEA, JSON, JSONB, MONEY, DATE, TIMESTAMP, TIMESTAMPTZ = (
    16, 17, 114, 3802, 790, 1082, 1114, 1184)


class Types:
    """What the reader has to know of each type."""

    def __init__(self, connection):
        self.types = {}
        for oid, kind, base, element, delimiter in connection.query(
                "SELECT t.oid, t.typtype, t.typbasetype,"
                " CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN t.typelem ELSE 0 END,"
                " coalesce(e.typdelim, ',') FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem"):
            self.types[int(oid)] = (kind, int(base), int(element), delimiter)
        self.columns = {}  # of composite types: name and type
        for oid, name, typid in connection.query(
                "SELECT t.oid, a.attname, a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid"
                " WHERE t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY t.oid, a.attnum"):
            self.columns.setdefault(int(oid), []).append((name, int(typid)))

    def base(self, oid):
        while self.types[oid][0] == "d":
            oid = self.types[oid][1]
        return oid

    def composite(self, oid):
        return self.columns.get(oid, []) if self.types[oid][0] == "c" else None

    def element(self, oid):
        return self.types[oid][2]

    def delimiter(self, oid):
        return self.types[oid][3]


def read_array(text, delimiter):
    """An array's text as nested lists of texts and None."""
    at = 0

    def level():
        nonlocal at
        items = []
        at += 1
        while True:
            if text[at] == "}":
                at += 1
                return items
            if text[at] == "{":
                items.append(level())
            elif text[at] == '"':
                at += 1
                value = []
                while text[at] != '"':
                    if text[at] == "\\":
                        at += 1
                    value.append(text[at])
                    at += 1
                at += 1
                items.append("".join(value))
            else:
                end = at
                while text[end] not in delimiter + "}":
                    end += 2 if text[end] == "\\" else 1
                word = text[at:end]
                at = end
                items.append(None if word == "NULL" else re.sub(r"\\(.)", r"\1", word))
            if text[at] == delimiter:
                at += 1

    result = level()
    if at != len(text):
        raise ValueError("array %r" % text)
    return result


def read_composite(text):
    """A composite's text as a list of texts and None."""
    items = []
    at = 1
    while True:
        value = None
        while text[at] not in ",)":
            value = value or []
            if text[at] == '"':
                at += 1
                while text[at] != '"' or text[at + 1] == '"':
                    at += text[at] in '"\\'
                    value.append(text[at])
                    at += 1
            else:
                value.append(text[at])
            at += 1
        items.append(None if value is None else "".join(value))
        if text[at] == ")":
            return items
        at += 1


def canonical(types, oid, text):
    """pgoutput's text as the binary stream has it: money without its locale,
    objects of the catalog with their schema."""
    if text is None or text is UNCHANGED:
        return text
    if types.base(oid) == MONEY:
        return text.replace("$", "").replace(",", "")
    if types.base(oid) in NAMES and "." not in text and not text.isdigit() and text.split("[")[0] not in WORDS:
        return "pg_catalog." + text
    if types.element(types.base(oid)) == MONEY:
        return re.sub(r'"|\$|,(?=\d{3}[,.])', "", text)
    return text


def is_ambiguous(types, oid, text, arrays):
    """JSON that cannot be told from SQL's NULL or from another dimension."""
    if text is None or types.base(oid) not in (JSON, JSONB):
        return False
    return text.lstrip()[0] == "n" or (arrays and text.lstrip()[0] == "[")


def array_of(types, style, oid, text):
    """What JSON must have for pgoutput's text of an array."""
    element = types.element(oid)
    if text.startswith("[") or not text.startswith("{"):
        return canonical(types, oid, text)
    items = read_array(text, types.delimiter(oid))
    if any((isinstance(i, list) and types.base(element) in (JSON, JSONB)) or
           (not isinstance(i, list) and is_ambiguous(types, element, i, True)) for i in items):
        return text

    def convert(items):
        return [convert(i) if isinstance(i, list) else json_of(types, style, element, i) for i in items]
    return convert(items)


def json_of(types, style, oid, text):
    """What JSON must have for pgoutput's text of a value."""
    if text is None or text is UNCHANGED:
        return text
    oid = types.base(oid)
    if oid in NUMBERS:
        if text in ("NaN", "Infinity", "-Infinity") or (style.get("numbers") == "string" and oid in QUOTED):
            return text
        return Number(text)
    if oid == BOOL:
        return text == "t"
    if oid in (JSON, JSONB):
        return parse(text)
    if oid == MONEY or oid in NAMES:
        return canonical(types, oid, text)
    if oid == BYTEA and style.get("bytea") != "hex":
        return base64.b64encode(bytes.fromhex(text[2:])).decode()
    if oid == TIMESTAMP:
        return text.replace(" ", "T", 1) if "infinity" not in text else text
    if oid == TIMESTAMPTZ:
        if "infinity" in text:
            return text
        day, rest = text.split(" ", 1)
        return "%sT%s" % (day, rest.replace("+00", "+00:00", 1))
    if types.element(oid):
        return array_of(types, style, oid, text)
    columns = types.composite(oid)
    if columns is not None:
        items = read_composite(text)
        if any(is_ambiguous(types, typid, item, False) for (_, typid), item in zip(columns, items)):
            return text
        return Pairs((name, json_of(types, style, typid, item)) for (name, typid), item in zip(columns, items))
    return text


def same(a, b):
    """Equality that tells a number from a string and true from 1."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


class Comparer:
    def __init__(self, types, style=None):
        self.types = types
        self.style = style or {}  # options of JSON
        self.roots = {}  # names that partitioned tables had, by relid
        self.rows = 0
        self.values = 0

    def expect(self, what, theirs, ours):
        if not same(theirs, ours):
            raise Difference("%s: pgoutput has %r, we have %r" % (what, theirs, ours))

    def image(self, what, relation, theirs, ours, convert):
        if theirs is None or ours is None:
            self.expect(what, theirs, ours if ours is None else brief(ours))
            return
        oids = {c.name: c.typid for c in relation.columns}
        names = [n for n in ours if n in oids]
        self.expect(what + ", columns", list(theirs), names)
        for name in names:
            self.values += 1
            value = convert(oids[name], theirs[name])
            if not same(value, ours[name]):
                raise Difference("%s, column %s (type %d): pgoutput has %r, we have %r" % (
                    what, name, oids[name], value, ours[name]))

    def merged(self, change):
        """pgoutput's new row, with TOASTed values that its old row has."""
        if change.old is None or change.new is None:
            return change.new
        result = dict(change.new)
        for column in change.relation.columns:
            name = column.name
            if result[name] is UNCHANGED and (
                    column.identity or not change.old_is_key or change.relation.relid in self.roots):
                old = change.old.get(name)
                if old is not None and old is not UNCHANGED:
                    result[name] = old
        return result

    def relation_names(self, theirs, ours):
        # pgoutput does not tell that a root was renamed
        if ours.relation.name not in self.roots.get(theirs.relation.relid, ()):
            self.expect("relation", theirs.relation.name, ours.relation.name)

    def binary(self, theirs, ours):
        """A change as the binary stream has it."""
        def convert(oid, text):
            return canonical(self.types, oid, text)
        their, our = theirs.relation, ours.relation
        self.expect("relation", their.relid, our.relid)
        columns = [c for c in our.columns if not c.generated]
        self.expect("columns", [(c.name, c.typid, c.typmod) for c in their.columns],
                    [(c.name, c.typid, c.typmod) for c in columns])
        under_root = their.relid in self.roots
        if not under_root:
            self.expect("replica identity", their.replident, our.replident)
            self.expect("identity", [c.name for c in their.columns if c.identity],
                        [c.name for c in columns if c.identity])
        if theirs.old is None and ours.old is None:
            pass
        elif theirs.old is None or ours.old is None:
            raise Difference("old image: pgoutput has %r, we have %r" % (brief(theirs.old), brief(ours.old)))
        else:
            # of a partition, pgoutput tells the root's identity, which need not
            # be that of the row
            if not under_root:
                self.expect("kind of the old image", theirs.old_is_key, ours.old_is_key)
            old = theirs.old
            if ours.old_is_key:
                identity = {c.name for c in columns if c.identity}
                for name in old:
                    if name not in identity:
                        self.expect("old image beside the key", None, old[name])
                old = {k: v for k, v in old.items() if k in identity}
            self.image("old image", their, old, ours.old, convert)
        self.image("new image", their, self.merged(theirs), ours.new, convert)

    def json(self, theirs, ours):
        """A change as JSON has it."""
        def convert(oid, text):
            return json_of(self.types, self.style, oid, text)
        relation = theirs.relation
        under_root = relation.relid in self.roots
        if under_root:
            full = ours.old is not None
        else:
            full = theirs.old is not None and not theirs.old_is_key
        self.image("old image", relation, theirs.old if full else None, ours.old, convert)
        new = self.merged(theirs)
        if new is None:
            self.expect("new image", None, ours.new)
            self.expect("unchanged", [], ours.unchanged)
        else:
            left = {n for n, v in new.items() if v is UNCHANGED}
            self.expect("unchanged", sorted(left), sorted(n for n in ours.unchanged if n in new))
            new = {n: v for n, v in new.items() if n not in left}
            self.image("new image", relation, new, ours.new, convert)
        before = theirs.old if theirs.old is not None else new
        if ours.key is not None:
            for name, value in ours.key.items():
                column = [c for c in relation.columns if c.name == name]
                if column:  # or it is a generated one
                    self.expect("key", convert(column[0].typid, before.get(name)), value)
        if relation.replident != "f" and not under_root:
            self.expect("columns of the key", [c.name for c in relation.columns if c.identity],
                        [n for n in ours.key or {} if n in {c.name for c in relation.columns}])

    def change(self, theirs, ours):
        self.rows += 1
        self.expect("operation", theirs.op, ours.op)
        number = getattr(ours, "id", None)
        if number is not None:
            self.expect("LSN of the id", lsn_text(theirs.lsn), number.split("-")[0])
        if theirs.op == "message":
            for name in ("transactional", "prefix", "content"):
                self.expect("message's " + name, getattr(theirs, name), getattr(ours, name))
            return
        self.relation_names(theirs, ours)
        if theirs.op == "truncate":
            self.expect("cascade", theirs.cascade, ours.cascade)
            self.expect("restart", theirs.restart, ours.restart)
        elif ours.relation.columns is None:
            self.json(theirs, ours)
        else:
            self.binary(theirs, ours)

    # ---- transactions

    def transaction(self, theirs, ours):
        self.expect("kind of item", type(theirs).__name__, type(ours).__name__)
        if isinstance(theirs, Change):
            self.expect("LSN of a message", theirs.lsn, ours.lsn)
            self.change(theirs, ours)
            return
        self.expect("xid", theirs.xid, ours.xid)
        self.expect("LSN of the end", theirs.end_lsn, ours.end_lsn)
        if isinstance(theirs, Prepared):
            self.expect("what", theirs.what, ours.what)
            self.expect("gid", theirs.gid, ours.gid)
            return
        self.expect("time", theirs.time, ours.time)
        self.expect("gid", theirs.gid, ours.gid)
        if isinstance(ours.origin, int):
            self.expect("origin is there", theirs.origin is not None, True)
        else:
            self.expect("origin", theirs.origin, ours.origin)
        for number, (a, b) in enumerate(zip(theirs.changes, ours.changes)):
            try:
                self.change(a, b)
            except Difference as error:
                raise Difference("change %d: %s\n  pgoutput: %r\n  ours: %r" % (number + 1, error, a, b))
        if len(theirs.changes) != len(ours.changes):
            raise Difference("pgoutput has %d changes, we have %d; behind those in common: %r and %r" % (
                len(theirs.changes), len(ours.changes),
                theirs.changes[len(ours.changes):][:2], ours.changes[len(theirs.changes):][:2]))

    def streams(self, theirs, ours):
        """Compare two lists of items."""
        for number, (a, b) in enumerate(zip(theirs, ours)):
            try:
                self.transaction(a, b)
            except Difference as error:
                raise Difference("item %d (%r, %r): %s" % (number + 1, a, b, error))
        if len(theirs) != len(ours):
            raise Difference("pgoutput has %d items, we have %d; behind those in common: %r and %r" % (
                len(theirs), len(ours), theirs[len(ours):][:2], ours[len(theirs):][:2]))


def without(items, unwanted):
    """Items without some changes, and without transactions that have no other."""
    result = []
    for item in items:
        if isinstance(item, Transaction):
            kept = [c for c in item.changes if not unwanted(c)]
            if not kept and item.changes:
                continue
            if len(kept) != len(item.changes):
                copy = Transaction(item.xid, item.end_lsn, item.time)
                copy.origin, copy.gid, copy.changes = item.origin, item.gid, kept
                item = copy
        result.append(item)
    return result


def settled(items):
    """Items without what is empty, and without what was rolled back after PREPARE.

    The changes of a transaction that has been rolled back by the time it is
    decoded end where somebody looks into the catalog, so they are no measure.
    What was sent at PREPARE must have an end, though.
    """
    prepared, ends = {}, {}
    for item in items:
        if isinstance(item, Transaction) and item.gid:
            prepared[item.gid] = item
        elif isinstance(item, Prepared):
            if item.gid in ends:
                raise Difference("%r comes twice" % item)
            ends[item.gid] = item
    for gid, item in prepared.items():
        if gid not in ends or ends[gid].xid != item.xid:
            raise Difference("%r has no end" % item)
    for gid in ends:
        if gid not in prepared:
            raise Difference("%r has no PREPARE" % ends[gid])
    left_out = {gid for gid, end in ends.items() if end.what == "rollback" or not prepared[gid].changes}
    return [i for i in items if not (
        isinstance(i, Transaction) and not i.changes or getattr(i, "gid", None) in left_out)]
