"""The tenant predicate: which connections a caller sees. It stands here, in two forms, and nothing goes around it."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, or_
from sqlmodel import col

from service.connections.models import ConnectionRecord
from service.errors import BadInput, NotFound
from service.tenants.caller import Caller

LONGEST_TEXT = 200
"""Characters of an externalId, a customerId or a name."""


def visible(caller: Caller) -> list[ColumnElement[bool]]:
    """The predicate that every query of connections has: the caller's tenant, narrowed as the caller is."""
    conditions: list[ColumnElement[bool]] = [col(ConnectionRecord.tenant_id) == caller.tenant_id]
    if caller.is_narrowed:
        conditions.append(
            or_(
                col(ConnectionRecord.id).in_(storable(caller.connection_ids or ())),
                col(ConnectionRecord.external_id).in_(storable(caller.external_ids or ())),
            )
        )
    return conditions


def is_visible(caller: Caller, connection: ConnectionRecord) -> bool:
    """The same predicate for a connection that was loaded for somebody else."""
    return connection.tenant_id == caller.tenant_id and (
        not caller.is_narrowed
        or connection.id in (caller.connection_ids or ())
        or connection.external_id in (caller.external_ids or ())
    )


def no_such_connection() -> NotFound:
    """The one answer for a connection that is missing and for one that is not the caller's."""
    return NotFound("There is no such connection.")


def check_text(argument: str, text: str) -> str:
    """The text, where the database can store and compare it. Raises :class:`BadInput` with the argument's name."""
    if not text.strip() or not storable([text]):
        raise BadInput(f"`{argument}` must have 1 to {LONGEST_TEXT} characters and none of code 0.")
    return text


def storable(texts: Iterable[str]) -> list[str]:
    """Those texts that a database can hold, sorted; PostgreSQL fails at the others instead of not finding them."""
    return sorted(text for text in texts if len(text) <= LONGEST_TEXT and is_clean(text))


def is_clean(text: str) -> bool:
    """Whether the text has no code 0 and no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
