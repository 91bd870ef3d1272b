import re
from urllib.parse import unquote_to_bytes, urlsplit

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import BadInput, PathRefused
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath, build_url
from tests.scale import scaled

ORIGIN = Origin("https", "sentry.io", 443, "")
PREFIXED = Origin("http", "sentry.internal", 9000, "/errors")


@pytest.mark.parametrize(
    "text",
    ["/api/0/organizations/x/", "api/0/organizations/x", "organizations/x/", "/organizations/x", "%6frganizations/x"],
)
def test_spellings_of_one_path_are_equal(text: str) -> None:
    path = ApiPath.parse(text)
    assert path == ApiPath.of("organizations", "x")
    assert path.text == "organizations/x/"


@pytest.mark.parametrize("text", ["", "/", "/api/0", "/api/0/"])
def test_the_root_is_a_path(text: str) -> None:
    assert build_url(ORIGIN, ApiPath.parse(text)) == "https://sentry.io/api/0/"


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/",
        "//evil.example/",
        "HTTPS:/evil.example",
        "javascript:alert(1)",
        "organizations//members/",
        "organizations/../../x",
        "organizations/./x",
        "organizations/%2e%2e/x",
        "organizations/.%2E/x",
        "organizations/..;/x",
        "organizations/%2e%2e;a=b/x",
        "organizations/%252e%252e/x",
        "organizations/a%2fb/",
        "organizations/a%5cb/",
        "organizations/a%252fb/",
        "organizations/a\\b/",
        "organizations/a%00b/",
        "organizations/a%0d%0ab/",
        "organizations/a\r\nb/",
        "organizations/a\x7fb/",
        "organizations/\u2028/",
        "organizations/\ud800/",
        "organizations/%c0%ae/",
        "organizations/%ff/",
        "organizations/x/?a=b",
        "organizations/x/#a",
        "/api/0//organizations/",
        " organizations/\t",
        "a" * 2001,
    ],
)
def test_what_a_server_could_read_differently_is_refused(text: str) -> None:
    with pytest.raises(PathRefused):
        ApiPath.parse(text)


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a\\b", "a\nb", "a%2fb", "..;x", ";x"])
def test_values_that_are_no_segment_are_refused(value: str) -> None:
    with pytest.raises(PathRefused):
        ApiPath.of("organizations", value)


@pytest.mark.parametrize(
    ("version", "sent"),
    [
        ("web@1.0", "web%401.0"),
        ("a?b#c", "a%3Fb%23c"),
        ("1.0 (x)", "1.0%20%28x%29"),
        ("ü:1", "%C3%BC%3A1"),
        ("5%", "5%25"),
    ],
)
def test_values_are_encoded_whole(version: str, sent: str) -> None:
    path = ApiPath.of("organizations", "acme", "releases", version)
    assert path.text == f"organizations/acme/releases/{sent}/"
    assert ApiPath.parse(path.text) == path


def test_scim_has_no_slash_at_its_end() -> None:
    assert ApiPath.parse("organizations/acme/scim/v2/Users/").text == "organizations/acme/scim/v2/Users"


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("", ""),
        ("organizations/", "organizations/"),
        ("organizations/acme/members/12/", "organizations/{}/members/{}/"),
        ("organizations/members/members/members/", "organizations/{}/members/members/"),
        ("projects/acme/issues/issues/", "projects/{}/{}/issues/"),
        ("teams/acme/backend/members/", "teams/{}/{}/members/"),
        ("users/me/regions/", "users/{}/regions/"),
        ("anything/else/", "{}/{}/"),
    ],
)
def test_templates_leave_names_out(text: str, template: str) -> None:
    assert ApiPath.parse(text).template == template


def test_urls_are_built_below_the_origin() -> None:
    path = ApiPath.of("organizations", "acme", "members")
    assert (
        build_url(PREFIXED, path, [("query", "email:a b&c"), ("query", "ü")])
        == "http://sentry.internal:9000/errors/api/0/organizations/acme/members/?query=email%3Aa+b%26c&query=%C3%BC"
    )


def test_a_query_must_be_text() -> None:
    with pytest.raises(BadInput):
        build_url(ORIGIN, ApiPath.of("organizations"), [("query", "\ud800")])


def test_a_url_must_fit_a_request_line() -> None:
    with pytest.raises(BadInput):
        build_url(ORIGIN, ApiPath.of("organizations"), [("query", "a" * 8000)])


def test_a_path_that_evades_the_checks_is_caught_before_it_is_sent() -> None:
    with pytest.raises(PathRefused):
        build_url(Origin("https", "sentry.io/", 443, ""), ApiPath(("x",)))


TROUBLE = (
    r".. . %2e %2E %252e / // \ %2f %252f %5c %25 % %00 %0d%0a @ : ? # ; %c0%ae %u002e [ ] %zz ~ * https:// "
    "javascript: api 0 organizations acme evil.example x é"
)
PIECES = st.sampled_from([*TROUBLE.split(), " ", "\t", "\r\n", "\x7f", "\u2024", "\uff0f"])
HOSTILE = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60)


def leaves_the_api(url: str, origin: Origin) -> bool:
    """A decoder of its own: whether any server, decoding as often as it likes, could read the URL as another place."""
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}{origin.prefix}" != origin.url or parts.query or parts.fragment:
        return True
    if httpx.URL(url).host != origin.host:
        return True
    below = f"{origin.prefix}/api/0/".encode()
    raw = parts.path.encode("ascii")
    for _ in range(5):
        if not raw.startswith(below) or re.search(rb"[\x00-\x1f\x7f\\]", raw) or b"//" in raw:
            return True
        if any(segment.partition(b";")[0] in {b".", b".."} for segment in raw.split(b"/")):
            return True
        slashes = raw.count(b"/")
        raw = unquote_to_bytes(raw)
        if raw.count(b"/") != slashes:
            return True
    return False


@settings(max_examples=scaled(test=2000, soak=20000), deadline=None)
@given(HOSTILE)
@example("organizations/%2e%2e%2f%2e%2e/")
@example("/api/0/../../evil")
def test_no_hostile_path_leaves_the_api(text: str) -> None:
    for origin in (ORIGIN, PREFIXED):
        try:
            url = build_url(origin, ApiPath.parse(text))
        except BadInput:
            continue
        assert not leaves_the_api(url, origin), url


def test_the_oracle_would_notice() -> None:
    for path in ("../x", "a/%2e%2e/x", "a%2fb", "a%252fb", "a//b", "a%5cb", "..;/x"):
        assert leaves_the_api(f"https://sentry.io/api/0/{path}", ORIGIN), path
    assert leaves_the_api("https://evil.example/api/0/x", ORIGIN)
    assert not leaves_the_api("https://sentry.io/api/0/organizations/a%40b/", ORIGIN)


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6))
def test_segments_survive_the_way_there_and_back(segments: list[str]) -> None:
    try:
        path = ApiPath.of(*segments)
    except PathRefused:
        return
    sent = urlsplit(build_url(ORIGIN, path)).path.removeprefix("/api/0/").removesuffix("/")
    assert tuple(unquote_to_bytes(part).decode() for part in sent.split("/")) == path.segments
