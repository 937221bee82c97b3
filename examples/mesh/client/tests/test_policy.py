import unittest

from fyke_client import policy


class Policy(unittest.TestCase):
    def test_nothing_asked_is_no_header(self):
        self.assertEqual(policy(), {})

    def test_seconds_become_milliseconds(self):
        headers = policy(timeout=1.5, per_try_timeout=0.25)
        self.assertEqual(headers, {"x-envoy-upstream-rq-timeout-ms": "1500", "x-envoy-upstream-rq-per-try-timeout-ms": "250"})

    def test_a_short_timeout_never_becomes_none(self):
        self.assertEqual(policy(timeout=0.0001)["x-envoy-upstream-rq-timeout-ms"], "1")

    def test_what_may_be_done_twice_is_tried_again_after_any_failure(self):
        for method in ("GET", "get", "HEAD", "PUT", "DELETE"):
            self.assertEqual(policy(retries=2, method=method), {"x-envoy-max-retries": "2", "x-envoy-retry-on": "5xx"}, method)

    def test_what_may_not_only_after_those_that_the_service_has_not_seen(self):
        self.assertEqual(policy(retries=1, method="POST")["x-envoy-retry-on"], "connect-failure,refused-stream,reset-before-request")

    def test_conditions_are_a_list_or_a_text(self):
        for words in (["reset", "retriable-4xx"], "reset, retriable-4xx"):
            self.assertEqual(policy(retries=1, retry_on=words)["x-envoy-retry-on"], "reset,retriable-4xx")

    def test_statuses_bring_their_condition_along(self):
        headers = policy(retries=1, retry_on=["reset"], retry_statuses=[409, 425])
        self.assertEqual(headers["x-envoy-retry-on"], "reset,retriable-status-codes")
        self.assertEqual(headers["x-envoy-retriable-status-codes"], "409,425")

    def test_hedging_is_asked_for_by_its_header(self):
        self.assertEqual(policy(per_try_timeout=1, hedge=True)["x-envoy-hedge-on-per-try-timeout"], "true")

    def test_what_the_proxy_would_pass_over_is_refused_here(self):
        for wrong in (
            {"timeout": 0}, {"timeout": -1}, {"timeout": float("inf")}, {"timeout": float("nan")}, {"timeout": 1, "per_try_timeout": 1},
            {"retries": -1}, {"retries": 1, "retry_on": ["5xxx"]}, {"hedge": True},
        ):
            with self.assertRaises(ValueError, msg=str(wrong)):
                policy(**wrong)
