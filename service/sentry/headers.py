"""Which headers pass, by allow-list in both directions (RFC 9110, section 7.6.1 for what belongs to one hop)."""

from collections.abc import Iterable, Mapping

from service.errors import BadInput

# Authorization, Host, Cookie, Accept-Encoding and everything about the connection are ours to set.
_REQUEST = frozenset(
    {"accept", "accept-language", "content-length", "content-type", "if-match", "if-modified-since", "if-none-match"}
    | {"if-range", "if-unmodified-since", "range"}
)
_RESPONSE = {
    name.encode(): name
    for name in (
        *("accept-ranges", "allow", "content-disposition", "content-language", "content-range", "content-type", "date"),
        *("etag", "last-modified", "link", "location", "retry-after", "www-authenticate", "x-hits", "x-max-hits"),
        *("x-sentry-error", "x-sentry-request-id", "x-request-id", "request-id"),
        *(
            f"x-sentry-rate-limit-{name}"
            for name in ("limit", "remaining", "reset", "concurrentlimit", "concurrentremaining")
        ),
    )
}
_REQUEST_IDS = ("x-sentry-request-id", "x-request-id", "request-id")


def select_request_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A caller's headers that may be sent on, by lower-case name.

    Raises :class:`BadInput` for a value that cannot stand in a header.
    """
    given = {name.lower(): value for name, value in headers.items()}
    hop = _listed(given.get("connection", ""))
    chosen = {name: value.strip(" \t") for name, value in given.items() if name in _REQUEST and name not in hop}
    for name, value in chosen.items():
        if not value.isascii() or not value.isprintable():
            raise BadInput(f"The header {name} holds a character that a header cannot.")
    return chosen


def select_response_headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], str]:
    """Sentry's headers that may be handed on, by lower-case name, and apart from them the content coding."""
    chosen: dict[str, str] = {}
    coding = connection = ""
    for raw_name, raw_value in raw:
        lower = raw_name.lower()
        name = _RESPONSE.get(lower)
        if name is not None:
            value = raw_value.decode("latin-1")
            if value.isprintable():
                chosen[name] = f"{chosen[name]}, {value}" if name in chosen else value
        elif lower == b"content-encoding":
            coding = f"{coding}, {raw_value.decode('latin-1')}" if coding else raw_value.decode("latin-1")
        elif lower == b"connection":
            connection += f",{raw_value.decode('latin-1')}"
    for name in _listed(connection) if connection else ():
        chosen.pop(name, None)
    return chosen, coding


def find_request_id(headers: Mapping[str, str]) -> str | None:
    """What Sentry's operators can find the call by."""
    for name in _REQUEST_IDS:
        if name in headers:
            return headers[name][:100]
    return None


def _listed(value: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in value.split(","))
