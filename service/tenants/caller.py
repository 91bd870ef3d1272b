"""Who asks: a tenant, a role, and perhaps only some of the tenant's connections."""

import enum
from dataclasses import dataclass
from typing import Protocol

from service.errors import Forbidden

NARROWED_TO_AT_MOST = 1000
"""Connections that one key or JWT names."""

COMMAND_LINE = "command line"
"""The subject of whoever runs the service's commands."""


class Role(enum.StrEnum):
    """What a caller may do; each role includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """The role's place in the order read, write, admin."""
        return list(Role).index(self)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. Everything that reads or writes on somebody's behalf takes one.

    ``connection_ids`` and ``external_ids`` narrow the caller to the connections that either of them names; both None
    means every connection of the tenant. ``subject`` names the key, the JWT's subject or the command line.
    """

    tenant_id: str
    role: Role
    subject: str
    connection_ids: frozenset[str] | None = None
    external_ids: frozenset[str] | None = None

    @property
    def is_narrowed(self) -> bool:
        """Whether the caller sees only named connections."""
        return self.connection_ids is not None or self.external_ids is not None

    def require(self, role: Role) -> None:
        """Raise :class:`Forbidden` where the caller's role does not include ``role``."""
        if self.role.rank < role.rank:
            raise Forbidden(
                f"This needs the role `{role}`; the caller has `{self.role}`.",
                cure=f"Use an API key or JWT with the role `{role}`.",
            )

    def require_whole_tenant(self) -> None:
        """Raise :class:`Forbidden` where the caller is narrowed.

        New connections and keys are the whole tenant's matter.
        """
        if self.is_narrowed:
            raise Forbidden("This needs a caller that is not narrowed to named connections.")


class KnowsCallers(Protocol):
    """Whatever knows callers by their ``Authorization`` header: the authenticator, or one that is observed."""

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller. Raises :class:`service.errors.Unauthenticated`."""
        ...
