"""Where a Sentry is: scheme, host, port and path prefix, parsed strictly and compared exactly."""

import ipaddress
import re
from dataclasses import dataclass, field
from functools import cache

import idna
from publicsuffixlist import PublicSuffixList

from service.errors import BadInput

_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^\[\]/?#@:]+)(?::([0-9]{1,5}))?((?:/[^?#]*)?)\Z", re.IGNORECASE)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*\Z")
_API = "/api/0"


@dataclass(frozen=True, slots=True)
class Origin:
    """The base of every URL that is sent to one Sentry; two are the same place only if all parts are equal.

    ``host`` is lower-case ASCII (IDNA), an IPv6 address without brackets; ``prefix`` is ``""`` or ``"/path"``.
    ``authority`` is ``host`` or ``host:port`` as in a URL: the default port is left out, IPv6 in brackets. ``url`` is
    the canonical URL, without a trailing slash. Both are spelled once: every call asks for them several times.
    """

    scheme: str
    host: str
    port: int
    prefix: str
    authority: str = field(init=False, repr=False, compare=False)
    url: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Spell it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"
        object.__setattr__(self, "authority", authority)
        object.__setattr__(self, "url", f"{self.scheme}://{authority}{self.prefix}")

    def __hash__(self) -> int:
        return hash(self.url)

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Parse a base URL such as ``https://sentry.io`` or ``http://10.0.0.5:9000/sentry``.

        A trailing slash and a trailing ``/api/0`` are taken off. Raises :class:`BadInput`, which does not repeat the
        text: it may hold a password.
        """
        if len(text) > 500 or not text.isprintable() or " " in text or "\\" in text:
            raise _not_a_base_url()
        found = _URL.match(text)
        if found is None:
            raise _not_a_base_url()
        scheme = found[1].lower()
        port = int(found[3]) if found[3] else _DEFAULT_PORTS[scheme]
        prefix = found[4].rstrip("/").removesuffix(_API).rstrip("/")
        if not 0 < port < 65536 or not _PREFIX.match(prefix):
            raise _not_a_base_url()
        return cls(scheme, _parse_host(found[2]), port, prefix)

    def __str__(self) -> str:
        return self.url


def region_is_trusted(control: Origin, region: Origin) -> bool:
    """Whether a region that ``control`` names may receive the credential that was given for ``control``.

    Either they are equal, or the region is https under the same registrable domain (publicsuffix.org). An address has
    no registrable domain, so a Sentry on one can only name itself.
    """
    if control == region:
        return True
    domain = _registrable_domain(control.host)
    return region.scheme == "https" and domain is not None and domain == _registrable_domain(region.host)


def _registrable_domain(host: str) -> str | None:
    if ":" in host or _NUMERIC_LABEL.match(host.rsplit(".", 1)[-1]):
        return None
    return _public_suffixes().privatesuffix(host)


@cache
def _public_suffixes() -> PublicSuffixList:
    """Parsing the bundled list takes a moment: once, and only where a region is judged."""
    return PublicSuffixList()


def _parse_host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise _not_a_base_url() from None
    host = text.lower().removesuffix(".")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii").removesuffix(".")
        except idna.IDNAError:
            raise _not_a_base_url() from None
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.match, labels)):
        raise _not_a_base_url()
    if _NUMERIC_LABEL.match(labels[-1]):  # WHATWG: such a host is an IPv4 address, in one of many spellings
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise BadInput("The base URL's address must be written as four decimal numbers.") from None
    return host


def _not_a_base_url() -> BadInput:
    return BadInput(
        "This is not the base URL of a Sentry.",
        cure="Write it as https://sentry.example, with a port and path if need be; no user, query or fragment.",
    )
