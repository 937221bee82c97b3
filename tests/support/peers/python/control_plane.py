#!/usr/bin/env python3
"""A control plane by grpcio and xds-protos, which know nothing of Fyke. It serves the aggregated service in both protocols, and hears reports of loads.

Lines of JSON on standard input say what there is, lines on standard output what clients do:

    in   {"set": {"envoy.config.cluster.v3.Cluster": {"a": {...}}}, "remove": {"envoy...": ["b"]}, "drop": true,
          "loads": {"clusters": ["a"], "load_reporting_interval": "0.1s", ...}}   the LoadStatsResponse to who reports, from now on
         {"keep": "name", "set": {...}}   the same resources, made and kept until   {"use": "name"}   sets them
    out  {"port": 1234}   {"event": "kept", "type": "name"}   {"event": "request", "type": "...", "names": [...], "initial": {...}, "node": "..."}
         {"event": "loads", "type": "envoy.service.load_stats.v3.LoadStatsRequest", "request": {...}}
         {"event": "sent", "type": "..."}   {"event": "ack", "type": "...", "version": "..."}   {"event": "nack", "type": "...", "message": "..."}
"""

import concurrent.futures
import json
import queue
import sys
import threading

import grpc
from envoy.config.bootstrap.v3 import bootstrap_pb2  # noqa: F401 (brings most types)
from envoy.config.route.v3 import route_pb2  # noqa: F401
from envoy.config.core.v3 import extension_pb2  # noqa: F401
from envoy.extensions.filters.http.fault.v3 import fault_pb2  # noqa: F401
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.http.wasm.v3 import wasm_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc
from envoy.service.runtime.v3 import rtds_pb2  # noqa: F401
from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory

PREFIX = "type.googleapis.com/"
lock = threading.RLock()
resources = {}  # type -> name -> (version, Any)
version = 0
listeners = []  # queues of living streams
reporters = []  # queues of living streams of reports
loads = None  # what they are told, a LoadStatsResponse


def say(**event):
    with lock:
        print(json.dumps(event), flush=True)


def packed(kind, value):
    descriptor = descriptor_pool.Default().FindMessageTypeByName(kind)
    message = message_factory.GetMessageClass(descriptor)()
    if isinstance(value, str):  # bytes that are no message, in hexadecimal
        return any_pb2.Any(type_url=PREFIX + kind, value=bytes.fromhex(value))
    json_format.ParseDict(value, message)
    result = any_pb2.Any()
    result.Pack(message, deterministic=True)
    return result


CLUSTER = "envoy.config.cluster.v3.Cluster"


class State:
    """What one stream knows of one type."""

    def __init__(self):
        self.names = None
        self.wildcard = False
        self.sent = {}
        self.nonce = ""
        self.answered = True
        self.unknown = []  # names that were asked for and are not there

    def wanted(self, kind):
        return {n: r for n, r in resources.get(kind, {}).items() if self.wildcard or n in (self.names or ())}


class Service(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    def __init__(self):
        self.nonces = 0

    def nonce(self):
        self.nonces += 1
        return f"n{self.nonces}"

    def stream(self, requests, context, read, push):
        events = queue.Queue()
        with lock:
            listeners.append(events)

        def pump():
            try:
                for request in requests:
                    events.put(request)
            except grpc.RpcError:
                pass
            events.put(None)

        threading.Thread(target=pump, daemon=True).start()
        states = {}
        try:
            while True:
                event = events.get()
                if event is None:
                    return
                with lock:
                    if event == "drop":
                        context.abort(grpc.StatusCode.UNAVAILABLE, "dropped")
                    if event == "changed":
                        kinds = [k for k, s in states.items() if s.names is not None]
                    else:
                        kind = event.type_url.removeprefix(PREFIX)
                        kinds = [kind] if read(states.setdefault(kind, State()), kind, event) else []
                    answers = [answer for kind in kinds for answer in push(states[kind], kind)]
                for answer in answers:
                    say(event="sent", type=answer.type_url.removeprefix(PREFIX))
                    yield answer
        finally:
            with lock:
                listeners.remove(events)

    def told(self, kind, request, answered):
        if not answered:
            return
        if request.HasField("error_detail"):
            say(event="nack", type=kind, message=request.error_detail.message)
        else:
            say(event="ack", type=kind, version=getattr(request, "version_info", ""))

    def StreamAggregatedResources(self, requests, context):
        def read(state, kind, request):
            first = state.names is None
            if request.response_nonce != state.nonce:
                return False
            answered = not state.answered and bool(request.response_nonce)
            state.answered = True
            names = set(request.resource_names)
            if first:
                say(event="request", type=kind, names=sorted(names), version=request.version_info, node=request.node.id)
                state.wildcard = not names
            elif names != state.names:
                say(event="request", type=kind, names=sorted(names), version=request.version_info, node="")
            state.wildcard |= "*" in names
            self.told(kind, request, answered)
            if names != state.names:
                state.sent = None
            state.names = names
            # What was refused is not sent again before it changes.
            return True

        def push(state, kind):
            wanted = state.wanted(kind)
            versions = {n: v for n, (v, _) in wanted.items()}
            if not state.answered or versions == state.sent or (not wanted and not state.wildcard):
                return []
            state.sent, state.nonce, state.answered = versions, self.nonce(), False
            return [
                discovery_pb2.DiscoveryResponse(
                    version_info=str(version),
                    resources=[r for _, r in wanted.values()],
                    type_url=PREFIX + kind,
                    nonce=state.nonce,
                )
            ]

        return self.stream(requests, context, read, push)

    def DeltaAggregatedResources(self, requests, context):
        def read(state, kind, request):
            first = state.names is None
            subscribe = list(request.resource_names_subscribe)
            if first:
                state.names = set()
                state.wildcard = not subscribe
                state.sent = dict(request.initial_resource_versions)
            if first or subscribe or request.resource_names_unsubscribe:
                say(
                    event="request",
                    type=kind,
                    names=sorted(subscribe),
                    gone=sorted(request.resource_names_unsubscribe),
                    initial=dict(request.initial_resource_versions),
                    node=request.node.id,
                )
            state.wildcard |= "*" in subscribe
            state.names |= set(subscribe) - {"*"}
            if kind == CLUSTER:
                state.unknown = [n for n in subscribe if n != "*" and n not in resources.get(kind, {})]
            for name in request.resource_names_unsubscribe:
                state.names.discard(name)
                if not state.wildcard:
                    state.sent.pop(name, None)
            self.told(kind, request, bool(request.response_nonce))
            return True

        def push(state, kind):
            wanted = state.wanted(kind)
            changed = {n: r for n, r in wanted.items() if state.sent.get(n) != r[0]}
            removed = [n for n in state.sent if n not in wanted] + state.unknown
            state.unknown = []
            if not changed and not removed:
                return []
            state.sent = {n: v for n, (v, _) in wanted.items()}
            return [
                discovery_pb2.DeltaDiscoveryResponse(
                    system_version_info=str(version),
                    resources=[discovery_pb2.Resource(name=n, version=v, resource=r) for n, (v, r) in changed.items()],
                    type_url=PREFIX + kind,
                    removed_resources=removed,
                    nonce=self.nonce(),
                )
            ]

        return self.stream(requests, context, read, push)


class Loads(lrs_pb2_grpc.LoadReportingServiceServicer):
    def StreamLoadStats(self, requests, context):
        answers = queue.Queue()
        with lock:
            reporters.append(answers)
            if loads is not None:
                answers.put(loads)

        def pump():
            try:
                for request in requests:
                    shown = json_format.MessageToDict(request, preserving_proto_field_name=True)
                    say(event="loads", type=request.DESCRIPTOR.full_name, request=shown)
            except grpc.RpcError:
                pass
            answers.put(None)

        threading.Thread(target=pump, daemon=True).start()
        try:
            while (answer := answers.get()) is not None:
                yield answer
        finally:
            with lock:
                reporters.remove(answers)


def main():
    global loads, version
    kept = {}
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Service(), server)
    lrs_pb2_grpc.add_LoadReportingServiceServicer_to_server(Loads(), server)
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 0}")
    server.start()
    say(port=port)
    for line in sys.stdin:
        command = json.loads(line)
        made = [(kind, name, packed(kind, value)) for kind, named in command.get("set", {}).items() for name, value in named.items()]
        if "keep" in command:
            kept[command["keep"]] = made
            say(event="kept", type=command["keep"])
            continue
        if "use" in command:
            made = kept[command["use"]]
        with lock:
            version += 1
            for kind, name, resource in made:
                resources.setdefault(kind, {})[name] = (str(version), resource)
            for kind, names in command.get("remove", {}).items():
                for name in names:
                    resources.get(kind, {}).pop(name, None)
            if "loads" in command:
                loads = json_format.ParseDict(command["loads"], lrs_pb2.LoadStatsResponse())
                for answers in reporters:
                    answers.put(loads)
            for events in listeners:
                events.put("drop" if command.get("drop") else "changed")
    server.stop(None)


if __name__ == "__main__":
    main()
