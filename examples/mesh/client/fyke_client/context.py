"""What a request carries from service to service: its id, and the trace that it belongs to.

The trace is OpenTelemetry's business, and only its API is used. Where the application has set up an SDK, each request and each call is
a span of it; where it has not, the API makes no spans and hands on what came in, so that the spans of the proxies stay one trace.
Formats are those of the application's propagator (W3C's, unless it says otherwise).
"""

import contextlib
import contextvars
import re

try:
    from opentelemetry import context as otel_context, propagate, trace
except ImportError:  # A checkout, run as it is: the headers of W3C go on as they came, which is what the API does without an SDK.
    trace = None

REQUEST_ID = "x-request-id"
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")

# What Fyke's filter `request-id` takes for an id.
_SANE_ID = re.compile(r"[!-~]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")

_request_id = contextvars.ContextVar("fyke_request_id", default=None)
# Without OpenTelemetry only.
_trace_headers = contextvars.ContextVar("fyke_trace_headers", default={})


@contextlib.contextmanager
def incoming(headers, name="request"):
    """For as long as a request is worked on: whatever is called meanwhile belongs to it.

    `headers` are those of the request, a mapping or pairs; `name` is that of its span, if there are spans. What instruments the
    application already (a trace of this request is going on) is left alone.
    """
    carried = lowered(headers)
    said = carried.get(REQUEST_ID, "")
    token = _request_id.set(said if _SANE_ID.fullmatch(said) else None)
    try:
        with _continued(carried, name):
            yield
    finally:
        _request_id.reset(token)


def outgoing():
    """The headers that a call has to have, for any HTTP library: `requests.get(url, headers=fyke_client.outgoing())`."""
    headers = {}
    if trace is None:
        headers.update(_trace_headers.get())
    else:
        propagate.inject(headers)
    if request_id():
        headers[REQUEST_ID] = request_id()
    return headers


def request_id():
    """The id of the request that is worked on, or None."""
    return _request_id.get()


def trace_id():
    """The id of its trace, 32 hexadecimal digits, or None."""
    if trace is None:
        match = _TRACEPARENT.fullmatch(_trace_headers.get().get("traceparent", ""))
        return match and match[1]
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def lowered(headers):
    """Headers by their names in lower case; several of one name are one, with commas, as HTTP has it."""
    together = {}
    for name, value in headers.items() if hasattr(headers, "items") else headers:
        together.setdefault(name.lower(), []).append(value)
    return {name: ",".join(values) for name, values in together.items()}


@contextlib.contextmanager
def call_span(method, host):
    """The span of a call. What is yielded is told the status of the answer."""
    if trace is None:
        yield lambda status: None
        return
    attributes = {"http.request.method": method, "server.address": host}
    with _tracer().start_as_current_span(method, kind=trace.SpanKind.CLIENT, attributes=attributes) as span:

        def answered(status):
            span.set_attribute("http.response.status_code", status)
            if status >= 400:
                span.set_attribute("error.type", str(status))
                span.set_status(trace.StatusCode.ERROR)

        yield answered


@contextlib.contextmanager
def _continued(carried, name):
    if trace is None:
        token = _trace_headers.set({header: carried[header] for header in TRACE_HEADERS if header in carried})
        try:
            yield
        finally:
            _trace_headers.reset(token)
        return
    context = propagate.extract(carried)
    current = trace.get_current_span().get_span_context()
    if current.is_valid and current.trace_id == trace.get_current_span(context).get_span_context().trace_id:
        yield
        return
    token = otel_context.attach(context)
    try:
        with _tracer().start_as_current_span(name, kind=trace.SpanKind.SERVER):
            yield
    finally:
        otel_context.detach(token)


def _tracer():
    # Asked for each time: the application may set up its SDK after this module was imported.
    return trace.get_tracer("fyke_client")
