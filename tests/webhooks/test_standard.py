"""What we sign passes the libraries that receivers verify with, and nothing else does."""

import base64
import time
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from service.webhooks.standard import build_headers, new_secret, sign
from tests.scale import scaled

LIBRARIES = (standardwebhooks.Webhook, svix.webhooks.Webhook)
REFUSALS = (standardwebhooks.WebhookVerificationError, svix.webhooks.WebhookVerificationError)
KEYS = st.binary(min_size=24, max_size=64)
BODIES = st.text(max_size=300).map(str.encode)
IDS = st.from_regex(r"evt_[0-9a-z]{26}", fullmatch=True)


def show(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def verify(library: Any, secret: str, body: bytes, headers: dict[str, str]) -> bool:
    # One of the two parses what it has verified, and the bodies here are any text.
    options = {"json_parse": False} if library is standardwebhooks.Webhook else {}
    try:
        library(secret).verify(body, headers, **options)
    except REFUSALS:
        return False
    return True


@settings(max_examples=scaled(test=100, soak=10_000), deadline=None)
@given(key=KEYS, body=BODIES, id_=IDS)
def test_both_libraries_take_what_is_signed(key: bytes, body: bytes, id_: str) -> None:
    headers = build_headers([show(key)], id_, int(time.time()), body)
    assert all(verify(library, show(key), body, headers) for library in LIBRARIES)


@settings(max_examples=scaled(test=100, soak=10_000), deadline=None)
@given(keys=st.lists(KEYS, min_size=2, max_size=2, unique=True), body=BODIES, id_=IDS)
def test_while_a_secret_is_replaced_both_verify_and_no_other(keys: list[bytes], body: bytes, id_: str) -> None:
    new, old = map(show, keys)
    headers = build_headers([new, old], id_, int(time.time()), body)
    for library in LIBRARIES:
        assert verify(library, new, body, headers)
        assert verify(library, old, body, headers)
        assert not verify(library, new_secret(), body, headers)


@settings(max_examples=scaled(test=100, soak=10_000), deadline=None)
@given(key=KEYS, body=BODIES, id_=IDS, part=st.sampled_from(["body", "webhook-id", "webhook-timestamp"]))
def test_whatever_is_changed_is_noticed(key: bytes, body: bytes, id_: str, part: str) -> None:
    timestamp = int(time.time())
    headers = build_headers([show(key)], id_, timestamp, body)
    if part == "body":
        body += b"."
    else:
        headers[part] = {"webhook-id": id_ + "0", "webhook-timestamp": str(timestamp + 1)}[part]
    assert not any(verify(library, show(key), body, headers) for library in LIBRARIES)


def test_the_example_of_the_specification() -> None:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/python/tests/test_webhooks.py."""
    secret, id_ = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signature = sign(secret, id_, 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_of_the_length_that_the_standard_asks_for() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_old_message_is_refused(library: Any) -> None:
    secret = new_secret()
    headers = build_headers([secret], "evt_1", int(time.time()) - 600, b"{}")
    assert not verify(library, secret, b"{}", headers)
