import socket

import pytest

from service.errors import ConfigurationError
from service.operations.listening import open_sockets


def test_the_sockets_are_bound_and_released():
    with open_sockets("127.0.0.1", 0) as [bound]:
        port = bound.getsockname()[1]
        assert port > 0
        with pytest.raises(ConfigurationError, match="already in use"), open_sockets("127.0.0.1", port):
            pass
    with open_sockets("127.0.0.1", port):
        pass


def test_a_client_that_reads_nothing_does_not_hold_its_connection_for_ever():
    with open_sockets("127.0.0.1", 0) as [bound], socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


def test_a_name_is_bound_at_each_of_its_addresses():
    found = {each[4][0] for each in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    with open_sockets("localhost", 0) as sockets:
        assert {bound.getsockname()[0] for bound in sockets} == found


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.1", "a..b", "x" * 80])
def test_a_host_that_is_not_of_this_machine(host: str):
    with pytest.raises(ConfigurationError, match=r"Cannot listen on .*:8000: .+") as caught, open_sockets(host, 8000):
        pass
    assert len(caught.value.message.splitlines()) == 1
