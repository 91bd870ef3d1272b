from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.connections.keyring import Keyring
from service.connections.vault import Binding, Sealed, Vault, _associated_data
from service.errors import SecretUnreadable
from tests.canary import find_canary
from tests.scale import scaled

BINDING = Binding("ten_1", "con_1", "credentials.access_token", "https://sentry.io https://us.sentry.io")


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring.init(tmp_path_factory.mktemp("keys") / "keyring.json")


@pytest.fixture(scope="module")
def vault(keyring: Keyring) -> Vault:
    return Vault(keyring)


text = st.text(st.characters(codec="utf-8"), max_size=12)
bindings = st.builds(Binding, text, text, text, text, text)


@given(secret=st.binary(max_size=300), binding=bindings)
def test_what_was_sealed_opens(vault, secret, binding):
    assert vault.open(vault.seal(secret, binding=binding), binding) == secret


@settings(max_examples=scaled(test=300, soak=20_000))
@given(one=bindings, other=bindings)
def test_swapped_between_any_two_places_it_does_not_open(vault, one, other):
    assume(one != other)
    sealed = vault.seal(b"secret", binding=one)
    with pytest.raises(SecretUnreadable):
        vault.open(sealed, other)


@pytest.mark.parametrize(
    "moved",
    [
        replace(BINDING, tenant_id="ten_2"),
        replace(BINDING, connection_id="con_2"),
        replace(BINDING, column="idempotency_keys.answer"),
        replace(BINDING, origin="https://sentry.io https://evil.example"),
        replace(BINDING, row="another"),
    ],
)
def test_each_part_of_the_place_is_bound(vault, moved):
    sealed = vault.seal(b"secret", binding=BINDING)
    with pytest.raises(SecretUnreadable):
        vault.open(sealed, moved)


@settings(max_examples=scaled(test=300, soak=20_000))
@given(one=bindings, other=bindings, keys=st.tuples(text, text))
def test_no_two_places_share_an_encoding(one, other, keys):
    assume((one, keys[0]) != (other, keys[1]))
    assert _associated_data(one, keys[0]) != _associated_data(other, keys[1])


def test_flipping_any_bit_fails(vault):
    sealed = vault.seal(b"a secret", binding=BINDING)
    for bit in range(len(sealed.data) * 8):
        changed = bytearray(sealed.data)
        changed[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(SecretUnreadable):
            vault.open(Sealed(sealed.key_id, bytes(changed)), BINDING)


def test_cut_anywhere_it_fails(vault):
    sealed = vault.seal(b"a secret", binding=BINDING)
    for length in range(len(sealed.data)):
        with pytest.raises(SecretUnreadable):
            vault.open(Sealed(sealed.key_id, sealed.data[:length]), BINDING)


def test_the_key_id_is_bound_and_must_be_known(vault, keyring):
    sealed = vault.seal(b"secret", binding=BINDING)
    other = keyring.rotate()
    with pytest.raises(SecretUnreadable, match="changed or moved"):
        vault.open(replace(sealed, key_id=other), BINDING)
    with pytest.raises(SecretUnreadable, match="key_never"):
        vault.open(replace(sealed, key_id="key_never"), BINDING)
    assert vault.open(sealed, BINDING) == b"secret"


def test_a_key_rotated_elsewhere_seals_at_once(vault, keyring, tmp_path):
    path = Path(str(keyring._path))
    rotated = Keyring.load(path).rotate()
    assert vault.seal(b"secret", binding=BINDING).key_id == rotated


def test_equal_secrets_are_sealed_differently(vault):
    sealed = {vault.seal(b"secret", binding=BINDING).data for _ in range(50)}
    assert len(sealed) == 50


def test_fingerprints_tell_equal_tokens_and_nothing_else(vault, keyring, tmp_path):
    token = "sntryu_" + "0123456789abcdef" * 4
    assert vault.fingerprint(token) == Vault(keyring).fingerprint(token)
    assert vault.fingerprint(token) != vault.fingerprint(token[:-1] + "0")
    assert vault.fingerprint(token) != Vault(Keyring.init(tmp_path / "k.json")).fingerprint(token)
    assert find_canary(token, vault.fingerprint(token).encode()) == []


def test_repr_shows_neither_secret_nor_ciphertext(vault):
    secret = "sntryu_" + "5f0c9a3b1d2e4f60" * 4
    sealed = vault.seal(secret.encode(), binding=BINDING)
    shown = (repr(vault) + repr(sealed) + repr(vars(vault))).encode()
    assert find_canary(secret, shown) == []
    assert repr(sealed.data).encode() not in shown
