from pathlib import Path

import pytest

from service.connections.keyring import Keyring
from service.errors import AddressUnavailable
from service.webhooks.addresses import Addresses


@pytest.fixture
def addresses(keyring: Keyring) -> Addresses:
    return Addresses(keyring, public_url="https://graph.example/base/")


def test_an_address_is_recognized_by_its_own_parts_alone(addresses: Addresses):
    base, kind, name, token = addresses.of_app("client-1").rsplit("/", 3)
    assert (base, kind, name) == ("https://graph.example/base/webhooks", "sentry", "client-1")
    assert addresses.is_app(name, token)
    assert not addresses.is_app("client-2", token)
    assert not addresses.is_receiver(name, token)
    receiver = addresses.of_receiver("whr_1").rsplit("/", 3)
    assert receiver[:3] == [base, "in", "whr_1"]
    assert addresses.is_receiver("whr_1", receiver[3])
    assert not addresses.is_app("whr_1", receiver[3])
    assert receiver[3] != token


@pytest.mark.parametrize(
    "change", [str.upper, lambda token: token[:-1], lambda token: token + "A", lambda _: "", lambda _: "ü\ud800"]
)
def test_nothing_else_is_an_address(addresses: Addresses, change):
    token = addresses.of_app("client-1").rpartition("/")[2]
    assert len(token) == 43
    assert not addresses.is_app("client-1", change(token))


def test_it_stays_the_same_after_a_restart_and_a_rotation(addresses: Addresses, keyring: Keyring, tmp_path: Path):
    keyring.rotate()
    again = Addresses(Keyring.load(tmp_path / "keyring.json"), public_url="https://graph.example/base")
    assert again.of_app("client-1") == addresses.of_app("client-1")
    other = Addresses(Keyring.init(tmp_path / "other.json"), public_url="https://graph.example/base")
    assert other.of_app("client-1") != addresses.of_app("client-1")


def test_without_a_public_address_there_is_none_to_tell(keyring: Keyring):
    addresses = Addresses(keyring, public_url=None)
    for tell in (lambda: addresses.of_app("a"), lambda: addresses.of_receiver("r"), addresses.check):
        with pytest.raises(AddressUnavailable):
            tell()
