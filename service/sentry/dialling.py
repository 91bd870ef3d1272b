"""Opening sockets, to addresses that the egress policy has checked and to no others."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar, cast

import aiohappyeyeballs
import httpx
from cachetools import TTLCache

from service.errors import EgressRefused
from service.sentry.egress import EgressPolicy
from service.tasks import Coalescer

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""As ``socket.getaddrinfo`` has them: family, kind, protocol, canonical name, and address with port."""

Resolve = Callable[[str, int], Awaitable[Sequence[AddressInfo]]]

_DIAL_SECONDS = 5.0
_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305, section 5
_REMEMBERED_SECONDS = 10.0
_REMEMBERED = 1000

P = TypeVar("P", bound=asyncio.BaseProtocol)


class CertificateRefused(httpx.ConnectError):
    """The server's certificate is not of an authority that is trusted for it, or not for its name. Nothing was sent."""


class Dialler:
    """Resolves names once, checks all answers, dials one of them, and lets TLS verify the name.

    ``resolve`` and ``open_socket`` replace the system's, in tests that record instead of dialling.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolve: Resolve | None = None,
        open_socket: Callable[[AddressInfo], socket.socket] | None = None,
    ) -> None:
        self._policy = policy
        self._resolve = resolve or _resolve
        self._open_socket = open_socket or _open_socket
        self._found: TTLCache[tuple[str, int], Sequence[AddressInfo]] = TTLCache(_REMEMBERED, _REMEMBERED_SECONDS)
        self._resolving: Coalescer[tuple[str, int], Sequence[AddressInfo]] = Coalescer()

    async def dial(self, host: str, port: int, tls: ssl.SSLContext | None, create: Callable[[], P]) -> P:
        """An open connection to a host, with ``tls`` verified for its name; None is plain HTTP.

        Raises :class:`EgressRefused` for an address that may not be called, else :class:`CertificateRefused`,
        :class:`httpx.ConnectTimeout` or :class:`httpx.ConnectError`: nothing was sent.
        """
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                return await self._dial(host, port, tls, create)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("The host did not answer in time.") from error
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(str(error)) from error
        except _AddressRefused as error:
            raise error.refused from None
        except (OSError, RuntimeError) as error:  # the latter out of uvloop, of a socket that is closed meanwhile
            raise httpx.ConnectError(str(error)) from error

    async def _dial(self, host: str, port: int, tls: ssl.SSLContext | None, create: Callable[[], P]) -> P:
        opened = await aiohappyeyeballs.start_connection(
            await self._find(host, port),
            happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
            socket_factory=partial(self._open_checked, host, port),
        )
        name = host.rstrip(".") if tls is not None else None
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_connection(create, sock=opened, ssl=tls, server_hostname=name)
        except BaseException:
            opened.close()
            raise
        return protocol

    async def _find(self, host: str, port: int) -> Sequence[AddressInfo]:
        found = self._found.get((host, port))
        if found is None:
            found = await self._resolving.run((host, port), partial(self._look_up, host, port))
            self._policy.check_addresses(host, port, [address[4][0] for address in found])
            self._found[host, port] = found
        return found

    async def _look_up(self, host: str, port: int) -> Sequence[AddressInfo]:
        return _read_literal(host, port) or await self._resolve(host, port)

    def _open_checked(self, host: str, port: int, address: AddressInfo) -> socket.socket:
        """The last look, at the very address that is dialled."""
        try:
            self._policy.check_addresses(host, port, [address[4][0]])
        except EgressRefused as error:
            raise _AddressRefused(error) from None
        return self._open_socket(address)


class _AddressRefused(OSError):
    """Carries :class:`EgressRefused` through the dialling code, which only lets an ``OSError`` pass."""

    def __init__(self, refused: EgressRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


def _read_literal(host: str, port: int) -> Sequence[AddressInfo]:
    """The address that a URL has instead of a name, which is not for a name server."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return ()
    place = (host, port) if version == 4 else (host, port, 0, 0)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)]


async def _resolve(host: str, port: int) -> Sequence[AddressInfo]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return cast("Sequence[AddressInfo]", found)


def _open_socket(address: AddressInfo) -> socket.socket:
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)
