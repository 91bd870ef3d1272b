"""Ways to Sentry and back: what was begun, and the one callback that each of them accepts.

OAuth's ``state`` is 256 random bits, stored hashed, good once and for ten minutes, and bound to everything that the
answer must match (RFC 9700, sections 2.1 and 4.4). An install carries no state: it is known by its browser alone.
"""

import base64
import enum
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.keyring import Keyring
from service.connections.link_models import LinkAttemptRecord, LinkMethod, LinkSessionRecord
from service.db import Database
from service.link.problems import SessionEnded
from service.link.records import hash_secret

OAUTH_LIFE = timedelta(minutes=10)
INSTALL_LIFE = timedelta(hours=1)


class CallbackFault(enum.StrEnum):
    """Why a callback is not accepted at all; the session, where there is one, stays as it is."""

    UNKNOWN_STATE = "unknown_state"
    OTHER_BROWSER = "other_browser"


class CallbackRefused(Exception):
    """A callback that belongs to nothing that this browser began."""

    def __init__(self, fault: CallbackFault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Begun:
    """An OAuth attempt: what goes into the authorize URL."""

    state: str = field(repr=False)
    code_verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """A callback's attempt. Only one of its callbacks is the first; ``is_late`` is one that came after its time."""

    attempt: LinkAttemptRecord
    secret: str = field(repr=False)
    is_first: bool
    is_late: bool


class Attempts:
    """Begins attempts and lets each be answered once."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._pkce_key = keyring.derive("pkce")

    async def begin_oauth(self, record: LinkSessionRecord, *, client_id: str, origin: str, redirect_uri: str) -> Begun:
        """Begin a way through OAuth. Raises :class:`SessionEnded`."""
        state = secrets.token_urlsafe(32)
        attempt = _build(record, LinkMethod.OAUTH, client_id, origin, redirect_uri, hash_secret(state), OAUTH_LIFE)
        await self._add(attempt)
        return Begun(state, self.code_verifier(state))

    async def begin_install(self, record: LinkSessionRecord, *, client_id: str, origin: str, redirect_uri: str) -> None:
        """Begin an install. Raises :class:`SessionEnded`."""
        mark = hash_secret(secrets.token_urlsafe(32))
        await self._add(_build(record, LinkMethod.INSTALL, client_id, origin, redirect_uri, mark, INSTALL_LIFE))

    def code_verifier(self, state: str) -> str:
        """PKCE's verifier of a state (RFC 7636, section 4.1): 43 characters that need not be stored."""
        digest = hmac.new(self._pkce_key, state.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    async def claim_oauth(self, state: str, client_id: str, known: Mapping[str, str]) -> Claim:
        """The attempt of a state, taken for good. ``known`` are the browser's secrets, by session.

        Raises :class:`CallbackRefused`, which leaves the attempt to the browser that began it.
        """
        async with self._database.session() as session:
            attempt = await session.get(LinkAttemptRecord, hash_secret(state))
        if attempt is None or attempt.method is not LinkMethod.OAUTH or attempt.client_id != client_id:
            raise CallbackRefused(CallbackFault.UNKNOWN_STATE)
        secret = known.get(attempt.session_id)
        if secret is None or not hmac.compare_digest(attempt.browser_hash, hash_secret(secret)):
            raise CallbackRefused(CallbackFault.OTHER_BROWSER)
        return await self._claim(attempt, secret)

    async def claim_install(self, client_id: str | None, known: Mapping[str, str]) -> Claim | None:
        """The newest install that this browser began and that has not come back, taken for good; None without one.

        ``client_id`` is the app's where the callback's address tells.
        """
        if not known:
            return None
        conditions = [
            col(LinkAttemptRecord.session_id).in_(list(known)),
            col(LinkAttemptRecord.method) == LinkMethod.INSTALL,
            *_open(),
        ]
        if client_id is not None:
            conditions.append(col(LinkAttemptRecord.client_id) == client_id)
        newest = col(LinkAttemptRecord.created_at).desc()
        async with self._database.session() as session:
            found = list(await session.exec(select(LinkAttemptRecord).where(*conditions).order_by(newest)))
        for attempt in found:
            secret = known[attempt.session_id]
            if not hmac.compare_digest(attempt.browser_hash, hash_secret(secret)):
                continue
            claim = await self._claim(attempt, secret)
            if claim.is_first:
                return claim
        return None

    async def is_away(self, record: LinkSessionRecord) -> bool:
        """Whether the browser was sent to Sentry and may still come back."""
        condition = [*_of(record), *_open()]
        async with self._database.session() as session:
            found = (await session.exec(select(LinkAttemptRecord.state_hash).where(*condition).limit(1))).first()
        return found is not None

    async def end(self, record: LinkSessionRecord) -> None:
        """Accept no callback any more of what was begun so far: the person has come back by themselves."""

        async def work(session: AsyncSession) -> None:
            await session.exec(update(LinkAttemptRecord).where(*_of(record), *_open()).values(used_at=now()))

        await self._database.run_transaction(work)

    async def _add(self, attempt: LinkAttemptRecord) -> None:
        columns = attempt.model_dump()

        async def work(session: AsyncSession) -> None:
            session.add(LinkAttemptRecord(**columns))

        await self._database.run_transaction(work)

    async def _claim(self, attempt: LinkAttemptRecord, secret: str) -> Claim:
        """Of callbacks that come at once, exactly one finds the attempt unused."""
        is_unused = [
            col(LinkAttemptRecord.state_hash) == attempt.state_hash,
            col(LinkAttemptRecord.used_at).is_(None),
        ]

        async def work(session: AsyncSession) -> bool:
            taken = await session.exec(update(LinkAttemptRecord).where(*is_unused).values(used_at=now()))
            return taken.rowcount == 1

        is_first = await self._database.run_transaction(work)
        return Claim(attempt, secret, is_first, is_late=attempt.expires_at <= now())


def _build(
    record: LinkSessionRecord,
    method: LinkMethod,
    client_id: str,
    origin: str,
    redirect_uri: str,
    state_hash: bytes,
    life: timedelta,
) -> LinkAttemptRecord:
    if record.browser_hash is None:
        raise SessionEnded
    begun = now()
    return LinkAttemptRecord(
        state_hash=state_hash,
        tenant_id=record.tenant_id,
        session_id=record.id,
        method=method,
        client_id=client_id,
        origin=origin,
        redirect_uri=redirect_uri,
        browser_hash=record.browser_hash,
        created_at=begun,
        expires_at=begun + life,
    )


def _of(record: LinkSessionRecord) -> list[ColumnElement[bool]]:
    return [
        col(LinkAttemptRecord.tenant_id) == record.tenant_id,
        col(LinkAttemptRecord.session_id) == record.id,
    ]


def _open() -> list[ColumnElement[bool]]:
    return [col(LinkAttemptRecord.used_at).is_(None), col(LinkAttemptRecord.expires_at) > now()]
