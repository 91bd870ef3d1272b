"""Which origins and addresses this service may call: public https by default, others by the operator's allow-list."""

import ipaddress
from collections.abc import Iterable, Sequence

from service.errors import EgressRefused
from service.sentry.origin import Origin

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(text: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(line) for line in text.split())


# IANA's special-purpose registries (RFC 6890 and its updates), read strictly: an address is public only where nothing
# says otherwise. `ipaddress.is_global` alone is no guard: it knows neither tunnels nor embedded IPv4 addresses.
_GLOBAL_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC = _networks(
    """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    2001::/23 2001:db8::/32 2002::/16 3fff::/20
    """
)
# What an operator may open; the rest (link-local, multicast, reserved, tunnels) stays shut for everyone.
_PRIVATE = _networks("10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7")
# Clouds' metadata services outside of link-local: Azure, Alibaba, AWS, Google.
_METADATA = _networks("168.63.129.16/32 100.100.100.200/32 fd00:ec2::/32 fd20:ce::/32")

# The Fetch standard's bad ports above 1023, and those of databases and orchestrators.
_BAD_PORTS = frozenset(
    {1433, 1521, 1719, 1720, 1723, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5672}
    | {6000, 6379, 6443, 6566, *range(6665, 6670), 6679, 6697, 9042, 9200, 9300, 10080, 10250, 10255, 11211, 27017}
)


class EgressPolicy:
    """Decides before anything is sent, and again on the address that is dialled.

    ``allowed`` are the operator's origins: they may be http, on any port and on a private address. Their prefix does
    not matter. ``setting`` is what the operator names them in.
    """

    def __init__(self, allowed: Iterable[Origin] = (), *, setting: str = "SENTRY_GRAPH_EGRESS_ALLOW") -> None:
        allowed = tuple(allowed)
        self._cure = f"Use a public https address, or ask the operator to add the origin to {setting}."
        self._origins = frozenset((origin.scheme, origin.host, origin.port) for origin in allowed)
        self._hosts = frozenset((origin.host, origin.port) for origin in allowed)

    def check_origin(self, origin: Origin) -> None:
        """Raise :class:`EgressRefused` for plain http, a port that is not a web server's, or a refused address."""
        if (origin.scheme, origin.host, origin.port) not in self._origins:
            if origin.scheme != "https":
                raise self._refused("Plain http is refused.")
            if origin.port != 443 and (origin.port < 1024 or origin.port in _BAD_PORTS):
                raise self._refused(f"Port {origin.port} is refused.")
        if _parse_address(origin.host) is not None:
            self.check_addresses(origin.host, origin.port, [origin.host])

    def check_addresses(self, host: str, port: int, addresses: Sequence[str]) -> None:
        """Raise :class:`EgressRefused` unless every one of a name's addresses may be dialled.

        One bad answer among good ones refuses them all: a name that mixes public and private is an attack.
        """
        if not addresses:
            raise self._refused("The host has no address.")
        may_be_private = (host, port) in self._hosts
        for text in addresses:
            address = _parse_address(text)
            if address is None or not (is_public(address) or (may_be_private and is_private(address))):
                raise self._refused("The host is at an address that this service may not call.")

    def _refused(self, message: str) -> EgressRefused:
        return EgressRefused(message, cure=self._cure)


def is_public(address: _Address) -> bool:
    """Whether the address is an ordinary one on the internet."""
    if address.version == 6 and address not in _GLOBAL_UNICAST_6:
        return False  # also mapped, compatible and translated IPv4 (RFC 4291, 6052), which lie outside
    return not _within(address, _NOT_PUBLIC) and not _within(address, _METADATA)


def is_private(address: _Address) -> bool:
    """Whether the address is one that an operator may open by the allow-list."""
    return _within(address, _PRIVATE) and not _within(address, _METADATA)


def _within(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _parse_address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)  # "fe80::1%eth0" parses with its scope, and is link-local all the same
    except ValueError:
        return None
