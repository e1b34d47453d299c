"""Reads events in JSON, an event a line, by python's own parser.

Prints each again in one form: ASCII alone, members in the order of their
names.  A line is refused that is not UTF-8, names a member twice, or has a
number that JSON does not know, or that is a CloudEvent with a character in an
attribute that its standard forbids.

usage: python3 test/formats/lines.py FILE
"""
import json
import re
import sys

FORBIDDEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ufdd0-\\ufdef\\ufffe\\uffff]")


def unique(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice: %r" % [name for name, _ in pairs])
    return members


def refuse(word):
    raise ValueError("%s is no number" % word)


with open(sys.argv[1], "rb") as lines:
    for line in lines:
        event = json.loads(line.decode("utf-8"), object_pairs_hook=unique,
                           parse_constant=refuse, parse_float=str)
        if "specversion" in event:
            for name, value in event.items():
                if name != "data" and FORBIDDEN.search(value):
                    raise ValueError("%s has a forbidden character: %r" % (name, value))
        print(json.dumps(event, sort_keys=True, ensure_ascii=True))
