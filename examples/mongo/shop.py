#!/usr/bin/env python3
"""A small shop that keeps its orders in MongoDB: `shop.py put 3`, `get 2`, `report`, `drop`, `crowd 50`.

It speaks MongoDB's protocol itself, so that nothing has to be installed; any driver would do. Each operation says in its comment which
function it comes from. SHOP is where it connects: 127.0.0.1:27018, the proxy, unless the environment says otherwise.
"""

import json
import os
import socket
import struct
import sys
import threading


def encode(document):
    """A document as BSON: numbers, text, truths, lists, documents."""
    out = b""
    for name, value in document.items():
        key = name.encode() + b"\0"
        if isinstance(value, bool):
            out += b"\x08" + key + bytes([value])
        elif isinstance(value, int):
            out += b"\x10" + key + struct.pack("<i", value)
        elif isinstance(value, str):
            text = value.encode() + b"\0"
            out += b"\x02" + key + struct.pack("<i", len(text)) + text
        elif isinstance(value, list):
            out += b"\x04" + key + encode({str(at): item for at, item in enumerate(value)})
        else:
            out += b"\x03" + key + encode(value)
    return struct.pack("<i", len(out) + 5) + out + b"\0"


def decode(data, start=0):
    """The other way round, as far as replies need it."""
    document, at = {}, start + 4
    while data[at]:
        kind, end = data[at], data.index(b"\0", at)
        name, at = data[at + 1:end].decode(), end + 1
        if kind in (3, 4):
            value, size = decode(data, at), struct.unpack_from("<i", data, at)[0]
            value = list(value.values()) if kind == 4 else value
        elif kind == 2:
            size = 4 + struct.unpack_from("<i", data, at)[0]
            value = data[at + 4:at + size - 1].decode()
        elif kind == 5:
            size = 5 + struct.unpack_from("<i", data, at)[0]
            value = data[at + 5:at + size]
        else:
            form, size = {1: ("<d", 8), 7: ("12s", 12), 8: ("?", 1), 9: ("<q", 8), 10: ("", 0), 16: ("<i", 4), 17: ("<Q", 8), 18: ("<q", 8)}[kind]
            value = struct.unpack_from(form, data, at)[0] if size else None
        document[name], at = value, at + size
    return document


class Client:
    """One connection."""

    def __init__(self):
        host, _, port = os.environ.get("SHOP", "127.0.0.1:27018").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.run("hello", 1, client={"application": {"name": "shop"}}, database="admin")

    def run(self, command, value, database="shop", callsite=None, **more):
        document = {command: value, **more, "$db": database}
        if callsite:
            document["comment"] = json.dumps({"callingFunction": callsite})
        body = struct.pack("<iB", 0, 0) + encode(document)
        self.socket.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
        length = struct.unpack("<i", self.read(4))[0]
        return decode(self.read(length - 4), 17)

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                sys.exit("the connection was closed")
            data += piece
        return data


def told(reply):
    """What a reply says; errors with their labels."""
    if reply["ok"]:
        return reply
    sys.exit(f"error {reply['code']} {reply['codeName']}: {reply['errmsg']} {reply.get('errorLabels', [])}")


def crowd(count):
    clients = [Client() for _ in range(count)]
    work = [threading.Thread(target=client.run, args=("find", "orders", "shop", "loadOrders")) for client in clients]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    print(f"{count} clients have asked, and are still connected")
    return clients


def main(command="get", count="2"):
    count = int(count)
    if command == "crowd":
        return crowd(count)
    client = Client()
    if command == "put":
        orders = [{"_id": number, "item": f"thing {number}"} for number in range(1, count + 1)]
        for order in orders:
            update = {"q": {"_id": order["_id"]}, "u": order, "upsert": True}
            told(client.run("update", "orders", updates=[update], callsite="saveOrder"))
        print(f"{count} orders are there")
    elif command == "get":
        reply = told(client.run("find", "orders", filter={"_id": count}, callsite="loadOrder"))
        for order in reply["cursor"]["firstBatch"]:
            print(order)
    elif command == "report":
        told(client.run("aggregate", "orders", pipeline=[{"$count": "orders"}], cursor={}, callsite="report"))
        print("a report")
    elif command == "drop":
        told(client.run("drop", "orders"))
    else:
        sys.exit(__doc__)


main(*sys.argv[1:3])
