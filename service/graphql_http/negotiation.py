"""Which media type an answer has, and which a request must have (GraphQL over HTTP, sections 4 and 5)."""

from functools import lru_cache

from service.graphql_http.problems import NotAcceptable, UnsupportedMediaType

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
_USUAL = 200  # characters of a header that is worth remembering


def choose_media_type(accept: str | None) -> str:
    """The answer's media type for an ``Accept`` header (RFC 9110, 12.5.1).

    Without a wish of the client's it is ``application/json``, as the specification asks for the sake of old clients;
    between two that are as welcome, ``application/graphql-response+json`` where it is named; and ``text/event-stream``
    only where neither is welcome. Raises :class:`NotAcceptable`.
    """
    if accept is None or not accept.strip():
        return JSON
    return _choose_usual(accept) if len(accept) <= _USUAL else _choose(accept)


def _choose(accept: str) -> str:
    ranges = [_parse_range(part) for part in accept.split(",")]
    json, graphql_response = _quality(JSON, ranges), _quality(GRAPHQL_RESPONSE, ranges)
    if not json and not graphql_response:
        if accepts_event_stream(accept):
            return EVENT_STREAM
        raise NotAcceptable("Answers come as application/graphql-response+json or application/json.")
    is_named = any(name == GRAPHQL_RESPONSE for name, _ in ranges)
    return GRAPHQL_RESPONSE if graphql_response > json or (graphql_response == json and is_named) else JSON


_choose_usual = lru_cache(maxsize=64)(_choose)  # clients send one of a few


def accepts_event_stream(accept: str | None) -> bool:
    """Whether an ``Accept`` header lets an answer be a stream of events."""
    return not (accept or "").strip() or _quality(EVENT_STREAM, [*map(_parse_range, (accept or "").split(","))]) > 0


def wants_html(accept: str | None) -> bool:
    """Whether HTML is named in an ``Accept`` header, as browsers do when they open a page."""
    return any(name == "text/html" and quality for name, quality in map(_parse_range, (accept or "").split(",")))


def check_content_type(content_type: str | None) -> None:
    """Raise :class:`UnsupportedMediaType` unless a body is JSON in UTF-8.

    This is also what keeps a page of another site from posting: browsers send JSON across sites only after asking.
    """
    name, _, parameters = (content_type or "").partition(";")
    if name.strip().lower() != JSON:
        raise UnsupportedMediaType("The body must be JSON.")
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType("The body must be in UTF-8.")


def _parse_range(part: str) -> tuple[str, float]:
    name, *parameters = part.split(";")
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return name.strip().lower(), quality


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The quality of the most specific range that covers the type; 0 where none does."""
    for pattern in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        found = [quality for name, quality in ranges if name == pattern]
        if found:
            return max(found)
    return 0.0
