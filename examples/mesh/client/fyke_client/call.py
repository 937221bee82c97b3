"""Calls by the name of a service, through the Fyke beside the caller."""

import dataclasses
import http.client
import os
import urllib.parse

from .context import call_span, lowered, outgoing
from .policy import policy

# How much longer than the proxy the client waits: the proxy knows better why it took so long, and says so.
GRACE = 1.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back, from the service or in its place from the proxy."""

    status: int
    headers: dict
    body: bytes

    @property
    def ok(self):
        return self.status < 400

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


class Client:
    """Where the proxy is for outgoing calls (`host:port`; default: the environment's FYKE_OUT), and how long calls take at most.

    It has no state: any number of threads may use one. Each call is a connection of its own to the proxy, on the same machine; those
    between machines are the proxy's, and stay.
    """

    def __init__(self, proxy=None, timeout=5.0):
        self.proxy = proxy or os.environ["FYKE_OUT"]
        self.timeout = timeout

    def get(self, url, **more):
        return self.request("GET", url, **more)

    def post(self, url, body=b"", **more):
        return self.request("POST", url, body=body, **more)

    def request(self, method, url, body=None, headers=(), timeout=None, **rules):
        """Asks `http://SERVICE/path`. `rules` are those of `policy`: `retries`, `per_try_timeout` and so on.

        Every status is an answer: 504 when the time was over, 503 when the service could not be reached. An OSError (TimeoutError among
        them) says that the proxy itself does not answer.
        """
        timeout = self.timeout if timeout is None else timeout
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.netloc:
            raise ValueError(f"a service's address is http://NAME/path, not {url!r}")
        asked = policy(timeout=timeout, method=method, **rules)
        with call_span(method, parts.netloc) as answered:
            # What belongs to the request that is worked on comes last: it is the same for all of its calls.
            sent = lowered(dict(headers)) | {"host": parts.netloc} | asked | outgoing()
            connection = http.client.HTTPConnection(self.proxy, timeout=timeout + GRACE)
            try:
                target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
                connection.request(method, target, body, sent)
                response = connection.getresponse()
                answer = Answer(response.status, lowered(response.getheaders()), response.read())
            except http.client.HTTPException as error:
                raise ConnectionError(f"no whole answer from the proxy at {self.proxy}: {error!r}") from error
            finally:
                connection.close()
            answered(answer.status)
            return answer
