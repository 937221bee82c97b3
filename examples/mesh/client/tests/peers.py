"""Who the client talks to in these tests: a proxy that keeps what it was sent, and a MongoDB server that finds nothing."""

import contextlib
import http.server
import socket
import socketserver
import struct
import threading


@contextlib.contextmanager
def proxy(answer=lambda request: (200, b"")):
    """Where it listens, and the requests that it got; each is answered with what `answer` says, a status and a body, or not at all."""
    seen = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def handle_any(self):
            self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append(self)
            said = answer(self)
            if said is None:
                return
            status, body = said
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, *words):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)) as address:
        yield address, seen


@contextlib.contextmanager
def mongo():
    """Where it listens, and the commands that it got, those of the driver itself aside."""
    import bson

    seen = []

    def reply(command):
        name = next(iter(command))
        if name.lower() in ("hello", "ismaster"):
            return {"ok": 1, "isWritablePrimary": True, "ismaster": True, "minWireVersion": 0, "maxWireVersion": 21, "helloOk": True}
        seen.append(command)
        if name in ("find", "aggregate"):
            return {"ok": 1, "cursor": {"id": 0, "ns": "shop.orders", "firstBatch": []}}
        return {"ok": 1, "n": 1}

    class Server(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(EOFError):
                while True:
                    length, number, _, code = struct.unpack("<iiii", exactly(self.request, 16))
                    body = exactly(self.request, length - 16)
                    # OP_QUERY, with which drivers greet, has its document behind flags, a name and two numbers; OP_MSG behind five bytes.
                    start = body.index(b"\0", 4) + 9 if code == 2004 else 5
                    size = struct.unpack_from("<i", body, start)[0]
                    answer = bson.encode(reply(bson.decode(body[start:start + size])))
                    head = struct.pack("<iqii", 8, 0, 0, 1) if code == 2004 else struct.pack("<iB", 0, 0)
                    code = 1 if code == 2004 else 2013
                    self.request.sendall(struct.pack("<iiii", 16 + len(head) + len(answer), 0, number, code) + head + answer)

    class Threads(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with serving(Threads(("127.0.0.1", 0), Server)) as address:
        yield address, seen


def silent():
    """A listener that takes connections and never answers."""
    return socket.create_server(("127.0.0.1", 0))


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


@contextlib.contextmanager
def serving(server):
    server.daemon_threads = True
    # What it polls with is how long its end takes.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield "{}:{}".format(*server.server_address)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
