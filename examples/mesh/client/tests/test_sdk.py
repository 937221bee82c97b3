"""With an SDK that the application has set up. There is one for a process, so that it gets a process."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import unittest

from .test_context import CAME, TRACE

PROGRAM = '''
import json, sys
from opentelemetry import trace, propagate
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import fyke_client  # before there is an SDK

from tests import peers

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

came = json.loads(sys.argv[1])
with peers.proxy(lambda request: (503, b"")) as (address, seen):
    client = fyke_client.Client(address)
    with fyke_client.incoming(came, name="GET /orders"):
        client.get("http://stock/")
    # What instruments the application has begun this request's trace already.
    from opentelemetry import context
    token = context.attach(propagate.extract({name.lower(): value for name, value in came.items()}))
    with trace.get_tracer("framework").start_as_current_span("theirs"):
        with fyke_client.incoming(came):
            client.get("http://stock/")
    context.detach(token)
spans = [{
    "name": span.name, "kind": span.kind.name, "trace": format(span.context.trace_id, "032x"), "id": format(span.context.span_id, "016x"),
    "parent": span.parent and format(span.parent.span_id, "016x"), "status": span.status.status_code.name, "attributes": dict(span.attributes),
} for span in exporter.get_finished_spans()]
print(json.dumps({"spans": spans, "sent": [{name.lower(): value for name, value in request.headers.items()} for request in seen]}))
'''


@unittest.skipUnless(importlib.util.find_spec("opentelemetry") and importlib.util.find_spec("opentelemetry.sdk"), "opentelemetry-sdk is not installed")
class WithAnSdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(__file__).parent.parent
        ended = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(CAME)], cwd=folder, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        told = json.loads(ended.stdout)
        cls.spans, cls.sent = told["spans"], told["sent"]

    def test_a_request_and_its_calls_are_spans_of_the_trace_that_came_in(self):
        call, request = self.spans[:2]
        self.assertEqual((request["name"], request["kind"], request["trace"], request["parent"]), ("GET /orders", "SERVER", TRACE, "b7ad6b7169203331"))
        self.assertEqual((call["name"], call["kind"], call["trace"], call["parent"]), ("GET", "CLIENT", TRACE, request["id"]))

    def test_the_service_that_is_called_hears_of_the_calls_span(self):
        call = self.spans[0]
        self.assertEqual(self.sent[0]["traceparent"].split("-")[1:3], [TRACE, call["id"]])
        self.assertEqual((self.sent[0]["tracestate"], self.sent[0]["baggage"], self.sent[0]["x-request-id"]), ("a=1", "k=v", "r-1"))

    def test_a_call_says_how_it_ended(self):
        call = self.spans[0]
        self.assertEqual(call["status"], "ERROR")
        wanted = {"http.request.method": "GET", "server.address": "stock", "http.response.status_code": 503, "error.type": "503"}
        self.assertEqual(call["attributes"], wanted)

    def test_a_request_that_is_a_span_already_gets_no_second_one(self):
        call, theirs = self.spans[2:]
        self.assertEqual([span["name"] for span in (call, theirs)], ["GET", "theirs"])
        self.assertEqual((call["parent"], self.sent[1]["x-request-id"]), (theirs["id"], "r-1"))
