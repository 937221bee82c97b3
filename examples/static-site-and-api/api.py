"""A service with a list of things to do: GET and POST /todos, and GET /seen, which tells what arrived."""

import http.server
import json
import sys

TODOS = ["mend the net"]


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/todos":
            self.answer(200, TODOS)
        elif self.path == "/seen":
            names = ["x-from", "x-forwarded-for", "x-forwarded-proto", "cookie"]
            self.answer(200, {"path": self.path} | {name: self.headers[name] for name in names})
        else:
            self.answer(404, {"error": f"there is no {self.path}"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        if self.path == "/todos":
            TODOS.append(body.decode())
            self.answer(201, TODOS)
        else:
            self.answer(404, {"error": f"there is no {self.path}"})

    def answer(self, status, value):
        body = (json.dumps(value) + "\n").encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api).serve_forever()
