#!/usr/bin/env python3
"""Three services: `services.py shop 127.0.0.11:3000`, and the same with `orders` and `stock`. shop asks orders, orders asks stock.

Each answers with a line about what it was sent, and with the lines of whom it has asked. Of stock one can ask to be slow and to fail:
`?wait=SECONDS` and `?fail=TRIES`. They call each other by name, through the Fyke whose address is in FYKE_OUT.
"""

import http.server
import sys
import time
import urllib.parse

import fyke_client


def shop(request):
    return 200, line(request) + ask("orders", request.path, timeout=3)


def orders(request):
    return 200, line(request) + ask("stock", request.path, timeout=1, retries=2)


def stock(request):
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))
    time.sleep(float(query.get("wait", 0)))
    # The caller's proxy says which try this is.
    attempt = int(request.headers.get("x-envoy-attempt-count", 1))
    if attempt <= int(query.get("fail", 0)):
        return 503, f"try {attempt} has failed\n"
    return 200, line(request, f"  try {attempt}")


def line(request, more=""):
    """What arrived here: the proxies on the way, the request's id, its trace."""
    proxies = ", ".join(request.headers.get_all("via", [])).replace("1.1 ", "")
    return f"{request.name:6}  via {proxies:17}  request {fyke_client.request_id()}  trace {fyke_client.trace_id()}{more}\n"


def ask(service, path, **rules):
    answer = fyke_client.Client().get(f"http://{service}{path}", **rules)
    return answer.text if answer.ok else f"{service:6}  {answer.status} {answer.text.strip()}\n"


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = sys.argv[1]
    work = {"shop": shop, "orders": orders, "stock": stock}[name]

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, "well\n")
        with fyke_client.incoming(self.headers, name=f"GET {self.name}"):
            self.answer(*Service.work(self))

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        # Who gave up on an answer is no error of ours.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


address, _, port = sys.argv[2].rpartition(":")
Server((address, int(port)), Service).serve_forever()
