"""Which events somebody wants: one filter for lists, subscriptions and endpoints. Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

_PATTERN = re.compile(r"\*|[^\s.*]+(\.[^\s.*]+)*\.([^\s.*]+|\*)")


class Filterable(Protocol):
    """What a filter looks at."""

    @property
    def type(self) -> str:
        """Such as ``issue.resolved``."""

    @property
    def connection_id(self) -> str | None:
        """Whose event it is, unless it is the tenant's own."""

    @property
    def project_id(self) -> str | None:
        """Sentry's id of the project."""

    @property
    def project_slug(self) -> str | None:
        """Its slug."""

    @property
    def environment(self) -> str | None:
        """Such as ``production``."""

    @property
    def level(self) -> str | None:
        """Such as ``error``."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions that all must hold; None asks for nothing. An event that does not say is not of any project or level.

    ``types`` are types such as ``issue.resolved``, or ``issue.*`` for all of a resource. ``projects`` are slugs or ids.
    """

    connection_ids: Collection[str] | None = None
    types: Collection[str] | None = None
    projects: Collection[str] | None = None
    environments: Collection[str] | None = None
    levels: Collection[str] | None = None

    def matches(self, event: Filterable) -> bool:
        """Whether the event passes."""
        return (
            (self.connection_ids is None or event.connection_id in self.connection_ids)
            and (self.types is None or any(matches_type(pattern, event.type) for pattern in self.types))
            and (self.projects is None or event.project_slug in self.projects or event.project_id in self.projects)
            and (self.environments is None or event.environment in self.environments)
            and (self.levels is None or event.level in self.levels)
        )


def is_type_pattern(text: str) -> bool:
    """Whether a text is a type, ``issue.*``, or ``*``; any other would match nothing."""
    return _PATTERN.fullmatch(text) is not None


def matches_type(pattern: str, type_: str) -> bool:
    """Whether a type is the pattern, or begins as ``issue.*`` says."""
    return pattern in (type_, "*") or (pattern.endswith(".*") and type_.startswith(pattern[:-1]))


ALL = EventFilter()
"""Every event."""
