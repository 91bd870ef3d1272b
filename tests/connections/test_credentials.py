import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.connections.credentials import FEATURES, Credential, missing_scopes, recognise, settle_kind
from service.connections.models import CredentialKind
from service.errors import LinkRefused
from tests.canary import find_canary

HEX = "5f0c9a3b1d2e4f60" * 4
SECRET = "ZnJvbSBhIHNlY3JldCBwbGFjZSwgMzIgYnl0ZXMgbG9uZw"


def organization_token(payload: object, secret: str = SECRET, *, encode=base64.b64encode) -> str:
    return f"sntrys_{encode(json.dumps(payload).encode()).decode()}_{secret}"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sntryu_" + HEX, CredentialKind.USER_TOKEN),
        ("sntryi_" + HEX, CredentialKind.INTERNAL_TOKEN),
        ("sntrya_" + HEX, CredentialKind.OAUTH_TOKEN),
        (HEX, None),
        ("a" * 64, None),
        ("some-other.token~form==", None),
    ],
)
@pytest.mark.parametrize("wrap", ["{}", "  {}\n", "Bearer {}", "bearer   {}", "Authorization: Bearer {}", "Token {}"])
def test_tokens_are_told_by_their_prefix_and_freed_of_a_pasted_header(text, kind, wrap):
    found = recognise(wrap.format(text))
    assert (found.token, found.kind) == (text, kind)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("organization", ["a", "ac", "acm", "acme", "ünï", "??>>~~"])
def test_an_organization_token_names_its_organization_and_host(organization, encode):
    payload = {
        "iat": 1754000000.1,
        "url": "https://sentry.io",
        "region_url": "https://us.sentry.io",
        "org": organization,
    }
    token = organization_token(payload, encode=encode)
    assert recognise(f"Bearer {token}") == Credential(
        token, CredentialKind.ORGANIZATION_TOKEN, organization, "https://sentry.io", "https://us.sentry.io"
    )


@pytest.mark.parametrize("payload", [{}, [], "x", None, {"org": 5, "url": None, "region_url": ""}, {"iat": 1}])
def test_an_organization_token_that_says_nothing_is_still_one(payload):
    found = recognise(organization_token(payload))
    assert found.kind is CredentialKind.ORGANIZATION_TOKEN
    assert (found.organization, found.url, found.region_url) == (None, None, None)


@pytest.mark.parametrize("body", ["////", "a", "AAAA", base64.b64encode(b"[" * 1400).decode()])
def test_an_unreadable_payload_is_left_to_sentry(body):
    assert recognise(f"sntrys_{body}_{SECRET}").organization is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (HEX[:32], "legacy API key"),
        (HEX[:32].upper() + ":", "legacy API key"),
        ("Basic " + base64.b64encode(f"{HEX[:32]}:".encode()).decode(), "legacy API key"),
        ("Authorization: Basic abcdefgh", "legacy API key"),
        (f"https://{HEX[:32]}@o1.ingest.sentry.io/2", "DSN"),
        (f"http://{HEX[:32]}:{HEX[:32]}@127.0.0.1:9000/2", "DSN"),
        (f"DSN https://{HEX[:32]}@sentry.io/2", "DSN"),
        (f"sentrysid={HEX}", "cookie"),
        (f"Cookie: sentrysid={HEX}", "cookie"),
        (f"sc=1; session={HEX}", "cookie"),
        (f"csrftoken={HEX}", "cookie"),
        ("", "not a token"),
        ("   ", "not a token"),
        ("Bearer", "not a token"),
        ("short", "not a token"),
        ("x" * 1001, "not a token"),
        (f"{HEX} {HEX}", "not a token"),
        (f"{HEX}\r\nX-Evil: 1", "not a token"),
        (f"{HEX}é", "not a token"),
        ("sntrys_", "cut off"),
        ("sntrys_abc", "cut off"),
        (f"sntrys_!!!_{SECRET}", "cut off"),
        (f"sntrys_eyJ9_{'s' * 2000}", "cut off"),
    ],
)
def test_what_is_no_token_is_refused_by_its_name(text, name):
    with pytest.raises(LinkRefused, match=name) as caught:
        recognise(text)
    said = f"{caught.value.message} {caught.value.cure} {caught.value!r}".encode()
    if len(text) > 20:
        assert find_canary(HEX, said) == []
        assert text[:20].encode() not in said


@given(text=st.text(max_size=200))
def test_any_text_is_a_header_safe_token_or_refused_and_never_repeated(text):
    try:
        found = recognise(text)
    except LinkRefused as error:
        said = f"{error.message}{error.cure}"
    else:
        said = repr(found)
        assert found.token.isascii()
        assert found.token.isprintable()
        assert " " not in found.token
    assert len(text) < 12 or text not in said


@given(st.text(st.sampled_from("sntryuias_=-+/ \r\n:;.AZ09é\0"), max_size=80).map("sntrys_".__add__))
def test_any_organization_token_is_header_safe_or_refused(text):
    try:
        token = recognise(text).token
    except LinkRefused:
        return
    assert set(token) <= set("sntryuia_=-+/AZ09")


@pytest.mark.parametrize(
    ("kind", "has_user", "email", "is_app", "settled"),
    [
        (CredentialKind.USER_TOKEN, False, None, True, CredentialKind.USER_TOKEN),
        (None, True, "a@acme.example", False, CredentialKind.USER_TOKEN),
        (None, True, "", False, CredentialKind.INTERNAL_TOKEN),
        (None, True, None, False, CredentialKind.INTERNAL_TOKEN),
        (None, True, "", True, CredentialKind.APP_TOKEN),
        (None, False, None, False, CredentialKind.UNKNOWN_TOKEN),
    ],
)
def test_bare_hex_is_told_by_its_user(kind, has_user, email, is_app, settled):
    assert settle_kind(Credential(HEX, kind), has_user=has_user, user_email=email, is_app=is_app) is settled


def test_missing_scopes_by_feature():
    assert missing_scopes([scopes[0] for scopes in FEATURES.values()]) == {}
    assert missing_scopes([]) == FEATURES
    assert missing_scopes(["org:read", "project:admin"]) == {
        "users": ("member:read", "member:write", "member:admin"),
        "groups": ("team:read", "team:write", "team:admin"),
        "issues": ("event:read", "event:write", "event:admin"),
    }
    assert set(missing_scopes(["org:ci"])) == {"organization", "users", "groups", "projects", "issues"}
