"""Bearer JWTs of gateways and identity providers (RFC 7519; read with RFC 8725, the best current practices).

An issuer is trusted for the tenants, roles and signature algorithms that the settings give it, and for nothing else.
"""

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, SecurityWarning
from joserfc.jwt import JWTClaimsRegistry

from service.errors import Unauthenticated
from service.settings import JwtIssuer
from service.tenants.caller import NARROWED_TO_AT_MOST, Caller, Role
from service.tenants.jwks import IssuerKeys, create_issuer_keys
from service.tenants.keys import not_valid

LEEWAY_SECONDS = 30  # between the issuer's clock and ours
_TYPES = {"jwt", "at+jwt"}  # not a logout or ID-token event of the same issuer (RFC 8725 section 3.11)


@dataclass(frozen=True, slots=True)
class VerifiedJwt:
    """Who a JWT says the caller is, and until when (seconds since 1970, leeway included)."""

    caller: Caller
    expires_at: float


class JwtVerifier:
    """Verifies JWTs of the settings' issuers. ``clock`` gives seconds since 1970."""

    def __init__(
        self,
        issuers: Iterable[JwtIssuer],
        *,
        create_keys: Callable[[JwtIssuer], IssuerKeys] = create_issuer_keys,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {issuer.issuer: _Issuer(issuer, create_keys(issuer)) for issuer in issuers}
        self._clock = clock

    async def verify(self, token: str) -> VerifiedJwt:
        """The caller that a compact JWS names.

        Raises :class:`Unauthenticated`, in the same words for whatever is wrong before the signature is verified, and
        :class:`service.errors.IssuerUnavailable` where the issuer's keys were never fetched.
        """
        parsed, claims = _parse(token)
        issuer = self._issuers.get(claims["iss"]) if isinstance(claims.get("iss"), str) else None
        if issuer is None or not await issuer.has_signed(parsed):
            raise not_valid()
        return issuer.read_claims(claims, int(self._clock()))


class _Issuer:
    def __init__(self, settings: JwtIssuer, keys: IssuerKeys) -> None:
        self._settings = settings
        self._keys = keys
        # Headers that we do not know are harmless; those marked critical are refused in _parse.
        self._registry = jws.JWSRegistry(algorithms=settings.algorithms, strict_check_header=False)

    async def has_signed(self, parsed: jws.CompactSignature) -> bool:
        header = parsed.headers()
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms or not isinstance(key_id, str | None):
            return False
        key = await self._keys.find(key_id)
        if key is None or key.get("alg") not in (None, algorithm):
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # "EdDSA" is only an older name of "Ed25519"
                return jws.validate_compact(parsed, key, registry=self._registry)
        except (JoseError, ValueError, TypeError):  # a key of another type, a signature of another length
            return False

    def read_claims(self, claims: dict[str, Any], now: int) -> VerifiedJwt:
        """The caller; the signature is good, so what is wrong may be said."""
        settings = self._settings
        registry = JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_SECONDS,
            aud={"essential": True, "value": settings.audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError:
            raise Unauthenticated("The JWT has expired.") from None
        except ClaimError as error:
            raise Unauthenticated(f"The JWT's claim `{error.claim}` is missing or wrong.") from None
        tenant_id = claims.get(settings.tenant_claim)
        if not isinstance(tenant_id, str) or tenant_id not in settings.tenants:
            raise Unauthenticated(f"The JWT's claim `{settings.tenant_claim}` names no tenant of this issuer.")
        caller = Caller(
            tenant_id=tenant_id,
            role=self._read_role(claims),
            subject=f"jwt:{claims['sub'][:200]}",
            connection_ids=_read_narrowing(claims, settings.connections_claim),
            external_ids=_read_narrowing(claims, settings.external_ids_claim),
        )
        return VerifiedJwt(caller, claims["exp"] + LEEWAY_SECONDS)

    def _read_role(self, claims: dict[str, Any]) -> Role:
        name = self._settings.role_claim
        try:
            role = Role(claims.get(name, Role.READ))
        except ValueError:
            raise Unauthenticated(f"The JWT's claim `{name}` is none of read, write and admin.") from None
        return min(role, Role(self._settings.max_role), key=lambda each: each.rank)


def _parse(token: str) -> tuple[jws.CompactSignature, dict[str, Any]]:
    try:
        parsed = jws.extract_compact(token.encode())
        if not {"crit", "b64"}.isdisjoint(parsed.headers()):  # extensions, of which we know none (RFC 7515 4.1.11)
            raise not_valid()
        kind = parsed.headers().get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise not_valid()
        return parsed, msgspec.json.decode(parsed.payload, type=dict[str, Any])
    except (JoseError, ValueError, TypeError, RecursionError):
        raise not_valid() from None


def _read_narrowing(claims: dict[str, Any], name: str) -> frozenset[str] | None:
    """A claim that is there narrows, or refuses the token: a broken one must never mean the whole tenant."""
    if name not in claims:
        return None
    names = claims[name]
    if not isinstance(names, list) or len(names) > NARROWED_TO_AT_MOST or not all(isinstance(n, str) for n in names):
        raise Unauthenticated(f"The JWT's claim `{name}` is not a list of at most {NARROWED_TO_AT_MOST} texts.")
    return frozenset(names)
