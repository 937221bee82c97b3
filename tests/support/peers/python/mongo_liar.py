#!/usr/bin/env python3
"""A server of MongoDB that does not keep to the protocol, by MockupDB, which knows nothing of Fyke.

    mongo_liar.py

It greets as a mongos, and answers each `find` with one document: {"asked": <the comment of the find>}. Where the comment is one of LIES, it lies instead.
Lines of JSON on standard output:

    {"port": 1234}                            it listens
    {"event": "lied", "lie": "wrong response"}
"""

import json
import socket
import struct
import sys
import threading

from bson import Int64
from mockupdb import MockupDB, OpMsgReply

GREETING = {
    "ok": 1,
    "isWritablePrimary": True,
    "msg": "isdbgrid",
    "maxBsonObjectSize": 16 << 20,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "logicalSessionTimeoutMinutes": 30,
    "minWireVersion": 0,
    "maxWireVersion": 21,
}
lock = threading.Lock()


def say(**event):
    with lock:
        print(json.dumps(event), flush=True)


def with_header(reply, **fields):
    names = ("length", "request_id", "response_to", "opcode")
    header = dict(zip(names, struct.unpack("<iiii", reply[:16])))
    return struct.pack("<iiii", *{**header, **fields}.values()) + reply[16:]


# Of each lie what is sent in place of the reply, and whether the connection is closed behind it.
LIES = {
    "wrong response": lambda reply: (with_header(reply, response_to=1 << 30), False),
    "half": lambda reply: (reply[: len(reply) // 2], True),
    "half a header": lambda reply: (reply[:10], True),
    "nothing": lambda reply: (b"", True),
    "twice": lambda reply: (reply * 2, False),
    "negative length": lambda reply: (with_header(reply, length=-1), False),
    "short length": lambda reply: (with_header(reply, length=15), False),
    "long length": lambda reply: (with_header(reply, length=0x7FFFFFFF), False),
    "garbage": lambda reply: (b"\xff" * 64, False),
    "unknown opcode": lambda reply: (with_header(reply, opcode=9999), False),
    "more to come": lambda reply: (reply[:16] + struct.pack("<I", 2) + reply[20:], False),
}


def find(request):
    asked = request.doc.get("comment")
    cursor = {"id": Int64(0), "ns": f"shop.{request.doc['find']}", "firstBatch": [{"asked": asked}]}
    reply = OpMsgReply({"cursor": cursor, "ok": 1}).reply_bytes(request)
    lie = LIES.get(asked)
    sent, closes = lie(reply) if lie else (reply, False)
    # MockupDB only replies as it should.
    peer = request._client
    peer.sendall(sent)
    if closes:
        peer.shutdown(socket.SHUT_RDWR)
    if lie:
        say(event="lied", lie=asked)


def answer(request):
    name = request.command_name.lower()
    if name in ("hello", "ismaster"):
        request.reply(GREETING)
    elif name == "find":
        find(request)
    else:
        request.reply({"ok": 1})
    return True


def main():
    server = MockupDB()
    server.autoresponds(answer)
    server.run()
    say(port=server.port)
    # Until whoever started it leaves.
    sys.stdin.read()


if __name__ == "__main__":
    main()
