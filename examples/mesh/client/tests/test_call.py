import os
import socket
import unittest
from unittest import mock

from fyke_client import Client, call, incoming

from . import peers


class Call(unittest.TestCase):
    def test_a_call_goes_to_the_proxy_and_names_the_service(self):
        with peers.proxy(lambda request: (200, b"hello")) as (address, seen):
            answer = Client(address).get("http://orders/7?full=1#part")
        self.assertEqual((answer.status, answer.ok, answer.text, answer.headers["content-length"]), (200, True, "hello", "5"))
        self.assertEqual((seen[0].command, seen[0].path, seen[0].headers["host"]), ("GET", "/7?full=1", "orders"))

    def test_an_address_without_a_path_asks_for_the_root(self):
        with peers.proxy() as (address, seen):
            Client(address).get("http://orders")
        self.assertEqual(seen[0].path, "/")

    def test_context_and_policy_go_along(self):
        with peers.proxy() as (address, seen), incoming({"x-request-id": "r-1"}):
            Client(address).get("http://orders/", timeout=0.5, retries=2, headers={"X-Request-ID": "mine", "Accept": "text/plain"})
        sent = seen[0].headers
        self.assertEqual(sent.get_all("x-request-id"), ["r-1"])
        self.assertEqual((sent["accept"], sent["x-envoy-upstream-rq-timeout-ms"], sent["x-envoy-max-retries"]), ("text/plain", "500", "2"))

    def test_every_call_has_a_timeout(self):
        with peers.proxy() as (address, seen):
            Client(address).get("http://orders/")
            Client(address, timeout=2).get("http://orders/")
        self.assertEqual([request.headers["x-envoy-upstream-rq-timeout-ms"] for request in seen], ["5000", "2000"])

    def test_a_body_goes_along_and_a_post_is_tried_again_only_where_nothing_was_done(self):
        with peers.proxy() as (address, seen):
            Client(address).post("http://orders/", b"an order", retries=1)
        self.assertEqual((seen[0].body, seen[0].headers["x-envoy-retry-on"]), (b"an order", "connect-failure,refused-stream,reset-before-request"))

    def test_every_status_is_an_answer(self):
        for status in (404, 503, 504):
            with peers.proxy(lambda request: (status, b"why")) as (address, _):
                answer = Client(address).get("http://orders/")
            self.assertEqual((answer.status, answer.ok, answer.body), (status, False, b"why"))

    def test_the_environment_says_where_the_proxy_is(self):
        with peers.proxy() as (address, seen), mock.patch.dict(os.environ, {"FYKE_OUT": address}):
            Client().get("http://orders/")
        self.assertEqual(len(seen), 1)

    def test_what_is_no_service_is_refused(self):
        for url in ("orders/7", "/7", "https://orders/", "http:///7"):
            with self.assertRaises(ValueError, msg=url):
                Client("127.0.0.1:1").get(url)


class ProxyThatDoesNotAnswer(unittest.TestCase):
    def test_nobody_listens(self):
        with socket.socket() as bound:
            # Bound and not listening: nobody else can take the port meanwhile.
            bound.bind(("127.0.0.1", 0))
            with self.assertRaises(OSError):
                Client("{}:{}".format(*bound.getsockname())).get("http://orders/")

    def test_it_says_nothing(self):
        with peers.silent() as listener, mock.patch.object(call, "GRACE", 0.05):
            with self.assertRaises(OSError):
                Client("{}:{}".format(*listener.getsockname())).get("http://orders/", timeout=0.05)

    def test_it_hangs_up(self):
        with peers.proxy(lambda request: None) as (address, _), self.assertRaises(OSError):
            Client(address).get("http://orders/")
