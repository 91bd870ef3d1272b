"""The sockets to listen on, taken before anything else is started."""

import contextlib
import socket
from collections.abc import Iterator

from service.errors import ConfigurationError

_STALLED_MILLISECONDS = 60_000
"""How long a client may take none of what it is sent until its connection is lost: it would be held for ever."""


@contextlib.contextmanager
def open_sockets(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Hold a listening socket for each address of ``host``, for a server to accept on.

    Raises :class:`ConfigurationError`, in a line, where the host is not this machine's or the port is taken.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            sockets = [stack.enter_context(_bind(family, address)) for family, _, _, _, address in dict.fromkeys(found)]
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(
                f"Cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or 'not a host name'}",
                cure="Set SENTRY_GRAPH_HOST to an address of this machine and SENTRY_GRAPH_PORT to a free port.",
            ) from None
        yield sockets


def _bind(family: int, address: tuple[str | int, ...] | tuple[int, bytes]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # 0.0.0.0 has a socket of its own
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted inherits it
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MILLISECONDS)
        bound.bind(address)
        bound.listen()  # only now is the port ours; who comes early waits
    except OSError:
        bound.close()
        raise
    return bound
