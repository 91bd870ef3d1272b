"""From results and errors to bytes. What a caller is shown of an error is decided here, and nowhere else.

A :class:`ServiceError` is written for the caller and shown. So is what graphql-core says of the request itself. All
else is logged under a correlation id, which is all that the caller learns of it.
"""

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from graphql import ArgumentNode, ExecutionResult, GraphQLError, ValueNode
from starlette.responses import Response

from service.errors import BadInput, ServiceError
from service.graphql_http.problems import InvalidDocument, OperationRefused

_MAX_ERRORS = 50
# Messages quote names and values of the request; those can be as long as the request.
_MAX_MESSAGE = 500

# graphql-core ends its messages with the wrong value, or the whole object that it is in: there may be a secret in it.
_VALUE_AT_END = re.compile(
    r"(?:, but encountered error '|[,;.]? found: |(?<! invalid) value: ).*", re.IGNORECASE | re.DOTALL
)
_VALUE_OF_ENUM = re.compile(r"Value '.*' does not exist", re.DOTALL)

_log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder()

Formatted = dict[str, Any]
"""One error as the GraphQL specification shapes it: ``message``, and ``locations``, ``path``, ``extensions``."""


def format_problem(error: ServiceError) -> list[Formatted]:
    """The errors of a request that did not run."""
    if not isinstance(error, InvalidDocument):
        return [{"message": _shorten(error.message), "extensions": error.extensions()}]
    return [_format_request_error(one, error) for one in error.errors]


def format_field_errors(errors: Sequence[GraphQLError]) -> list[Formatted]:
    """The errors of fields that ran; unforeseen ones are logged and masked."""
    correlation_id = secrets.token_hex(8)
    formatted = [_format_field_error(error, correlation_id) for error in errors[:_MAX_ERRORS]]
    if hidden := len(errors) - len(formatted):
        message = f"{hidden} more errors are not shown."
        formatted.append({"message": message, "extensions": {"code": "MORE_ERRORS", "hidden": hidden}})
    for error in errors:
        _drop_frames(error)
    return formatted


def _drop_frames(error: BaseException) -> None:
    """Let go of the frames that an error came through: they hold the run, which holds the error.

    With these cycles all that the request loaded would stay until the collector comes.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:  # errors that were raised again may be each other's context
            continue
        seen.add(id(each))
        each.__traceback__ = None
        left += (each.__cause__, each.__context__, getattr(each, "original_error", None))


def format_unforeseen(error: BaseException) -> list[Formatted]:
    """Log an error that nobody foresaw; the answer only names the log line."""
    correlation_id = secrets.token_hex(8)
    _log_unforeseen(error, correlation_id, path=None)
    return [_masked(correlation_id)]


def format_error(error: Exception) -> list[Formatted]:
    """The errors of an operation that ended with an exception, whatever it is."""
    if isinstance(error, OperationRefused):
        return format_problem(error.problem)
    return format_problem(error) if isinstance(error, ServiceError) else format_unforeseen(error)


def build_payload(result: ExecutionResult, extensions: Mapping[str, Any]) -> dict[str, Any]:
    """An operation's result as GraphQL shapes it."""
    payload: dict[str, Any] = {"data": result.data}
    if result.errors:
        payload["errors"] = format_field_errors(result.errors)
    if extensions:
        payload["extensions"] = extensions
    return payload


def find_codes(payload: Mapping[str, Any]) -> list[str]:
    """The codes of a payload's errors."""
    return [error["extensions"]["code"] for error in payload.get("errors", ())]


def encode_payload(payload: Mapping[str, Any]) -> tuple[bytes, bool]:
    """A payload as JSON; ``msgspec.Raw`` values in it are spliced in as they are. False where errors took its place."""
    try:
        return _encoder.encode(payload), True
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # A resolver's value that is no JSON: a lone surrogate, say, or an unknown type.
        return _encoder.encode({"errors": format_unforeseen(error)}), False


def encode_response(
    payload: Mapping[str, Any], *, media_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode an answer once."""
    body, is_whole = encode_payload(payload)
    status = status if is_whole else 500
    return Response(
        body,
        status,
        {
            "content-type": f"{media_type}; charset=utf-8",
            "cache-control": "private, no-store",
            "vary": "accept",
            "x-content-type-options": "nosniff",
            **(headers or {}),
        },
    )


def _format_field_error(error: GraphQLError, correlation_id: str) -> Formatted:
    cause = find_cause(error)
    if isinstance(cause, ServiceError):
        return _format_located(error, cause.message, cause.extensions())
    if isinstance(cause, GraphQLError):
        if "code" in (cause.extensions or {}):
            return _format_located(error, cause.message, dict(cause.extensions or {}))
        if is_about_input(cause):
            return _format_located(error, cause.message, BadInput("").extensions())
    _log_unforeseen(cause, correlation_id, path=error.path)
    masked = _masked(correlation_id)
    return _format_located(error, masked["message"], masked["extensions"])


def find_cause(error: GraphQLError) -> Exception:
    """What a resolver raised, under the GraphQL errors that locate it; or the innermost of these."""
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _format_request_error(error: GraphQLError, problem: ServiceError) -> Formatted:
    message = _VALUE_OF_ENUM.sub("The value does not exist", _VALUE_AT_END.sub(".", error.message))
    extensions = problem.extensions()
    cause = find_cause(error)
    if isinstance(cause, ServiceError):  # of a scalar's parser, about the value
        message, extensions = f"{message} {cause.message}", cause.extensions()
    return _format_located(error, message, extensions)


def is_about_input(error: GraphQLError) -> bool:
    """Whether graphql-core complains of an argument's value, and not of what a resolver answered."""
    return any(isinstance(node, ArgumentNode | ValueNode) for node in error.nodes or ())


def _format_located(error: GraphQLError, message: str, extensions: Formatted) -> Formatted:
    formatted: Formatted = {"message": _shorten(message)}
    if error.locations:
        formatted["locations"] = [location.formatted for location in error.locations[:20]]
    if error.path is not None:
        formatted["path"] = error.path
    formatted["extensions"] = extensions
    return formatted


def _masked(correlation_id: str) -> Formatted:
    return {
        "message": "Something went wrong.",
        "extensions": {
            "code": ServiceError.code,
            "retryable": False,
            "cure": "Tell the operator the correlationId: it finds the reason in the log.",
            "correlationId": correlation_id,
        },
    }


def _log_unforeseen(error: BaseException, correlation_id: str, *, path: Iterable[str | int] | None) -> None:
    _log.error(
        "unforeseen_error",
        correlation_id=correlation_id,
        path=".".join(map(str, path or ())),
        exc_info=error,
    )


def _shorten(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "…"
