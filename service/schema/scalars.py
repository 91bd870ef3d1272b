"""Scalars of the graph."""

from typing import Any, NewType

import strawberry

JSON = NewType("JSON", object)
"""Any JSON value. Sentry's own payloads travel as :class:`msgspec.Raw`: bytes that are spliced into the response."""


def _identity(value: Any) -> Any:
    return value


JSON_SCALAR = strawberry.scalar(
    name="JSON",
    description="Any JSON value, in Sentry's own shape.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
    serialize=_identity,
    parse_value=_identity,
)
