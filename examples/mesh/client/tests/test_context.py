import asyncio
import contextvars
import threading
import unittest
from unittest import mock

from fyke_client import context, incoming, outgoing, request_id, trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
CAME = {"X-Request-Id": "r-1", "Traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "Tracestate": "a=1", "Baggage": "k=v"}
GOES = {"x-request-id": "r-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "a=1", "baggage": "k=v"}


class Carried:
    """What holds with the API, and without it."""

    def test_what_came_goes_on_as_it_is(self):
        with incoming(CAME):
            self.assertEqual((outgoing(), request_id(), trace_id()), (GOES, "r-1", TRACE))

    def test_nothing_goes_on_when_the_request_is_over(self):
        with self.assertRaises(KeyError), incoming(CAME):
            raise KeyError
        self.assertEqual((outgoing(), request_id(), trace_id()), ({}, None, None))

    def test_nothing_comes_of_nothing(self):
        with incoming({}):
            self.assertEqual((outgoing(), trace_id()), ({}, None))

    def test_what_is_no_trace_and_no_id_goes_nowhere(self):
        for wrong in ("", "a b", "a\r\n b", "x" * 129, "\u00e9"):
            with incoming({"x-request-id": wrong}):
                self.assertEqual(outgoing(), {}, repr(wrong))

    def test_an_inner_request_hides_the_outer_one(self):
        with incoming(CAME):
            with incoming({"x-request-id": "r-2"}):
                self.assertEqual(request_id(), "r-2")
            self.assertEqual(outgoing(), GOES)

    def test_headers_are_a_mapping_or_pairs_and_repeat(self):
        pairs = [("x-request-id", "r-1"), ("traceparent", CAME["Traceparent"]), ("tracestate", "a=1"), ("tracestate", "b=2")]
        with incoming(pairs):
            self.assertEqual(outgoing()["tracestate"], "a=1,b=2")

    def test_requests_that_are_worked_on_at_the_same_time_do_not_meet(self):
        async def one(number):
            with incoming({"x-request-id": f"r-{number}"}):
                await barrier(number)
                return outgoing()["x-request-id"]

        turns = []

        async def barrier(number):
            turns.append(number)
            while len(turns) < 3:
                await asyncio.sleep(0)

        async def all_of_them():
            return await asyncio.gather(*map(one, range(3)))

        self.assertEqual(asyncio.run(all_of_them()), ["r-0", "r-1", "r-2"])

    def test_a_thread_takes_part_when_it_is_given_the_context(self):
        seen = []
        with incoming(CAME):
            worker = threading.Thread(target=contextvars.copy_context().run, args=(lambda: seen.append(outgoing()),))
            worker.start()
            worker.join()
        self.assertEqual(seen, [GOES])


class WithoutTheApi(Carried, unittest.TestCase):
    def setUp(self):
        absent = mock.patch.object(context, "trace", None)
        absent.start()
        self.addCleanup(absent.stop)


@unittest.skipUnless(context.trace, "opentelemetry-api is not installed")
class WithTheApi(Carried, unittest.TestCase):
    """No SDK: `test_sdk` sets one up in a process of its own."""

    def test_no_sdk_is_there(self):
        from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

        self.assertIsInstance(get_tracer_provider(), ProxyTracerProvider)

    def test_the_applications_propagator_decides_about_the_format(self):
        from opentelemetry import context as otel, propagate

        class Other:
            fields = {"x-trace"}

            def extract(self, carrier, context=None, getter=None):
                return otel.get_current() if context is None else context

            def inject(self, carrier, context=None, setter=None):
                carrier["x-trace"] = "other"

        self.addCleanup(propagate.set_global_textmap, propagate.get_global_textmap())
        propagate.set_global_textmap(Other())
        with incoming(CAME):
            self.assertEqual(outgoing(), {"x-trace": "other", "x-request-id": "r-1"})
