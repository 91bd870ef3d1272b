"""Addresses of endpoints: what is one, and what may be called."""

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import BadInput, EgressRefused
from service.sentry.egress import EgressPolicy
from service.webhooks.endpoint_rules import EndpointChange, check_change
from service.webhooks.target import Target

SCHEMES = ["https://", "http://", "HTTPS://", "ftp://"]
HOSTS = ["consumer.example", "127.0.0.1", "[::1]", "\u00e9.example", "user:pass@", ":8443", ":99999"]
SIGNS = ["/", "//", "\\", "a", "%2e", "%zz", "..", "?", "#", "@", " ", "\n", "\0", "\u00e4", "=", "&", ";", "'", ","]
PIECES = st.sampled_from([*SCHEMES, *HOSTS, *SIGNS])


@given(text=st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=60))
@example(text="https://consumer.example/a/../b?c=d'e")
@example(text="https://é.example")
def test_an_address_is_refused_or_leads_where_it_says(text: str) -> None:
    try:
        target = Target.parse(text)
    except BadInput:
        return
    read = httpx.URL(target.url)
    assert (read.scheme, read.raw_host.decode().strip("[]")) == (target.origin.scheme, target.origin.host)
    assert (read.port or {"http": 80, "https": 443}[read.scheme]) == target.origin.port
    assert (read.userinfo, read.fragment) == (b"", "")
    assert target.url.isascii()
    assert target.url.isprintable()
    assert Target.parse(target.url) == target


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://consumer.example", "https://consumer.example/"),
        ("https://Consumer.Example:443/Hooks", "https://consumer.example/Hooks"),
        ("https://consumer.example:8443/a%2Fb?c=d&e=/?", "https://consumer.example:8443/a%2Fb?c=d&e=/?"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        ("http://127.0.0.1:9000/hook", "http://127.0.0.1:9000/hook"),
    ],
)
def test_an_address_has_one_form(text: str, url: str) -> None:
    assert Target.parse(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "consumer.example/hooks",
        "ftp://consumer.example/",
        "https://",
        "https://user@consumer.example/",
        "https://user:password@consumer.example/",
        "https://consumer.example/#fragment",
        "https://consumer.example/a b",
        "https://consumer.example/\u00e4",
        "https://consumer.example\\@other.example/",
        "https://consumer.example:0/",
        "https://0x7f.1/",
        "https://consumer.example/" + "a" * 2000,
    ],
)
def test_what_is_no_address_is_refused_with_a_cure(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        Target.parse(text)
    assert refused.value.cure is not None
    assert "https://consumer.example/hooks" in refused.value.cure


@pytest.mark.parametrize(
    "url", ["http://consumer.example/", "https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/"]
)
def test_what_may_not_be_called_is_refused_when_an_endpoint_is_made(url: str) -> None:
    policy = EgressPolicy(setting="SENTRY_GRAPH_FORWARD_ALLOW")
    with pytest.raises(EgressRefused) as refused:
        check_change(EndpointChange(url=url), policy)
    assert refused.value.cure is not None
    assert "SENTRY_GRAPH_FORWARD_ALLOW" in refused.value.cure


def test_the_operator_may_allow_it() -> None:
    policy = EgressPolicy([Target.parse("http://consumer.internal:8080/x").origin])
    assert check_change(EndpointChange(url="http://consumer.internal:8080/hooks"), policy) == {
        "url": "http://consumer.internal:8080/hooks"
    }
