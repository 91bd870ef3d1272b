import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.connections.clients import Clients
from service.connections.link_models import LinkMethod
from service.errors import BadInput, EgressRefused
from service.link.rules import LinkSessionRequest, check_origins, check_request, find_methods, find_redirect_origin
from service.sentry.egress import EgressPolicy
from service.sentry.installations import SentryApp
from service.sentry.oauth import OAuthClient
from service.sentry.origin import Origin

SAAS, OWN = Origin.parse("https://sentry.io"), Origin.parse("https://sentry.acme.example:9000/sentry")
CLIENTS = Clients((OAuthClient(SAAS, "a", "s"),), (SentryApp(OWN, "app", "b", "s"),))

# Pieces that URL parsers disagree about, glued together at random.
PIECES = st.lists(
    st.sampled_from(
        [
            *("https", "http", "HTTPS", "ftp", "javascript", "://", ":", "/", "//", "\\", "@", "#", "?", "a.example"),
            *("b.example", "localhost", "127.0.0.1", "0x7f.1", "[::1]", "[::ffff:1.2.3.4]", ":443", ":80", ":99999"),
            *(".", "%2f", "%00", "\t", "\n", " ", "\0", "é", "。", "user", "x=1", "&", "..", "*", "EXAMPLE"),
        ]
    ),
    min_size=1,
    max_size=8,
).map("".join)


@given(PIECES)
@example("https://a.example")
@example("https://a.example\\@b.example/")
@example("https://[::1]:8443/x?y=1")
def test_what_is_accepted_goes_where_it_says(text):
    try:
        origin = find_redirect_origin(text)
    except BadInput:
        return
    seen = urlsplit(text)
    assert seen.scheme == "https" or seen.hostname in {"localhost", "127.0.0.1", "::1"}
    assert seen.username is None
    assert "#" not in text
    assert re.fullmatch(r"[!-~]+", text)
    assert not set(text) & set('\\"<>^`{|}')
    default = {"https": 443, "http": 80}[seen.scheme]
    host = f"[{seen.hostname}]" if ":" in seen.hostname else seen.hostname
    port = "" if (seen.port or default) == default else f":{seen.port}"
    assert origin == f"{seen.scheme}://{host}{port}"
    assert check_origins([origin]) == (origin,)


@given(PIECES)
def test_an_allowed_origin_is_exact(text):
    try:
        (accepted,) = check_origins([text])
    except BadInput:
        return
    assert accepted == text == find_redirect_origin(text)
    assert text.count("/") == 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "/back", "a.example", "https:a.example", "https:///a", "http://a.example", "ftp://a.example"),
        *("javascript:alert(1)", "https://u@a.example", "https://u:p@a.example", "https://a.example#x"),
        *("https://a.example\\b", "https://a.example/ b", "https://a.example/\nb", "https://a.example/é"),
        *("https://a.example:0", "https://a.example:65536", "https://a.example.", "https://1.2.3", "https://0x7f.1"),
        *("https://[::0001]", "https://-a.example", "https://a.example/" + "x" * 2000, "http://localhost.a.example"),
        *("http://localhost@a.example", "https://a.example?<script>", 'https://a.example/"'),
    ],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(BadInput, match="redirectUri"):
        find_redirect_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://A.example",
        "https://a.example:443",
        "https://a.example/",
        "https://*.a.example",
        "*",
        "null",
        "http://a.b",
    ],
)
def test_other_origins_are_refused(text):
    with pytest.raises(BadInput, match="allowedOrigins"):
        check_origins(["https://ok.example", text])


def check(**options: Any) -> LinkSessionRequest:
    return check_request(LinkSessionRequest(**options), CLIENTS, EgressPolicy())


def test_the_redirects_origin_is_allowed_by_itself():
    assert check(redirect_uri="https://App.example/x").allowed_origins == ("https://app.example",)
    both = ("https://app.example", "https://b.example")
    assert check(redirect_uri="https://app.example/x", allowed_origins=both).allowed_origins == both
    with pytest.raises(BadInput, match="not among `allowedOrigins`"):
        check(redirect_uri="https://app.example/x", allowed_origins=["https://b.example"])


def test_methods_are_those_that_are_configured():
    assert check().methods == (LinkMethod.OAUTH, LinkMethod.INSTALL, LinkMethod.TOKEN)
    assert check(origin="https://us.sentry.io").methods == (LinkMethod.OAUTH, LinkMethod.TOKEN)
    assert check(origin=OWN.url + "/").methods == (LinkMethod.INSTALL, LinkMethod.TOKEN)
    assert check(methods=[LinkMethod.TOKEN, LinkMethod.OAUTH]).methods == (LinkMethod.OAUTH, LinkMethod.TOKEN)
    assert find_methods(Clients(), None) == (LinkMethod.TOKEN,)
    with pytest.raises(BadInput, match=r"`oauth`.*https://sentry\.acme"):
        check(origin=OWN.url, methods=[LinkMethod.OAUTH])
    with pytest.raises(BadInput, match="names none"):
        check(methods=[])


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("externalId", {"external_id": ""}),
        ("customerId", {"customer_id": "a\0"}),
        ("name", {"name": "x" * 201}),
        ("organization", {"organization": "no slug"}),
        ("projects", {"projects": []}),
        ("projects", {"projects": ["x"] * 101}),
        ("projects", {"projects": [" "]}),
        ("expiresIn", {"expires_in": timedelta(seconds=59)}),
        ("expiresIn", {"expires_in": timedelta(days=31)}),
        ("allowedOrigins", {"allowed_origins": [f"https://a{number}.example" for number in range(21)]}),
        ("base URL", {"origin": "sentry.io"}),
    ],
)
def test_bad_arguments_are_refused_by_name(argument, options):
    with pytest.raises(BadInput, match=argument):
        check(**options)


def test_a_preset_origin_must_be_callable():
    with pytest.raises(EgressRefused):
        check(origin="http://10.0.0.1")
