"""What is sent: our envelope, or Sentry's body as it was."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events.models import EndpointPayload, EventRecord
from service.webhooks.message import ConnectionNames, Message, build_envelope, build_message
from service.webhooks.standard import new_secret, sign

SECRET = new_secret()
NAMES = ConnectionNames("customer-7", "acme")
BODY = b'{ "action": "resolved",\n "data": {"issue": {"id": "42", "n": 1.50}} }'
SENT = {
    "content-type": "application/json",
    "request-id": "0123456789abcdef0123456789abcdef",
    "sentry-hook-resource": "issue",
    "sentry-hook-timestamp": "1714564800",
}


def event(**columns: Any) -> EventRecord:
    usual: dict[str, Any] = {
        "id": "evt_1",
        "tenant_id": "ten_1",
        "position": 9,
        "connection_id": "con_1",
        "sequence": 4,
        "type": "issue.resolved",
        "issue_id": "42",
        "project_slug": "web",
        "level": "error",
        "headers": SENT,
        "data": {},
        "body": BODY,
        "created_at": datetime(2026, 5, 1, 12, tzinfo=UTC),
    }
    return EventRecord(**(usual | columns))


def build(record: EventRecord, payload: EndpointPayload = EndpointPayload.EVENT) -> Message:
    return build_message(record, payload, NAMES, signing=[SECRET], attempt=3, timestamp=1714564999)


def test_the_envelope_says_what_is_known_around_the_body_as_it_came() -> None:
    body = build_envelope(event(repeat_of="evt_0"), NAMES)
    assert BODY in body
    assert json.loads(body) == {
        "id": "evt_1",
        "type": "issue.resolved",
        "timestamp": "2026-05-01T12:00:00Z",
        "synthetic": False,
        "repeatOf": "evt_0",
        "sequence": 4,
        "connection": {"id": "con_1", "externalId": "customer-7", "customerId": "acme"},
        "issueId": "42",
        "projectSlug": "web",
        "environment": None,
        "level": "error",
        "data": json.loads(BODY),
    }


def test_an_event_of_ours_tells_what_it_tells() -> None:
    ours = event(type="connection.unlinked", body=None, headers={}, data={"reason": "uninstalled"}, sequence=5)
    assert json.loads(build_envelope(ours, NAMES))["data"] == {"reason": "uninstalled"}


def test_an_event_of_no_connection_and_one_whose_connection_is_gone() -> None:
    assert json.loads(build_envelope(event(connection_id=None, sequence=None), None))["connection"] is None
    gone = json.loads(build_envelope(event(), None))["connection"]
    assert gone == {"id": "con_1", "externalId": None, "customerId": None}


@given(body=st.binary(max_size=80) | st.text(max_size=40).map(str.encode) | st.just(b'{"a": "\xff"}'))
def test_whatever_the_body_is_the_envelope_is_json(body: bytes) -> None:
    found = json.loads(build_envelope(event(body=body), NAMES))["data"]
    try:
        expected = json.loads(body.decode())
    except (ValueError, RecursionError):
        expected = body.decode(errors="replace")
    assert found in (expected, body.decode(errors="replace"))  # JavaScript's NaN, say, is no JSON


def test_sentrys_body_and_headers_go_on_as_they_were() -> None:
    message = build(event(), EndpointPayload.SENTRY)
    assert message.body == BODY
    assert message.headers == {
        "Content-Type": "application/json",
        "Request-ID": "0123456789abcdef0123456789abcdef",
        "Sentry-Hook-Resource": "issue",
        "Sentry-Hook-Timestamp": "1714564800",
        "Sentry-Graph-Attempt": "3",
        "Sentry-Graph-Connection": "con_1",
        "Sentry-Graph-Sequence": "4",
        "webhook-id": "evt_1",
        "webhook-timestamp": "1714564999",
        "webhook-signature": sign(SECRET, "evt_1", 1714564999, BODY),
    }


def test_a_repair_has_the_headers_that_its_webhook_would_have_had() -> None:
    message = build(event(headers={}, is_synthetic=True), EndpointPayload.SENTRY)
    assert message.headers["Sentry-Hook-Resource"] == "issue"
    assert message.headers["Sentry-Hook-Timestamp"] == "1777636800"
    assert "Request-ID" not in message.headers


@pytest.mark.parametrize("payload", EndpointPayload)
def test_no_other_stored_header_goes_on(payload: EndpointPayload) -> None:
    poison = {
        "host": "other.example",
        "authorization": "Bearer x",
        "cookie": "a=b",
        "content-length": "1",
        "transfer-encoding": "chunked",
        "connection": "x",
        "sentry-hook-signature": "aa",
        "webhook-id": "evt_2",
        "webhook-signature": "v1,x",
        "request-id": "a\r\nX-Injected: 1",
        "sentry-hook-resource": "issu\u00e9",
    }
    headers = build(event(headers=SENT | poison), payload).headers
    assert {name.lower() for name in headers} <= {
        *("content-type", "sentry-hook-timestamp", "sentry-graph-attempt", "sentry-graph-connection"),
        *("sentry-graph-sequence", "webhook-id", "webhook-timestamp", "webhook-signature"),
    }
    assert headers["webhook-id"] == "evt_1"


def test_the_id_is_the_same_for_every_attempt() -> None:
    messages = [
        build_message(event(), EndpointPayload.EVENT, NAMES, signing=[SECRET], attempt=attempt, timestamp=attempt)
        for attempt in (1, 2)
    ]
    assert {message.headers["webhook-id"] for message in messages} == {"evt_1"}
    assert len({message.headers["webhook-signature"] for message in messages}) == 2
