#!/usr/bin/env python3
"""Systems of the catalogue, each speaking its documented wire format.

    test/dialects/server.py --port 0 --port-file FILE

http://127.0.0.1:PORT/<dialect>/... goes to a dialect; /_control/<dialect>/... is for tests:
GET data, journal, wrong, settings; POST faults, settings (JSON objects); DELETE faults,
or all of it.  Setting "wait" is a pattern of requests that get no answer while it is set.
The server ends with its parent.
"""
import argparse
import ctypes
import http.server
import importlib
import io
import json
import os
import pathlib
import re
import signal
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

from common import Answer, Dialect, Request  # noqa: E402


def dialects():
    """One object for each subclass of Dialect in the files beside this one."""
    found = {}
    for file in sorted(HERE.glob("*.py")):
        if file.stem in ("server", "common", "wire", "parts"):
            continue
        module = importlib.import_module(file.stem)
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, Dialect) and thing.name \
                    and thing.__module__ == module.__name__:
                found[thing.name] = thing()
    return found


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        first, _, rest = self.path.lstrip("/").partition("/")
        if first in self.server.dialects:
            self.held(self.server.dialects[first], "%s /%s" % (self.command, urllib.parse.unquote(rest.partition("?")[0])))
        with self.server.lock:
            if first == "_control":
                answer = self.control(rest, body)
            elif first in self.server.dialects:
                request = Request(self.command, "/" + rest, self.headers.items(), body)
                answer = self.server.dialects[first].handle(request)
            else:
                answer = Answer(404, {"message": "no dialect " + first})
        if answer.drop == 0:
            self.reset()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            for one in value if isinstance(value, list) else [value]:
                self.send_header(name, one)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD" and answer.status != 204:
            self.wfile.write(answer.body[:answer.drop])
        if answer.drop is not None:
            self.wfile.flush()
            self.close_connection = True

    def held(self, dialect, text):
        """Keeps a request waiting that setting "wait" matches, as long as it is set; "waiting" counts them."""
        wait = dialect.settings.get("wait")
        if not wait or not re.search(wait, text):
            return
        with self.server.lock:
            dialect.settings["waiting"] = dialect.settings.get("waiting", 0) + 1
        until = time.monotonic() + 120
        while dialect.settings.get("wait") == wait and time.monotonic() < until:
            time.sleep(0.01)
        with self.server.lock:
            dialect.settings["waiting"] = dialect.settings.get("waiting", 1) - 1

    def reset(self):
        """Ends the connection as a process that died does: no answer, a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = io.BytesIO()
        self.rfile = io.BytesIO()

    def control(self, path, body):
        name, _, what = path.partition("/")
        dialect = self.server.dialects.get(name)
        if dialect is None:
            return Answer(404, {"message": "no dialect " + name})
        if self.command == "DELETE":
            if what == "faults":
                dialect.faults.clear()
            else:
                dialect.reset()
            return Answer(204)
        if self.command == "POST" and what == "faults":
            dialect.faults.append(json.loads(body))
            return Answer(204)
        if self.command == "POST" and what == "settings":
            dialect.settings.update(json.loads(body))
            return Answer(204)
        if what in ("data", "journal", "wrong", "settings"):
            return Answer(200, dialect.records if what == "data" else getattr(dialect, what))
        return Answer(404, {"message": "no control " + what})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_MERGE = serve


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--port-file")
    arguments = parser.parse_args()

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)      # PR_SET_PDEATHSIG
    server = Server(("127.0.0.1", arguments.port), Handler)
    server.dialects = dialects()
    server.lock = threading.Lock()
    if arguments.port_file:
        temporary = arguments.port_file + ".new"
        pathlib.Path(temporary).write_text("%d\n" % server.server_address[1])
        os.rename(temporary, arguments.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
