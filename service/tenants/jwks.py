"""An issuer's public keys (JWKS, RFC 7517): fetched once in a while, kept when the issuer is down."""

import asyncio
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import structlog
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from service.errors import ConfigurationError, IssuerUnavailable
from service.settings import JwtIssuer

MAX_BYTES = 256 * 1024
_MAX_AGE = 600.0  # after which a key that the issuer took back is forgotten
_RETRY_AFTER = 10.0  # no sooner, whatever key ids callers invent
_FETCH_SECONDS = 3.0

_log = structlog.get_logger(__name__)


class IssuerKeys:
    """The keys of one issuer. ``fetch`` gives the JWKS document's bytes; ``clock`` counts seconds."""

    def __init__(
        self, issuer: str, fetch: Callable[[], Awaitable[bytes]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._keys: list[Key] | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, key_id: str | None) -> Key | None:
        """The key of that id; without an id the only key there is. Raises :class:`IssuerUnavailable`."""
        found = self._select(key_id)
        if found is None or self._clock() - self._fetched_at > _MAX_AGE:
            await self._refresh(has_key=found is not None)
            found = self._select(key_id)
        if self._keys is None:
            raise IssuerUnavailable("The keys of the JWT's issuer cannot be fetched.")
        return found

    def _select(self, key_id: str | None) -> Key | None:
        keys = self._keys or []
        if key_id is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.kid == key_id), None)

    async def _refresh(self, *, has_key: bool) -> None:
        """Fetch the keys, unless that was tried a moment ago; one caller does, and who has a key does not wait."""
        if has_key and self._lock.locked():
            return
        async with self._lock:
            if self._clock() - self._tried_at < _RETRY_AFTER:
                return
            self._tried_at = self._clock()
            try:
                self._keys = parse_keys(await self._fetch())
                self._fetched_at = self._clock()
            except (httpx.HTTPError, OSError, ValueError) as error:
                _log.warning("jwks_unavailable", issuer=self._issuer, error=str(error), has_keys=self._keys is not None)


def create_issuer_keys(issuer: JwtIssuer) -> IssuerKeys:
    """The keys of an issuer of the settings, from its address or its file.

    Raises :class:`ConfigurationError` where the file cannot be used now; an address may be down and come back.
    """
    if issuer.jwks_file is not None:
        path = issuer.jwks_file
        try:
            parse_keys(_read_file(path))
        except OSError as error:
            raise ConfigurationError(f"SENTRY_GRAPH_JWT_ISSUERS: {path}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigurationError(f"SENTRY_GRAPH_JWT_ISSUERS: {path} is no JWKS: {error}") from None
        return IssuerKeys(issuer.issuer, lambda: asyncio.to_thread(_read_file, path))
    url = issuer.jwks_url
    assert url is not None  # noqa: S101 - the settings ask for one of the two
    return IssuerKeys(issuer.issuer, lambda: fetch_jwks(url))


async def fetch_jwks(url: str, *, seconds: float = _FETCH_SECONDS) -> bytes:
    """GET a JWKS document: no redirects, at most :data:`MAX_BYTES`, and ``seconds`` in all.

    Raises ``httpx.HTTPError``, ``OSError`` (time-out) and ``ValueError`` (too large).
    """
    client = await asyncio.to_thread(httpx.AsyncClient, trust_env=False)  # it reads the certificate authorities
    async with (
        asyncio.timeout(seconds),
        client,
        client.stream("GET", url, headers={"accept": "application/json"}) as response,
    ):
        if response.status_code != 200:
            raise ValueError(f"it answers {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_bytes(16 * 1024):
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        return bytes(body)


def parse_keys(document: bytes) -> list[Key]:
    """The signature keys of a JWKS document: public-key types only, RSA of at least 2048 bits.

    Keys of other types and uses, and those that are broken, are left out (RFC 7517 section 5).
    Raises ``ValueError`` where the document is not a JWKS, or no key is left.
    """
    try:
        members = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(members, list):
        raise ValueError("it has no list `keys`")  # noqa: TRY004 - the document is wrong, not the program
    keys = [key for member in members if (key := _parse_key(member)) is not None]
    if not keys:
        raise ValueError("it has no key for signatures")
    return keys


def _parse_key(member: object) -> Key | None:
    if not isinstance(member, dict) or member.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if member.get("use", "sig") != "sig" or not isinstance(member.get("kid"), str | None):
        return None
    public = {name: value for name, value in member.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "oth")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)  # short RSA keys
            key = import_key(public)
            _ = key.raw_value  # where the numbers are looked at
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError, AttributeError):
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        document = file.read(MAX_BYTES + 1)
    if len(document) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return document
