import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadInput
from service.sentry.origin import Origin, region_is_trusted


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://sentry.io", "https://sentry.io"),
        ("HTTPS://Sentry.IO/", "https://sentry.io"),
        ("https://sentry.io:443/api/0/", "https://sentry.io"),
        ("https://sentry.io.", "https://sentry.io"),
        ("http://sentry.internal:9000/sentry/api/0", "http://sentry.internal:9000/sentry"),
        ("https://sentry_web/a/b-c/", "https://sentry_web/a/b-c"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://[2606:4700:0:0::1]:8443", "https://[2606:4700::1]:8443"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("https://\uff11\uff12\uff17\u3002\uff10\u3002\uff10\u3002\uff11", "https://127.0.0.1"),
    ],
)
def test_base_urls_become_canonical(text: str, url: str) -> None:
    origin = Origin.parse(text)
    assert origin.url == str(origin) == url
    assert Origin.parse(origin.url) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sentry.io",
        "//sentry.io",
        "ftp://sentry.io",
        "https://",
        "https:///path",
        "https://user@sentry.io",
        "https://user:secret@sentry.io",
        "https://sentry.io?x=1",
        "https://sentry.io#x",
        "https://sentry.io/a b",
        "https://sentry.io/%2e%2e",
        "https://sentry.io/../x",
        "https://sentry.io/.hidden",
        "https://sentry.io//x",
        "https://sentry.io\\@evil.example",
        "https://sentry.io\n",
        "\thttps://sentry.io",
        "https://sentry..io",
        "https://-sentry.io",
        "https://sentry.io:0",
        "https://sentry.io:65536",
        "https://sentry.io:",
        "https://sentry.io:٤٤٣",
        "https://[::1",
        "https://[fe80::1%25eth0]",
        "https://[1.2.3.4]",
        "https://127.1",
        "https://2130706433",
        "https://0x7f000001",
        "https://0177.0.0.1",
        "https://1.2.3.4.5",
        "https://256.1.1.1",
        "https://sentry.0x1",
        "https://" + "a" * 64 + ".example",
        "https://" + "a." * 200 + "example",
        "https://xn--\u0301.example",
        "https://sentry.io/" + "a" * 500,
    ],
)
def test_everything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Origin.parse(text)
    assert "secret" not in str(caught.value)


@given(st.one_of(st.text(max_size=60), st.text(max_size=40).map("https://".__add__), st.from_regex(r"https?://\S+")))
def test_whatever_parses_is_stable_and_has_no_odd_parts(text: str) -> None:
    try:
        origin = Origin.parse(text)
    except BadInput:
        return
    assert Origin.parse(origin.url) == origin
    assert origin.host.isascii()
    assert not set(origin.host) & set("@/\\?#% []")
    assert ".." not in origin.prefix


def origin(text: str) -> Origin:
    return Origin.parse(text)


@pytest.mark.parametrize(
    ("control", "region", "is_trusted"),
    [
        ("https://sentry.io", "https://sentry.io", True),
        ("https://sentry.io", "https://us.sentry.io", True),
        ("https://sentry.io", "https://a.b.sentry.io:8443", True),
        ("https://us.sentry.io", "https://sentry.io", True),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000", True),
        ("https://sentry.io", "http://us.sentry.io", False),
        ("https://sentry.io", "https://sentry.io.evil.example", False),
        ("https://sentry.io", "https://evilsentry.io", False),
        ("https://sentry.co.uk", "https://evil.co.uk", False),
        ("https://acme.github.io", "https://evil.github.io", False),
        ("https://10.0.0.1", "https://20.0.0.1", False),
        ("https://10.0.0.1", "https://10.0.0.1:8443", False),
        ("https://[2606:4700::1]", "https://[2606:4700::2]", False),
        ("https://sentry", "https://evil", False),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9001", False),
    ],
)
def test_a_region_must_be_equal_or_https_under_the_same_registrable_domain(
    control: str, region: str, is_trusted: bool
) -> None:
    assert region_is_trusted(origin(control), origin(region)) is is_trusted
