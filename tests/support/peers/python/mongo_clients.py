#!/usr/bin/env python3
"""Clients of MongoDB by PyMongo, which knows nothing of Fyke.

    mongo_clients.py SETTINGS

SETTINGS is JSON: {
    "uri": "mongodb://...",
    "clients": 8,                at the same time, each with connections of its own
    "operations": 2000,          commands that all of them send together, and a few more; null: until standard input says "stop"
    "rough": false}              the server is in trouble: what fails is told, and the client goes on. Otherwise it ends

Each client knows its own documents by a mark, and looks at every document that it is given. Lines of JSON on standard output:

    {"event": "ready"}                      all clients have begun
    {"event": "sent", "total": 100,         every hundred commands
     "acts": [12, 13],                      what each client has done until now, well or not
     "told": [["find", "HostUnreachable", ["RetryableWriteError"], 2]]}  commands that failed until now, and how
    {"event": "lost", "client": 3}          a command got no answer in time, or its connection ended
    {"event": "done",
     "counts": [["find", "shop", "people", "read", 7]],      commands by database, collection and call site, as the driver told them
     "acts": {"read": 7}, "failed": {"tail": {"AutoReconnect": 1}},      what was done, and what came of it
     "told": [...],                         commands that failed
     "errors": [...],                       the first of them, in words
     "foreign": [...],                      what was another client's, or nobody's
     "slowest": 0.5}                        seconds that the longest act took
"""

import collections
import json
import random
import sys
import threading
import time

from pymongo import MongoClient, monitoring

from mongo_acts import Acts, Foreign

CLIENTS = 8
lock = threading.Lock()
stopped = threading.Event()


def say(**event):
    with lock:
        print(json.dumps(event), flush=True)


class Heard:
    """What the driver says of its commands. All clients together."""

    def __init__(self):
        self.lock = threading.Lock()
        self.total = 0
        self.acts = collections.Counter()
        self.counts = collections.Counter()
        self.told = collections.Counter()

    def of(self, client):
        return HeardOf(self, client)

    def rows(self):
        """Commands that failed. For whoever holds the lock."""
        return [[command, name, list(labels), count] for (command, name, labels), count in sorted(self.told.items())]

    def progress(self):
        """For whoever holds the lock."""
        return {"told": self.rows(), "acts": [self.acts[client] for client in sorted(self.acts)]}

    def done(self, client):
        with self.lock:
            self.acts[client] += 1


class HeardOf(monitoring.CommandListener):
    def __init__(self, all_of_them, client):
        self.all, self.client = all_of_them, client

    def started(self, event):
        # The replies of an exhaust cursor are told as commands that nobody sends.
        if event.request_id == 0:
            return
        key = (event.command_name, *place_of(event), callsite_of(event.command))
        with self.all.lock:
            self.all.total += 1
            self.all.counts[key] += 1
            total = self.all.total
            said = self.all.progress() if total % 100 == 0 else None
        if said is not None:
            say(event="sent", total=total, **said)

    def succeeded(self, event):
        pass

    def failed(self, event):
        failure = event.failure
        name = failure.get("codeName") or failure.get("code") or failure.get("errtype")
        labels = tuple(sorted(failure.get("errorLabels", [])))
        with self.all.lock:
            self.all.told[event.command_name, str(name), labels] += 1
        if "code" not in failure:
            say(event="lost", client=self.client)


def place_of(event):
    """Database and collection."""
    command, name, database = event.command, event.command_name, event.database_name
    if name == "getMore":
        return database, command["collection"]
    if name == "bulkWrite":
        return tuple(command["nsInfo"][0]["ns"].split(".", 1))
    value = command.get(name)
    return database, value if isinstance(value, str) else ""


def callsite_of(command):
    comment = command.get("comment")
    if isinstance(comment, str):
        try:
            comment = json.loads(comment)
        except ValueError:
            return ""
    return comment.get("callingFunction", "") if isinstance(comment, dict) else ""


class Client:
    def __init__(self, number, settings, heard, outcomes):
        self.number, self.heard, self.outcomes = number, heard, outcomes
        self.rough = settings.get("rough", False)
        self.operations = settings["operations"]
        self.random = random.Random(number)
        mongo = MongoClient(settings["uri"], event_listeners=[heard.of(number)])
        self.acts = Acts(mongo, number)
        heard.acts[number] = 0

    def run(self, ready):
        try:
            self.acts.prepare()
            ready.wait()
            while not self.is_over():
                self.act()
        except Exception as error:  # What ends a client is part of the outcome.
            self.failed("client", error)
            ready.abort()
        finally:
            self.acts.mongo.close()

    def is_over(self):
        return stopped.is_set() or (self.operations is not None and self.heard.total >= self.operations)

    def act(self):
        name = self.random.choice(self.acts.NAMES)
        began = time.monotonic()
        try:
            self.acts.perform(name, self.comment(name))
        except Exception as error:
            self.failed(name, error)
            if not self.rough:
                stopped.set()
                raise
        self.heard.done(self.number)
        with self.outcomes.lock:
            self.outcomes.acts[name] += 1
            self.outcomes.slowest = max(self.outcomes.slowest, time.monotonic() - began)

    def comment(self, name):
        """Call sites in both forms, what names none, and none at all."""
        named = {"callingFunction": name}
        return self.random.choice([json.dumps(named), named, f"done by {name}", None])

    def failed(self, name, error):
        with self.outcomes.lock:
            if isinstance(error, Foreign):
                self.outcomes.foreign.append(f"{name}: {error}")
            self.outcomes.failed[name][type(error).__name__] += 1
            self.outcomes.errors.append(f"{name}: {error!r}"[:500])


class Outcomes:
    def __init__(self):
        self.lock = threading.Lock()
        self.acts = collections.Counter()
        self.failed = collections.defaultdict(collections.Counter)
        self.errors, self.foreign, self.slowest = [], [], 0.0


def listen():
    for line in sys.stdin:
        if json.loads(line) == "stop":
            break
    # Whoever started this has said so, or has left.
    stopped.set()


def main():
    settings = json.loads(sys.argv[1])
    heard, outcomes = Heard(), Outcomes()
    count = settings.get("clients", CLIENTS)
    ready = threading.Barrier(count + 1)
    clients = [Client(number, settings, heard, outcomes) for number in range(count)]
    threads = [threading.Thread(target=client.run, args=[ready], daemon=True) for client in clients]
    threading.Thread(target=listen, daemon=True).start()
    for thread in threads:
        thread.start()
    try:
        ready.wait()
        say(event="ready")
    except threading.BrokenBarrierError:
        pass
    for thread in threads:
        thread.join()
    say(
        event="done",
        counts=[[*key, count] for key, count in sorted(heard.counts.items())],
        acts=outcomes.acts,
        failed=outcomes.failed,
        errors=outcomes.errors[:20],
        told=heard.rows(),
        foreign=outcomes.foreign[:20],
        slowest=outcomes.slowest,
    )


if __name__ == "__main__":
    main()
