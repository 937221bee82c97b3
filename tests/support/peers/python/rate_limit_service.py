#!/usr/bin/env python3
"""A rate limit service by grpcio and xds-protos, which know nothing of Fyke.

    rate_limit_service.py PORT SETTINGS

Lines of JSON on standard input change the settings, lines on standard output say what it is asked:

    in   {"limits": {"tenant": [20, "DAY"]}}              of descriptors whose keys, joined by commas, are these: each combination of values has its own
         {"request_headers": {...}, "response_headers": {...}, "body": "..."}   goes along with every answer
         {"delay": 1.5}                                   seconds that each answer takes
         {"status": "UNAVAILABLE"}                        each call fails; null: none does
         {"overall": 99, "codes": [0, 2]}                 in place of what has been counted; null: what has been counted
         {"reset": [30, 1]}                               seconds and nanoseconds until a limit is whole again
    out  {"port": 1234}   {"done": 1}                     it listens; as many lines of settings are in force
         {"event": "asked", "at": 0.5, "peer": "...", "domain": "...", "hits_addend": 1, "descriptors": [
            {"entries": [["key", "value"]], "hits_addend": null, "limit": [100, "MINUTE"]}]}

A limit that a descriptor brings along goes before its own. Nothing is ever forgotten: a limit is used up until the service ends. What does not fit any
more is not counted, and `at` is the time since it listens, in seconds.
"""

import collections
import concurrent.futures
import json
import sys
import threading
import time

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from envoy.type.v3 import ratelimit_unit_pb2

lock = threading.Lock()
settings = {}
hits = collections.Counter()
began = time.monotonic()


def say(**event):
    with lock:
        print(json.dumps(event), flush=True)


def limit_of(descriptor, limits):
    """Requests and unit, by its own limit or by ours; none: there is no limit."""
    if descriptor.HasField("limit"):
        return descriptor.limit.requests_per_unit, descriptor.limit.unit
    requests, unit = limits.get(",".join(entry.key for entry in descriptor.entries), (None, "UNKNOWN"))
    return requests, rls_pb2.RateLimitResponse.RateLimit.Unit.Value(unit)


def told(descriptor):
    limit = None
    if descriptor.HasField("limit"):
        limit = [descriptor.limit.requests_per_unit, ratelimit_unit_pb2.RateLimitUnit.Name(descriptor.limit.unit)]
    return {
        "entries": [[entry.key, entry.value] for entry in descriptor.entries],
        "hits_addend": descriptor.hits_addend.value if descriptor.HasField("hits_addend") else None,
        "limit": limit,
    }


def headers(named):
    return [base_pb2.HeaderValue(key=name, value=value) for name, value in named.items()]


class Service(rls_pb2_grpc.RateLimitServiceServicer):
    def ShouldRateLimit(self, request, context):
        say(
            event="asked",
            at=time.monotonic() - began,
            peer=context.peer(),
            domain=request.domain,
            hits_addend=request.hits_addend,
            descriptors=[told(descriptor) for descriptor in request.descriptors],
        )
        with lock:
            now = dict(settings)
        if now.get("delay"):
            # Whoever has left is not waited for.
            left = threading.Event()
            if context.add_callback(left.set):
                left.wait(now["delay"])
        if now.get("status"):
            context.abort(grpc.StatusCode[now["status"]], "as it was told")
        return self.counted(request, now)

    def counted(self, request, now):
        ok, over = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
        answer = rls_pb2.RateLimitResponse(
            overall_code=ok,
            request_headers_to_add=headers(now.get("request_headers", {})),
            response_headers_to_add=headers(now.get("response_headers", {})),
            raw_body=now.get("body", "").encode(),
        )
        for descriptor in request.descriptors:
            requests, unit = limit_of(descriptor, now.get("limits", {}))
            status = answer.statuses.add(code=ok)
            if requests is None:
                continue
            cost = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
            key = (request.domain, tuple((entry.key, entry.value) for entry in descriptor.entries))
            with lock:
                if hits[key] + cost > requests:
                    status.code = answer.overall_code = over
                else:
                    hits[key] += cost
                status.limit_remaining = requests - hits[key]
            status.current_limit.requests_per_unit = requests
            status.current_limit.unit = unit
            status.duration_until_reset.seconds, status.duration_until_reset.nanos = now.get("reset", (60, 0))
        if now.get("codes") is not None:
            del answer.statuses[len(now["codes"]) :]
            for status, code in zip(answer.statuses, now["codes"]):
                status.code = code
        if now.get("overall") is not None:
            answer.overall_code = now["overall"]
        return answer


def main():
    global began
    settings.update(json.loads(sys.argv[2]))
    # Whoever has the port is not joined there.
    options = [("grpc.so_reuseport", 0)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=32), options=options)
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    began = time.monotonic()
    server.start()
    say(port=port)
    for done, line in enumerate(sys.stdin, 1):
        with lock:
            settings.update(json.loads(line))
        say(done=done)
    server.stop(None)


if __name__ == "__main__":
    main()
