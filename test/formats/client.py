"""Runs the client that a document shows, with a psycopg2 that reads a file.

Without FILE it prints the options that the client asks for, an option a line.
With FILE, which holds what a slot sent, the client takes that as one write;
what it confirms is printed after what it prints itself.

usage: python3 test/formats/client.py DOCUMENT [FILE]
"""
import re
import sys
import types


class Cursor:
    def start_replication(self, slot_name, decode, status_interval, options):
        if len(sys.argv) < 3:
            for name, value in options.items():
                print("%s=%s" % (name, value))
            sys.exit()

    def consume_stream(self, take):
        with open(sys.argv[2], encoding="utf-8", newline="\n") as file:
            payload = file.read().removesuffix("\n")
        take(types.SimpleNamespace(payload=payload, cursor=self))

    def send_feedback(self, flush_lsn):
        print("confirmed %X/%X" % (flush_lsn >> 32, flush_lsn & 0xFFFFFFFF))


psycopg2 = types.ModuleType("psycopg2")
psycopg2.connect = lambda dsn, connection_factory: types.SimpleNamespace(cursor=Cursor)
psycopg2.extras = types.ModuleType("psycopg2.extras")
psycopg2.extras.LogicalReplicationConnection = None
sys.modules.update({"psycopg2": psycopg2, "psycopg2.extras": psycopg2.extras})

with open(sys.argv[1], encoding="utf-8") as document:
    block = re.search(r"```python\n(.*?)```", document.read(), re.DOTALL).group(1)
exec(compile(block, sys.argv[1], "exec"), {})
