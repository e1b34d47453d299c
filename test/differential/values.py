"""Random values of every type, as the text that the type's input reads."""

import json
import struct

# extensions that give types; those that the server does not have are left out
EXTENSIONS = ["citext", "hstore", "ltree", "cube", "seg", "isn"]

SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy', 'it''s "fine"', ',');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nested AS (p pair, at timestamptz, list int[], j jsonb);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN deeper AS positive NOT NULL;
CREATE DOMAIN list AS int[] CHECK (cardinality(VALUE) < 1000);
CREATE DOMAIN pairs AS pair;
CREATE DOMAIN words AS text[];
CREATE DOMAIN raws AS bytea;
CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
"""


def text(r, longest=40):
    """Any text that UTF-8 can have, with what is awkward in JSON more often."""
    kind = r.random()
    size = r.randrange(longest)
    if kind < 0.25:
        return "".join(r.choice("abcdefghij KLM_") for _ in range(size))
    if kind < 0.5:
        return "".join(r.choice("\"\\'\n\r\t\b\f\x01\x1f\x7f{}[],:; a/") for _ in range(size))
    if kind < 0.75:
        return "".join(r.choice("äöß€漢字\u2028\u2029\ufeff\U0001f600\u0300\ud7ff\uffff") for _ in range(size))
    if kind < 0.9:
        return "".join(chr(r.choice([
            r.randrange(1, 0x80), r.randrange(0x80, 0x800), r.randrange(0x800, 0xD800),
            r.randrange(0xE000, 0x10000), r.randrange(0x10000, 0x110000)])) for _ in range(size))
    return r.choice(["", "null", "NULL", "true", "0", "{}", "[]", "\\N", "\\.", "NaN", " ", '"'])


def long_text(r):
    """A text that TOAST may compress, or move out of line."""
    size = r.choice([100, 500, 1900, 2100, 5000, 9000, 20000])
    if r.random() < 0.3:
        return text(r) + "x" * size
    return "".join(r.choices("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_ä\n\"", k=size))


def integer(bits):
    def generate(r):
        limit = 1 << (bits - 1)
        return str(r.choice([
            0, 1, -1, limit - 1, -limit, r.randrange(-limit, limit),
            r.randrange(-10 ** r.randrange(1, len(str(limit))), 10 ** r.randrange(1, len(str(limit))))]))
    return generate


def unsigned(bits):
    def generate(r):
        return str(r.choice([0, 1, (1 << bits) - 1, r.randrange(1 << bits), r.randrange(1000)]))
    return generate


def real(r):
    if r.random() < 0.1:
        return r.choice(["NaN", "Infinity", "-Infinity", "-0", "0", "1e-45", "3.4028235e38"])
    if r.random() < 0.3:
        return repr(r.randrange(-100000, 100000) / 100)
    value = struct.unpack("<f", struct.pack("<I", r.getrandbits(32)))[0]
    return "NaN" if value != value else repr(value).replace("inf", "Infinity")


def double(r):
    if r.random() < 0.1:
        return r.choice(["NaN", "Infinity", "-Infinity", "-0", "0", "5e-324", "1.7976931348623157e308"])
    if r.random() < 0.3:
        return repr(r.randrange(-100000, 100000) / 1000)
    value = struct.unpack("<d", struct.pack("<Q", r.getrandbits(64)))[0]
    return "NaN" if value != value else repr(value).replace("inf", "Infinity")


def numeric(r):
    kind = r.random()
    if kind < 0.08:
        return r.choice(["NaN", "Infinity", "-Infinity", "0", "0.000", "-0.0", "1e100", "-1e-100", "1e2000", "1e-1500"])
    whole = "".join(r.choices("0123456789", k=r.choice([0, 1, 2, 3, 4, 5, 8, 9, 12, 16, 17, 40, 200])))
    scale = "".join(r.choices("0000123456789", k=r.choice([0, 0, 1, 2, 3, 4, 5, 8, 9, 30, 100])))
    return r.choice(["", "-"]) + (whole or "0") + ("." + scale if scale else "")


def numeric_scaled(r):
    return "%d.%s" % (r.randrange(-10 ** 14, 10 ** 14), "".join(r.choices("0123456789", k=5)))


def money(r):
    cents = r.choice([0, 1, -1, 99, -100, 2 ** 63 - 1, -2 ** 63, r.randrange(-10 ** 12, 10 ** 12)])
    return "%s%d.%02d" % ("-" if cents < 0 else "", abs(cents) // 100, abs(cents) % 100)


def bytea(r):
    return "\\x" + r.randbytes(r.choice([0, 1, 2, 3, 4, 30, 300])).hex()


def bits(r, size):
    return "".join(r.choice("01") for _ in range(size))


def day(r, last=2451545 + 2000000):
    kind = r.random()
    if kind < 0.5:
        return 2451545 + r.randrange(-20000, 20000)
    return r.randrange(0, last)


def clock(r, digits=6):
    if r.random() < 0.1:
        return r.choice(["00:00:00", "23:59:59.999999"])
    result = "%02d:%02d:%02d" % (r.randrange(24), r.randrange(60), r.randrange(60))
    if r.random() < 0.7:
        result += "." + "".join(r.choices("0123456789", k=r.randrange(1, digits + 1)))
    return result


def infinite(r, generate):
    return r.choice(["infinity", "-infinity"]) if r.random() < 0.05 else generate()


def date(r):
    return infinite(r, lambda: "J%d" % day(r, 2147483493))


def timestamp(r):
    return infinite(r, lambda: "J%d %s" % (day(r, 109203000), clock(r)))


def timestamptz(r):
    return infinite(r, lambda: "J%d %s+%02d:%02d" % (
        day(r, 109203000) + 1, clock(r), r.randrange(15), r.choice([0, 30])))


def timetz(r):
    return clock(r) + "%s%02d:%02d" % (r.choice("+-"), r.randrange(15), r.choice([0, 15, 59]))


def interval(r):
    parts = []
    for unit, limit in (("years", 10000), ("mons", 11), ("days", 100000), ("hours", 100), ("mins", 59)):
        if r.random() < 0.4:
            parts.append("%d %s" % (r.randrange(-limit, limit + 1), unit))
    if r.random() < 0.5 or not parts:
        parts.append("%s%d.%06d secs" % (r.choice(["", "-"]), r.randrange(60), r.randrange(1000000)))
    return " ".join(parts)


def uuid(r):
    return r.randbytes(16).hex()


def inet(r):
    if r.random() < 0.5:
        return "%d.%d.%d.%d/%d" % (*r.randbytes(4), r.randrange(33))
    return ":".join("%x" % r.getrandbits(16) for _ in range(8)) + "/%d" % r.randrange(129)


def cidr(r):
    if r.random() < 0.5:
        return "%d.%d.0.0/%d" % (r.randrange(256), r.randrange(256), r.randrange(16, 33))
    return "%x:%x::/%d" % (r.getrandbits(16), r.getrandbits(16), r.randrange(32, 129))


def macaddr(size):
    def generate(r):
        return ":".join("%02x" % b for b in r.randbytes(size))
    return generate


def json_value(r, depth=0):
    kind = r.random()
    space = r.choice(["", "", " ", "\n ", "\t", "\r\n"])
    if depth < 4 and kind < 0.25:
        names = [json.dumps(text(r, 8)) for _ in range(r.randrange(5))]
        return "{%s%s%s}" % (space, ("," + space).join(
            "%s%s:%s%s" % (n, space, space, json_value(r, depth + 1)) for n in names), space)
    if depth < 4 and kind < 0.5:
        return "[%s%s]" % (space, ("%s," % space).join(
            json_value(r, depth + 1) for _ in range(r.randrange(5))))
    if kind < 0.75:
        return json.dumps(text(r), ensure_ascii=r.random() < 0.3)
    if kind < 0.9:
        return r.choice(["0", "-0", "1", "-1.50", "1e5", "1E+5", "2.5e-7", "1e400", "12345678901234567890.123", "0.0"])
    return r.choice(["true", "false"] + (["null"] if depth else []))


def json_element(r):
    """A json value in an array: not an array, which JSON could not tell from a dimension."""
    value = json_value(r)
    return '{"a":%s}' % value if value.lstrip().startswith("[") else value


def jsonpath(r):
    return r.choice(["$", "$.a[*] ? (@.b > 1)", 'strict $."a b"', "$[0 to last]", '$.x like_regex "^a\\"b"'])


def xml(r):
    body = "".join(c for c in text(r) if c >= " " and c not in "<&\x7f\uffff\u0300" or c == "\n")
    return "<a b=\"1\">%s</a>" % body.replace("]]>", "")


def number(r):
    return r.choice([repr(r.randrange(-1000, 1000) / 4), "1e300", "-0", "0.1", "3"])


def points(r, count):
    return ",".join("(%s,%s)" % (number(r), number(r)) for _ in range(count))


def line(r):
    return "{%d,%s,%s}" % (r.randrange(1, 9), number(r), number(r))


def path(r):
    return r.choice(["[%s]", "(%s)"]) % points(r, r.randrange(1, 5))


def circle(r):
    return "<(%s,%s),%d>" % (number(r), number(r), r.randrange(9))


def tsvector(r):
    return " ".join("'w%d %s':%d%s" % (i, r.choice(["", "ä", "\"", "''"]), r.randrange(1, 99), r.choice("ABCD"))
                    for i in range(r.randrange(6)))


def tsquery(r):
    return r.choice(["'a' & 'b'", "!'it''s' | ('x' <-> 'y')", "'fat':AB & 'cat':*"])


def ranged(value, key):
    """A range over a type whose values key() orders."""
    def generate(r):
        if r.random() < 0.1:
            return "empty"
        low, high = sorted((value(r) for _ in range(2)), key=key)
        low = "" if r.random() < 0.15 else '"%s"' % low
        high = "" if r.random() < 0.15 else '"%s"' % high
        return "%s%s,%s%s" % (r.choice("[("), low, high, r.choice("])"))
    return generate


def multi(one):
    def generate(r):
        return "{%s}" % ",".join(one(r) for _ in range(r.randrange(4)))
    return generate


def small(limit):
    return lambda r: str(r.randrange(-limit, limit))


def plain_day(r):
    return "%04d-%02d-%02d" % (r.randrange(1, 9999), r.randrange(1, 13), r.randrange(1, 29))


def plain_time(r):
    return plain_day(r) + " %02d:%02d:%02d.%06d" % (
        r.randrange(24), r.randrange(60), r.randrange(60), r.randrange(1000000))


int_range = ranged(small(10 ** 6), int)
num_range = ranged(lambda r: "%d.%02d" % (r.randrange(1000), r.randrange(100)), float)
day_range = ranged(plain_day, str)
time_range = ranged(plain_time, str)
text_range = ranged(lambda r: "".join(r.choices("abcXYZ 09,()", k=r.randrange(1, 6))), str)


def quoted(value):
    """A field of a composite."""
    if value is None:
        return ""
    return '"%s"' % value.replace("\\", "\\\\").replace('"', '""')


def composite(*parts):
    def generate(r):
        return "(%s)" % ",".join(
            quoted(None if r.random() < 0.15 else part(r)) for part in parts)
    return generate


def element(value, delimiter):
    if value is None:
        return "NULL"
    return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')


def array(value, delimiter=",", nulls=True):
    """An array: of one dimension mostly, sometimes of more, or with bounds."""
    def one(r):
        return element(None if nulls and r.random() < 0.1 else value(r), delimiter)

    def generate(r):
        kind = r.random()
        if kind < 0.1:
            return "{}"
        size = r.randrange(1, 5)
        if kind < 0.75:
            return "{%s}" % delimiter.join(one(r) for _ in range(size))
        if kind < 0.9:
            rows = r.randrange(1, 4)
            return "{%s}" % delimiter.join(
                "{%s}" % delimiter.join(one(r) for _ in range(size)) for _ in range(rows))
        first = r.randrange(-3, 4)
        return "[%d:%d]={%s}" % (first, first + size - 1, delimiter.join(one(r) for _ in range(size)))
    return generate


def choice(*values):
    return lambda r: r.choice(values)


MOODS = ("sad", "ok", "very happy", 'it\'s "fine"', ",")
pair = composite(integer(32), text)

TYPES = {
    "bool": choice("t", "f"),
    "int2": integer(16), "int4": integer(32), "int8": integer(64),
    "oid": unsigned(32), "xid": unsigned(32), "xid8": unsigned(64), "cid": unsigned(32),
    "tid": lambda r: "(%d,%d)" % (r.getrandbits(32), r.getrandbits(16)),
    "float4": real, "float8": double,
    "numeric": numeric, "numeric(20,5)": numeric_scaled, "money": money,
    "text": text, "varchar": text, "varchar(60)": text, "char(50)": text,
    '"char"': choice("a", "", '"', "\\", " "), "name": lambda r: text(r, 12),
    "bytea": bytea,
    "bit(13)": lambda r: bits(r, 13), "varbit": lambda r: bits(r, r.randrange(40)),
    "date": date, "time": clock, "time(3)": clock, "timetz": timetz,
    "timestamp": timestamp, "timestamp(0)": timestamp, "timestamptz": timestamptz,
    "interval": interval, "interval(2)": interval,
    "uuid": uuid, "inet": inet, "cidr": cidr, "macaddr": macaddr(6), "macaddr8": macaddr(8),
    "json": json_value, "jsonb": json_value, "jsonpath": jsonpath, "xml": xml,
    "point": lambda r: points(r, 1), "line": line, "lseg": lambda r: "[%s]" % points(r, 2),
    "box": lambda r: points(r, 2), "path": path,
    "polygon": lambda r: "(%s)" % points(r, r.randrange(1, 6)), "circle": circle,
    "tsvector": tsvector, "tsquery": tsquery,
    "int4range": int_range, "int8range": int_range, "numrange": num_range,
    "daterange": day_range, "tsrange": time_range, "tstzrange": time_range,
    "int4multirange": multi(int_range), "nummultirange": multi(num_range),
    "tstzmultirange": multi(time_range), "datemultirange": multi(day_range),
    "pg_lsn": lambda r: "%X/%X" % (r.getrandbits(32), r.getrandbits(32)),
    "pg_snapshot": lambda r: "10:20:10,14,15",
    "int2vector": lambda r: " ".join(str(r.randrange(100)) for _ in range(r.randrange(4))),
    "oidvector": lambda r: " ".join(str(r.randrange(100)) for _ in range(r.randrange(4))),
    "regtype": choice("integer", "text", "timestamp with time zone", '"char"', "-"),
    "regclass": choice("pg_class", "pg_type", "0"),
    "regproc": choice("now", "boolin", "0"), "regrole": choice("postgres"),
    "mood": choice(*MOODS), "pair": pair,
    "nested": composite(pair, timestamptz, array(integer(32)), json_value),
    "positive": lambda r: str(r.randrange(1, 2 ** 31)),
    "list": array(integer(32)), "pairs": pair, "words": array(text), "raws": bytea,
    "textrange": text_range,
    "bool[]": array(choice("t", "f")), "int2[]": array(integer(16)), "int4[]": array(integer(32)),
    "int8[]": array(integer(64)), "numeric[]": array(numeric), "float4[]": array(real),
    "float8[]": array(double), "text[]": array(text), "varchar[]": array(text),
    "char(20)[]": array(lambda r: text(r, 20)), "name[]": array(lambda r: text(r, 10)),
    "bytea[]": array(bytea), "date[]": array(date), "time[]": array(clock),
    "timestamp[]": array(timestamp), "timestamptz[]": array(timestamptz),
    "interval[]": array(interval), "uuid[]": array(uuid), "inet[]": array(inet),
    "json[]": array(json_element), "jsonb[]": array(json_element), "oid[]": array(unsigned(32)),
    "money[]": array(money), "bit(3)[]": array(lambda r: bits(r, 3)),
    "box[]": array(lambda r: points(r, 2), ";"), "point[]": array(lambda r: points(r, 1)),
    "int4range[]": array(int_range), "mood[]": array(choice(*MOODS)), "pair[]": array(pair),
    "positive[]": array(lambda r: str(r.randrange(1, 99))),
    "xml[]": array(xml), '"char"[]': array(choice("a", "b", '"')),
}

OF_EXTENSIONS = {
    "citext": {"citext": text, "citext[]": array(text)},
    "hstore": {"hstore": lambda r: ",".join("%s=>%s" % (
        element(text(r, 10), ","), element(None if r.random() < 0.2 else text(r), ",")) for _ in range(r.randrange(4)))},
    "ltree": {"ltree": lambda r: ".".join(r.choice(["Top", "a_1", "B"]) for _ in range(r.randrange(1, 5)))},
    "cube": {"cube": lambda r: "(%s,%s),(%s,%s)" % tuple(number(r) for _ in range(4))},
    "seg": {"seg": choice("1.50", "1.5 .. 2", "<3", "5(+-)0.3")},
    "isn": {"isbn13": choice("978-0-393-04002-9", "9780393040029"), "ean13": choice("9780393040029", "978-0-11-000222-4")},
}
