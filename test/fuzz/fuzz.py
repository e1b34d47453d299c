"""What both fuzzers share: the database, mutations, and how results are told."""

import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "differential"))

from pg import Connection  # noqa: E402

DATABASE = "fuzz"
SLOT = "fuzz_slot"
SETTINGS = {
    "DateStyle": "ISO, YMD", "TimeZone": "UTC", "IntervalStyle": "postgres", "bytea_output": "hex",
    "extra_float_digits": "1", "lc_monetary": "C",
}


class Fuzzer:
    def __init__(self, description):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--host", required=True)
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--seconds", type=float, default=5)
        self.arguments = parser.parse_args()
        self.r = random.Random(self.arguments.seed)
        self.failed = 0
        self.end = None
        print("# seed %d" % self.arguments.seed, flush=True)
        admin = self.connect("postgres")
        for slot in admin.query("SELECT slot_name FROM pg_replication_slots WHERE NOT active AND database = '%s'" % DATABASE):
            admin.query("SELECT pg_drop_replication_slot('%s')" % slot)
        admin.query("DROP DATABASE IF EXISTS %s" % DATABASE)
        admin.query("CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'" % DATABASE)
        self.connection = self.connect()

    def connect(self, database=DATABASE, replication=False):
        return Connection(self.arguments.host, self.arguments.port, database, "postgres", replication, SETTINGS)

    def goes_on(self):
        # the time is that of rounds: what they need may take long to make
        if self.end is None:
            self.end = time.monotonic() + self.arguments.seconds
        return time.monotonic() < self.end and self.failed < 10

    def fail(self, what, detail):
        self.failed += 1
        print("not ok - %s" % what)
        print("# " + str(detail)[:3000].replace("\n", "\n# "), flush=True)

    def finish(self, what):
        """The database has survived; say what was done."""
        self.connection.query("SELECT 1")
        if not self.failed:
            print("ok - %s" % what)
        return 1 if self.failed else 0

    def mutated(self, data):
        """Bytes with some of them changed, removed, repeated."""
        data = bytearray(data)
        for _ in range(self.r.choice([1, 1, 1, 2, 5])):
            at = self.r.randrange(len(data) + 1)
            kind = self.r.random()
            if kind < 0.4 and at < len(data):
                data[at] = self.r.choice([0, 1, 0x7F, 0x80, 0xFF, self.r.randrange(256), data[at] ^ (1 << self.r.randrange(8))])
            elif kind < 0.6 and data:
                del data[at : at + self.r.randrange(1, 5)]
            elif kind < 0.8:
                data[at:at] = self.r.randbytes(self.r.randrange(1, 5))
            elif kind < 0.9:
                data[at:at] = data[: self.r.randrange(len(data) + 1)]
            else:
                for n in range(at, min(at + 4, len(data))):
                    data[n] = self.r.choice([0, 0xFF, 0x7F])
        return bytes(data)
