"""The rate limiter's headers, and what a refusal looks like."""

import json
import time

import httpx
import pytest

from tests.contract.server import Server
from tests.contract.shapes import RATE_LIMIT_HEADERS


def test_every_answer_tells_the_state_of_its_limit_or_none_does(server: Server) -> None:
    for path in ("", server.organization_path("members/?per_page=1"), "organizations/no-such-organization/"):
        headers = server.ask(path).headers
        present = [name for name in RATE_LIMIT_HEADERS if name in headers]
        if not present:
            pytest.skip("a self-hosted server that limits nothing")
        assert present == list(RATE_LIMIT_HEADERS)
        limit, remaining, reset, concurrent, left = (int(headers[name]) for name in RATE_LIMIT_HEADERS)
        assert 0 <= remaining < limit
        assert 0 <= left < concurrent
        # Epoch seconds, near: not milliseconds, and not a number of seconds to wait.
        assert abs(reset - time.time()) < 120


def _provoke(server: Server) -> httpx.Response:
    """A 429, from an endpoint that allows the fewest calls: so that nobody else is in the way."""
    path = server.organization_path(f"eventids/{'0' * 32}/")
    first = server.ask(path)
    limit = int(first.headers.get("X-Sentry-Rate-Limit-Limit", 1000))
    if limit > 10:
        pytest.skip(f"the server's limit ({limit}) is too high to be provoked politely")
    for _ in range(10 * limit):
        response = server.ask(path)
        if response.status_code == 429:
            return response
    pytest.fail("the limit never struck")


def test_a_refusal_is_a_bare_json_string_labelled_html_and_says_until_when(strict_server: Server) -> None:
    refused = _provoke(strict_server)
    assert refused.headers["Content-Type"].startswith("text/html")
    assert isinstance(json.loads(refused.text), str)
    assert "too frequently" in refused.text
    assert "Retry-After" not in refused.headers
    assert refused.headers["X-Sentry-Rate-Limit-Remaining"] == "0"
    assert float(refused.headers["X-Sentry-Rate-Limit-Reset"]) <= time.time() + 60


def test_the_window_opens_again_at_reset(strict_server: Server) -> None:
    refused = _provoke(strict_server)
    time.sleep(max(0.0, float(refused.headers["X-Sentry-Rate-Limit-Reset"]) - time.time()) + 0.05)
    assert strict_server.ask(strict_server.organization_path(f"eventids/{'0' * 32}/")).status_code != 429


def test_limits_are_counted_apart_by_endpoint(strict_server: Server) -> None:
    _provoke(strict_server)
    assert strict_server.ask("").status_code == 200
