"""From an ``Authorization`` header to a :class:`Caller`, in microseconds where it was seen a moment ago."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import TLRUCache
from sqlmodel import select

from service.columns import now
from service.db import Database
from service.errors import Unauthenticated
from service.last_used import LastUsed
from service.settings import JwtIssuer
from service.tasks import Coalescer
from service.tenants.caller import Caller
from service.tenants.keys import is_key, not_valid, parse_prefix
from service.tenants.models import ApiKeyRecord, TenantRecord

if TYPE_CHECKING:
    from service.tenants.jwt import JwtVerifier

# A revocation by another process takes effect within 5 seconds: this, and the time that reading the row took.
_KNOWN_SECONDS = 4.0
_AGEING_SECONDS = 3.0  # then it is looked up anew beside a request, so that none of a busy caller's waits for it
_REFUSED_SECONDS = 1.0
_MAX_HEADER = 8192


@dataclass(frozen=True, slots=True)
class _Known:
    """``asked_at`` and ``until`` are on the authenticator's clock. ``key_id`` is the API key whose use is noted."""

    caller: Caller
    asked_at: float
    until: float
    key_id: str | None


class Authenticator:
    """Authenticates API keys and the JWTs of ``issuers``.

    ``pepper`` is the keyring's for API keys; ``clock`` counts seconds, and is only for the caches.
    """

    def __init__(
        self,
        database: Database,
        *,
        pepper: bytes,
        last_used: LastUsed,
        issuers: Sequence[JwtIssuer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._last_used = last_used
        self._jwts = _create_verifier(issuers) if issuers else None
        self._clock = clock
        # By the SHA-256 of the header, so that no credential stays in memory. Refusals are kept apart and shortly:
        # guessing pushes out no known caller, and a key works as soon as it was made.
        self._known: TLRUCache[bytes, _Known] = TLRUCache(10_000, lambda _, known, __: known.until, timer=clock)
        self._refused: TLRUCache[bytes, str] = TLRUCache(1000, lambda _, __, now: now + _REFUSED_SECONDS, timer=clock)
        self._lookups: Coalescer[bytes, _Known] = Coalescer()

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller of an ``Authorization: Bearer …`` header.

        Raises :class:`Unauthenticated`; for API keys in the same words whether the key is unknown, wrong, expired or
        revoked. Raises :class:`service.errors.StorageUnavailable` and :class:`service.errors.IssuerUnavailable`
        where that cannot be known now.
        """
        if authorization is None:
            raise Unauthenticated("The request carries no API key or JWT.")
        if len(authorization) > _MAX_HEADER:
            raise Unauthenticated("The Authorization header is too long.")
        fingerprint = hashlib.sha256(authorization.encode(errors="replace")).digest()
        known = self._known.get(fingerprint)
        if known is None:
            refusal = self._refused.get(fingerprint)
            if refusal is not None:
                raise Unauthenticated(refusal)
            known = await self._lookups.run(fingerprint, lambda: self._look_up(fingerprint, authorization))
        elif self._clock() - known.asked_at > _AGEING_SECONDS:
            self._lookups.begin(fingerprint, lambda: self._look_up(fingerprint, authorization))
        if known.key_id is not None:
            self._last_used.note(ApiKeyRecord, known.key_id)
        return known.caller

    async def aclose(self) -> None:
        """Break off what is looked up beside requests."""
        await self._lookups.aclose()

    async def _look_up(self, fingerprint: bytes, authorization: str) -> _Known:
        try:
            known = await self._find_caller(authorization)
        except Unauthenticated as error:
            self._refused[fingerprint] = error.message
            self._known.pop(fingerprint, None)
            raise
        self._known[fingerprint] = known
        return known

    async def _find_caller(self, authorization: str) -> _Known:
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip(" ")
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated("The Authorization header is not `Bearer <API key or JWT>`.")
        prefix = parse_prefix(credential)
        if prefix is not None:
            return await self._find_key(prefix, credential)
        return await self._verify_jwt(credential)

    async def _find_key(self, prefix: str, shown: str) -> _Known:
        asked_at = self._clock()
        async with self._database.session() as session:
            key = (await session.exec(select(ApiKeyRecord).where(ApiKeyRecord.prefix == prefix))).one_or_none()
        is_right = is_key(shown, key.digest if key else None, self._pepper)
        if key is None or not is_right or key.revoked_at is not None:
            raise not_valid()
        lasts = (key.expires_at - now()).total_seconds() if key.expires_at else _KNOWN_SECONDS
        if lasts <= 0:
            raise not_valid()
        caller = Caller(
            tenant_id=key.tenant_id,
            role=key.role,
            subject=f"key:{key.id}",
            connection_ids=_as_set(key.connection_ids),
            external_ids=_as_set(key.external_ids),
        )
        return _Known(caller, asked_at, asked_at + min(lasts, _KNOWN_SECONDS), key.id)

    async def _verify_jwt(self, token: str) -> _Known:
        if self._jwts is None:
            raise not_valid()
        asked_at = self._clock()
        verified = await self._jwts.verify(token)
        async with self._database.session() as session:
            tenant = await session.get(TenantRecord, verified.caller.tenant_id)
        if tenant is None:
            raise Unauthenticated("The JWT names a tenant that does not exist.")
        lasts = verified.expires_at - time.time()
        return _Known(verified.caller, asked_at, asked_at + min(lasts, _KNOWN_SECONDS), None)


def _create_verifier(issuers: Sequence[JwtIssuer]) -> "JwtVerifier":
    from service.tenants.jwt import JwtVerifier  # noqa: PLC0415 - its library takes 2 MiB and a hundredth of the start

    return JwtVerifier(issuers)


def _as_set(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
