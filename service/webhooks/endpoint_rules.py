"""What an endpoint may be: checked before anything is stored. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from service.connections.visibility import LONGEST_TEXT, storable
from service.errors import BadInput
from service.events.filters import is_type_pattern
from service.events.models import EndpointPayload
from service.sentry.egress import EgressPolicy
from service.tenants.caller import NARROWED_TO_AT_MOST
from service.webhooks.target import Target

MOST_ENDPOINTS = 50
"""Endpoints of a tenant."""

_MOST_WORDS = 100

Words = Sequence[str] | None
"""Values of which an event must have one; None asks for nothing."""


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What an endpoint is to be; ``...`` leaves what it is."""

    url: str | EllipsisType = ...
    name: str | EllipsisType = ...
    payload: EndpointPayload | EllipsisType = ...
    types: Words | EllipsisType = ...
    connection_ids: Words | EllipsisType = ...
    projects: Words | EllipsisType = ...
    environments: Words | EllipsisType = ...
    levels: Words | EllipsisType = ...


def check_change(change: EndpointChange, policy: EgressPolicy) -> dict[str, Any]:
    """The columns that the change sets, in the form that is stored.

    Raises :class:`BadInput`, and :class:`EgressRefused` for an address that nothing may be sent to. Whether the
    connections are there is not looked at.
    """
    columns: dict[str, Any] = {}
    if not isinstance(change.url, EllipsisType):
        target = Target.parse(change.url)
        policy.check_origin(target.origin)
        columns["url"] = target.url
    if not isinstance(change.name, EllipsisType):
        columns["name"] = _check_name(change.name)
    if not isinstance(change.payload, EllipsisType):
        columns["payload"] = change.payload
    for argument, column, words in (
        ("types", "types", change.types),
        ("connectionIds", "connection_ids", change.connection_ids),
        ("projects", "projects", change.projects),
        ("environments", "environments", change.environments),
        ("levels", "levels", change.levels),
    ):
        if not isinstance(words, EllipsisType):
            columns[column] = None if words is None else _check_words(argument, words)
    return columns


def _check_name(name: str) -> str:
    if name and not storable([name]):
        raise BadInput(f"`name` must have at most {LONGEST_TEXT} characters and none of code 0.")
    return name


def _check_words(argument: str, words: Sequence[str]) -> list[str]:
    most = NARROWED_TO_AT_MOST if argument == "connectionIds" else _MOST_WORDS
    if not 0 < len(words) <= most:
        raise BadInput(f"`{argument}` must hold 1 to {most} values.", cure="Leave it out to ask for nothing.")
    found = storable(set(words))
    if len(found) < len(set(words)) or not all(found):
        raise BadInput(f"`{argument}` holds a value that is empty, too long, or has a character of code 0.")
    if argument == "types" and not all(map(is_type_pattern, found)):
        raise BadInput(
            "`types` holds what is no type.", cure="Name types as `issue.resolved`, or `issue.*` for all that begin so."
        )
    return found
