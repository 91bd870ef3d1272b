"""Reading a webhook's body: as far as it goes, whatever it is."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.events.body import HookBody, JsonObject, build_issue_url, is_web_url
from tests.events.bodies import any_body
from tests.scale import scaled


@settings(max_examples=scaled(test=100, soak=20_000), deadline=None)
@given(any_body)
def test_whatever_a_body_is_it_can_be_read(raw: bytes) -> None:
    body = HookBody(raw)
    read = [body.url, body.issue_url, body.error_id, body.texts("tags"), body.issue.tags, body.data.time("datetime")]
    msgspec.json.encode(read)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_json_read_as_nothing(raw: bytes) -> None:
    body = HookBody(raw)
    assert not body.object("data")
    assert body.url is None


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=5))
def test_texts_and_numbers_are_read_as_texts(content: dict[str, int | str]) -> None:
    body = JsonObject(json.dumps(content).encode())
    for name, value in content.items():
        assert body.text(name) == (str(value) or None)
    assert body.text("never-there") is None
    assert bool(body) is bool(content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T04:27:35.472686Z", datetime(2026, 11, 23, 4, 27, 35, 472686, UTC)),
        ("2026-11-23T04:27:35", datetime(2026, 11, 23, 4, 27, 35, tzinfo=UTC)),
        ("2026-11-23T06:27:35+02:00", datetime(2026, 11, 23, 4, 27, 35, tzinfo=UTC)),
        ("yesterday", None),
        (1795408055.47, None),
        (None, None),
    ],
)
def test_times(text: Any, expected: datetime | None) -> None:
    assert JsonObject(json.dumps({"at": text}).encode()).time("at") == expected


def test_an_issue_is_filled_in_at_its_sentry() -> None:
    assert build_issue_url("https://sentry.io", "acme", "12") == "https://sentry.io/organizations/acme/issues/12/"
    hostile = build_issue_url("https://sentry.io", "a/../b", "1?x", "e#f")
    assert hostile == "https://sentry.io/organizations/a%2F..%2Fb/issues/1%3Fx/events/e%23f/"


@pytest.mark.parametrize(
    "text",
    [None, "", "javascript:alert(1)", "//x/", "data:text/html,x", "https://sentry.io/api/0/issues/1/", "ftp://x"],
)
def test_what_is_no_page(text: str | None) -> None:
    assert not is_web_url(text)
