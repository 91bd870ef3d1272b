import re
import secrets

from hypothesis import given
from hypothesis import strategies as st

from service.tenants.keys import digest_key, is_key, new_key, parse_prefix
from tests.scale import scaled

PEPPER = secrets.token_bytes(32)


def test_a_key_says_its_prefix_and_hides_the_rest():
    key = new_key()
    assert re.fullmatch(r"sg_[a-z2-7]{12}_[a-z2-7]{52}", key.shown)
    assert parse_prefix(key.shown) == key.prefix == key.shown[3:15]
    assert key.shown not in repr(key)


def test_keys_differ():
    keys = [new_key() for _ in range(scaled(test=200, soak=20_000))]
    assert len({key.prefix for key in keys}) == len({key.shown for key in keys}) == len(keys)


@given(st.text() | st.from_regex(r"sg_[a-z2-7]{11,13}_[a-z2-7]{51,53}\n?", fullmatch=True))
def test_only_the_exact_form_has_a_prefix(text: str):
    is_whole = re.fullmatch(r"sg_[a-z2-7]{12}_[a-z2-7]{52}", text) is not None and not text.endswith("\n")
    assert (parse_prefix(text) is not None) == is_whole


def test_the_digest_proves_the_key_under_its_pepper_only():
    key = new_key()
    digest = digest_key(key.shown, PEPPER)
    assert len(digest) == 32
    assert is_key(key.shown, digest, PEPPER)
    assert not is_key(key.shown, digest, secrets.token_bytes(32))
    assert not is_key(new_key().shown, digest, PEPPER)


def test_every_character_of_the_key_counts():
    key = new_key().shown
    digest = digest_key(key, PEPPER)
    for place in range(len(key)):
        changed = key[:place] + ("b" if key[place] == "a" else "a") + key[place + 1 :]
        assert not is_key(changed, digest, PEPPER)


def test_without_a_digest_no_key_is_right():
    assert not is_key(new_key().shown, None, PEPPER)
