"""From HTTP to a GraphQL request: bounded, strict, and in words of what to change (GraphQL over HTTP, section 5)."""

import json
from collections.abc import Container, Mapping
from itertools import pairwise
from typing import Any, Self

import msgspec
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope

from service.errors import RequestTooLarge
from service.graphql_http.negotiation import check_content_type
from service.graphql_http.problems import MalformedRequest, UnsupportedMediaType

# Nesting of lists and objects in a request's JSON. GraphQL's own input types nest a few levels.
_MAX_NESTING = 32


class ClientDisconnected(Exception):
    """Nobody waits for the answer any more."""


class HttpRequest(msgspec.Struct, frozen=True):
    """A request as it came: of a header that came more than once, the first. ``headers`` have lower-case names.

    Starlette's own goes through all headers for each that is looked up, and a dozen are.
    """

    method: str
    headers: Mapping[str, str]
    query_string: bytes
    receive: Receive

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Self:
        """The request of an ASGI call."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        return cls(scope["method"], headers, scope["query_string"], receive)


class GraphQLRequest(msgspec.Struct, frozen=True):
    """The parameters of one GraphQL request, of the right types but otherwise as sent."""

    query: str | None
    operation_name: str | None
    variables: dict[str, Any]
    extensions: dict[str, Any]
    document_id: str | None

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check the members of a request. Unknown ones are ignored, as the specification asks."""
        if isinstance(value, list):
            raise MalformedRequest(
                "The body is a list of requests.", cure="Send one request at a time; batches are not supported."
            )
        if not isinstance(value, dict):
            raise MalformedRequest("The body must be a JSON object.", cure='Send {"query": "…", "variables": {…}}.')
        return cls(
            query=_text(value, "query"),
            # Some clients send an empty name for "the only operation".
            operation_name=_text(value, "operationName") or None,
            variables=_object(value, "variables"),
            extensions=_object(value, "extensions"),
            document_id=_text(value, "documentId"),
        )


async def read_post(request: HttpRequest, max_bytes: int) -> GraphQLRequest:
    """Read a POST's JSON body.

    Raises :class:`UnsupportedMediaType`, :class:`MalformedRequest`, :class:`RequestTooLarge` (as soon as the body is
    over ``max_bytes``) or :class:`ClientDisconnected`.
    """
    check_content_type(request.headers.get("content-type"))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 15 or int(declared) > max_bytes):
        raise _too_large(max_bytes)
    body = await _read_body(request.receive, max_bytes)
    if not body:
        raise MalformedRequest("The body is empty.", cure='Send {"query": "…", "variables": {…}} as the body.')
    return GraphQLRequest.parse(parse_json(body, "The body"))


def read_get(request: HttpRequest, max_bytes: int) -> GraphQLRequest:
    """Read the parameters of a GET; ``variables`` and ``extensions`` are JSON.

    Raises :class:`MalformedRequest` or :class:`RequestTooLarge`.
    """
    if len(request.query_string) > max_bytes:
        raise _too_large(max_bytes)
    parameters = QueryParams(request.query_string).multi_items()
    values: dict[str, Any] = dict(parameters)
    if len(values) != len(parameters):
        raise MalformedRequest("A parameter of the URL is given more than once.", cure="Give each parameter once.")
    for name in ("variables", "extensions"):
        if values.get(name):
            values[name] = parse_json(values[name].encode(errors="replace"), f"The parameter `{name}`")
        else:
            values.pop(name, None)
    return GraphQLRequest.parse(values)


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client is gone. The body must have been read, or there must be none that matters."""
    while (await receive())["type"] != "http.disconnect":
        pass


def parse_json(data: bytes, what: str) -> Any:
    """Parse JSON strictly (RFC 8259): UTF-8, no NaN, no lone surrogates, no repeated names, nested 32 deep at most.

    Raises :class:`MalformedRequest`, whose message begins with ``what``.
    """
    try:
        value = msgspec.json.decode(data)
        # msgspec keeps the last of two equal names, where another reader on the way may have kept the first. What is
        # written again as it came has none; else (it may be spelled another way) a slower reader looks at each object.
        if _write(value) != msgspec.json.format(data, indent=-1):
            _REPEATS.decode(data.decode())
    except RecursionError:
        raise _too_deep(what) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, msgspec.MsgspecError) else "it is not UTF-8"
        raise MalformedRequest(f"{what} is not valid JSON: {reason}.", cure="Send JSON in UTF-8.") from None
    except _RepeatedName as error:
        raise MalformedRequest(
            f"{what} names a member of an object twice: {str(error)[:100]}.", cure="Give each member once."
        ) from None
    _check_nesting(value, what)
    return value


class _RepeatedName(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        names = sorted(name for name, _ in pairs)
        raise _RepeatedName(next(one for one, other in pairwise(names) if one == other))


_REPEATS = json.JSONDecoder(object_pairs_hook=_unique)
_write = msgspec.json.Encoder().encode
_NESTED: Container[object] = frozenset({dict, list})


def _check_nesting(value: Any, what: str) -> None:
    level: list[Any] = [value] if value.__class__ in _NESTED else []
    for _ in range(_MAX_NESTING):
        if not level:
            return
        level = [
            inner
            for outer in level
            for inner in (outer.values() if outer.__class__ is dict else outer)
            if inner.__class__ in _NESTED
        ]
    if level:
        raise _too_deep(what)


async def _read_body(receive: Receive, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _text(value: dict[str, Any], name: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise MalformedRequest(f"`{name}` must be a string.", cure=f"Send `{name}` as a JSON string, or leave it out.")
    return found


def _object(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise MalformedRequest(f"`{name}` must be an object.", cure=f"Send `{name}` as a JSON object, or leave it out.")
    return found


def _too_deep(what: str) -> MalformedRequest:
    return MalformedRequest(
        f"{what} nests lists and objects more than {_MAX_NESTING} deep.", cure="Flatten the variables."
    )


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request is larger than {max_bytes} bytes.",
        cure="Send less at once; the operator can raise SENTRY_GRAPH_MAX_BODY_BYTES.",
    )
