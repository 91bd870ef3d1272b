"""What the client needs to know of a linked account, and where it gets the account's token from."""

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from service.sentry.origin import Origin


class Token(msgspec.Struct, frozen=True):
    """A bearer token; ``version`` grows with every change of the stored credential."""

    value: str
    version: int

    def __repr__(self) -> str:
        return f"Token(version={self.version})"


class TokenSource(Protocol):
    """Gives a connection's token out, and renews it where it can be renewed."""

    async def token(self) -> Token:
        """The current token. Raises :class:`NeedsReauth` where there is none."""
        ...

    async def fresh_token(self, rejected: Token) -> Token:
        """Another token than the one to which Sentry answered 401.

        Raises :class:`NeedsReauth` or :class:`UpstreamUnauthorized` where there is none.
        """
        ...

    async def doubt(self, rejected: Token) -> None:
        """Sentry answered 401, and no other token cures it: what is wrong is to be found out. Raises nothing."""
        ...


class Account(msgspec.Struct, frozen=True):
    """A linked account.

    ``control`` and ``api`` are the same where Sentry is self-hosted. ``organization`` is a slug. ``fingerprint`` tells
    credentials apart: calls with equal ones share Sentry's rate limit. ``ca`` is what :func:`parse_ca` made of the
    authorities to trust for this Sentry, instead of the usual ones; None trusts the usual ones.
    """

    tenant_id: str
    connection_id: str
    control: Origin
    api: Origin
    organization: str
    fingerprint: str
    tokens: TokenSource
    ca: str | None = None

    def __repr__(self) -> str:
        return f"Account({self.tenant_id}, {self.connection_id}, {self.api})"


@dataclass(frozen=True, slots=True)
class Applicant:
    """One of our clients that asks Sentry for a token on a tenant's behalf, and has none yet; else as an account."""

    tenant_id: str
    fingerprint: str
    ca: str | None = field(default=None, repr=False)
    tokens: None = None
