"""What is sent to an endpoint: our envelope around an event, or the body that Sentry sent, as it was. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from service.events.models import EndpointPayload, EventRecord
from service.webhooks.standard import build_headers

_JSON = "application/json"
# The only headers of a received webhook that are passed on, by their stored names. Its signature is not: it is by a
# secret that the receiver of a forward does not have.
_SENTRY_HEADERS = {
    "content-type": "Content-Type",
    "request-id": "Request-ID",
    "sentry-hook-resource": "Sentry-Hook-Resource",
    "sentry-hook-timestamp": "Sentry-Hook-Timestamp",
    "x-servicehook-guid": "X-ServiceHook-GUID",
    "x-servicehook-timestamp": "X-ServiceHook-Timestamp",
}
_DECODE_RAW = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class ConnectionNames:
    """What the tenant calls a connection."""

    external_id: str
    customer_id: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """One attempt to deliver an event: headers by name, and the body that they sign."""

    headers: Mapping[str, str]
    body: bytes


def build_message(
    event: EventRecord,
    payload: EndpointPayload,
    names: ConnectionNames | None,
    *,
    signing: Sequence[str],
    attempt: int,
    timestamp: int,
) -> Message:
    """The message for an endpoint. ``names`` are those of the event's connection, None where it has none or is gone.

    ``signing`` are the secrets that sign, ``timestamp`` is when this attempt is made, in epoch seconds.
    """
    is_raw = payload is EndpointPayload.SENTRY and event.body is not None
    body = event.body if is_raw and event.body is not None else build_envelope(event, names)
    headers = _build_sentry_headers(event) if is_raw else {"Content-Type": _JSON}
    headers["Sentry-Graph-Attempt"] = str(attempt)
    if event.connection_id is not None:
        headers["Sentry-Graph-Connection"] = event.connection_id
    if event.sequence is not None:
        headers["Sentry-Graph-Sequence"] = str(event.sequence)
    return Message(headers | build_headers(signing, event.id, timestamp, body), body)


def build_envelope(event: EventRecord, names: ConnectionNames | None) -> bytes:
    """An event as JSON. ``data`` is the webhook's body byte by byte, or what our own event tells.

    A body that is no JSON is there as a text: what Sentry sends some day must not keep an event from being delivered.
    """
    return msgspec.json.encode(
        {
            "id": event.id,
            "type": event.type,
            "timestamp": event.created_at,
            "synthetic": event.is_synthetic,
            "repeatOf": event.repeat_of,
            "sequence": event.sequence,
            "connection": _describe_connection(event, names),
            "issueId": event.issue_id,
            "projectSlug": event.project_slug,
            "environment": event.environment,
            "level": event.level,
            "data": event.data if event.body is None else _splice(event.body),
        }
    )


def _describe_connection(event: EventRecord, names: ConnectionNames | None) -> dict[str, str | None] | None:
    if event.connection_id is None:
        return None
    return {
        "id": event.connection_id,
        "externalId": names.external_id if names else None,
        "customerId": names.customer_id if names else None,
    }


def _splice(body: bytes) -> msgspec.Raw | str:
    try:
        body.decode()  # what follows does not look into texts
        return _DECODE_RAW(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")


def _build_sentry_headers(event: EventRecord) -> dict[str, str]:
    """As Sentry sent them; a repair, which was never sent, has those that its webhook would have had."""
    stored = event.headers or {
        "sentry-hook-resource": event.type.partition(".")[0],
        "sentry-hook-timestamp": str(int(event.created_at.timestamp())),
    }
    found = {
        name: stored[key]
        for key, name in _SENTRY_HEADERS.items()
        if key in stored and stored[key].isascii() and stored[key].isprintable()
    }
    return {"Content-Type": _JSON} | found
