"""Asks the service by Envoy's own stubs. The argument is its address; what is wrong is an assertion that fails."""

import sys
import urllib.request

import grpc
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from envoy.type.v3 import ratelimit_unit_pb2
from google.protobuf import json_format, wrappers_pb2

address = sys.argv[1]
Response = rls_pb2.RateLimitResponse
Limit = Response.RateLimit
Descriptor = ratelimit_pb2.RateLimitDescriptor


def descriptor(key, value, hits=None, limit=None):
    made = Descriptor(entries=[Descriptor.Entry(key=key, value=value)])
    if hits is not None:
        made.hits_addend.CopyFrom(wrappers_pb2.UInt64Value(value=hits))
    if limit is not None:
        made.limit.CopyFrom(limit)
    return made


def request(*descriptors, domain="edge", hits=0):
    return rls_pb2.RateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=hits)


with grpc.insecure_channel(address) as channel:
    stub = rls_pb2_grpc.RateLimitServiceStub(channel)

    answer = stub.ShouldRateLimit(request(descriptor("user", "u"), descriptor("free", "f"), descriptor("none", "n")), timeout=10)
    assert answer.overall_code == Response.OK, answer
    user, free, none = answer.statuses
    assert user.current_limit == Limit(name="weekly", requests_per_unit=3, unit=Limit.WEEK), user
    assert user.limit_remaining == 2, user
    # 1700000000 is 522800 seconds into its week, which begins on a Thursday.
    assert user.duration_until_reset.seconds == 604800 - 1700000000 % 604800, user
    assert user.duration_until_reset.nanos == 0, user
    assert free.limit_remaining == 2**32 - 1 and not free.HasField("current_limit"), free
    assert none.code == Response.OK and not none.HasField("current_limit"), none
    headers = {header.key: header.value for header in answer.response_headers_to_add}
    assert headers["x-ratelimit-limit"] == "3" and headers["x-ratelimit-remaining"] == "2", headers

    assert stub.ShouldRateLimit(request(descriptor("user", "u", hits=0)), timeout=10).statuses[0].limit_remaining == 2
    assert stub.ShouldRateLimit(request(descriptor("user", "u"), hits=2), timeout=10).statuses[0].limit_remaining == 0
    over = stub.ShouldRateLimit(request(descriptor("user", "u")), timeout=10)
    assert over.overall_code == Response.OVER_LIMIT and over.statuses[0].code == Response.OVER_LIMIT, over

    own = Descriptor.RateLimitOverride(requests_per_unit=7, unit=ratelimit_unit_pb2.MONTH)
    limit = stub.ShouldRateLimit(request(descriptor("any", "a", limit=own)), timeout=10).statuses[0].current_limit
    assert limit == Limit(requests_per_unit=7, unit=Limit.MONTH), limit

    try:
        stub.ShouldRateLimit(request(domain=""), timeout=10)
        raise AssertionError("an empty domain was accepted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert error.details() == "rate limit domain must not be empty", error

    # Compressed requests are refused by name, and the channel goes on.
    try:
        stub.ShouldRateLimit(request(descriptor("user", "long" * 500)), timeout=10, compression=grpc.Compression.Gzip)
        raise AssertionError("a compressed request was accepted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    assert stub.ShouldRateLimit(request(descriptor("user", "other")), timeout=10).overall_code == Response.OK

# What is answered in JSON is what the messages' own reader takes.
body = json_format.MessageToJson(request(descriptor("user", "json", hits=2, limit=own))).encode()
with urllib.request.urlopen(urllib.request.Request(f"http://{address}/json", data=body), timeout=10) as reply:
    answer = json_format.Parse(reply.read(), Response())
assert answer.overall_code == Response.OK, answer
assert answer.statuses[0].current_limit == Limit(requests_per_unit=7, unit=Limit.MONTH), answer
assert answer.statuses[0].limit_remaining == 5, answer

print("all is as it should be")
