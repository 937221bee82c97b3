"""How long a call may take and when it is tried again, as the request headers that Fyke's router honours (`envoy_headers: {}`)."""

RETRY_ON = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes",
})
# Methods that do the same when they are done twice.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
# What cannot have been done once: the service has not seen the request.
UNSEEN = ("connect-failure", "refused-stream", "reset-before-request")


def policy(timeout=None, per_try_timeout=None, retries=0, retry_on=None, retry_statuses=(), hedge=False, method="GET"):
    """The headers that ask for this; also for other HTTP libraries.

    timeout          seconds for the whole call, all tries and the answer's body included
    per_try_timeout  seconds for each try; less than `timeout`
    retries          so many tries after the first
    retry_on         what is tried again, Envoy's words. Default: "5xx" (which takes lost connections in) for methods that may be done
                     twice, and for others only what the service cannot have seen
    retry_statuses   statuses that are tried again besides
    hedge            a try that exceeds `per_try_timeout` goes on beside the next one

    What makes no sense is a ValueError: the proxy would pass over it in silence.
    """
    headers = {}
    if timeout is not None:
        headers["x-envoy-upstream-rq-timeout-ms"] = _milliseconds("timeout", timeout)
    if per_try_timeout is not None:
        if timeout is not None and per_try_timeout >= timeout:
            raise ValueError(f"per_try_timeout must be less than timeout, which is {timeout}, not {per_try_timeout}")
        headers["x-envoy-upstream-rq-per-try-timeout-ms"] = _milliseconds("per_try_timeout", per_try_timeout)
    if hedge:
        if per_try_timeout is None:
            raise ValueError("hedge needs a per_try_timeout")
        headers["x-envoy-hedge-on-per-try-timeout"] = "true"
    if retries < 0:
        raise ValueError(f"retries must be 0 or more, not {retries}")
    if retries:
        headers["x-envoy-max-retries"] = str(retries)
        headers["x-envoy-retry-on"] = ",".join(_conditions(retry_on, retry_statuses, method))
        if retry_statuses:
            headers["x-envoy-retriable-status-codes"] = ",".join(map(str, retry_statuses))
    return headers


def _conditions(retry_on, statuses, method):
    if isinstance(retry_on, str):
        retry_on = retry_on.split(",")
    if retry_on is None:
        retry_on = ("5xx",) if method.upper() in IDEMPOTENT else UNSEEN
    words = [word.strip() for word in retry_on]
    for word in words:
        if word not in RETRY_ON:
            raise ValueError(f"retry_on: there is no {word!r}; there are {', '.join(sorted(RETRY_ON))}")
    if statuses and "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    return words


def _milliseconds(name, seconds):
    # A proxy reads 0 as "no limit".
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{name} must be a number of seconds above 0, not {seconds}")
    return str(max(1, round(seconds * 1000)))
