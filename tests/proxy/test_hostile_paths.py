from dataclasses import dataclass
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.errors import BadInput, Constrained
from service.proxy.engine import ProxyRequest
from service.sentry.methods import METHODS
from tests.proxy.conftest import UPSTREAM, Linked
from tests.proxy.recording import Recorder, json_response
from tests.scale import scaled

PROJECTS = [{"id": "3", "slug": "web"}]
WORDS = """
    organizations projects teams issues groups acme 2 small web 3 other 7 events members keys tags releases api 0
    api-tokens sentry-apps hooks users me internal {organization} {project}
    """.split()  # noqa: SIM905  (as a list literal it is not for reading)
ATTACKS = [
    *("..", ".", "...", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..;", "..;x=1", "%2e%2e%2f", "%2f", "%5c", "\\", ""),
    *("..\\..", "%c0%ae%c0%ae", "%u002e", "\u2024\u2024", "\uff0e\uff0e", "\uff0f", "%ef%bc%8f", "%00", "\r\n", "\t"),
    *("%0d%0aHost:%20evil", "?", "#", "%3f", "%23", "@evil.example", "http:", "https:", "//evil.example", ";", "%"),
    *("evil.example:443", "%zz", "\ud800", "\u202e", "\u00a0", "~", "*", "a" * 300),
]
STARTS = [
    *("", "/", "//", "https://evil.example/", "//evil.example/", "/api/0/", "http:/", "\\\\evil.example\\", "/api/0//"),
    *(
        "organizations/acme/",
        "/api/0/organizations/{organization}/",
        "projects/acme/web/",
        "javascript:",
        " https://e/",
    ),
]
SEGMENTS = st.sampled_from(WORDS) | st.sampled_from(ATTACKS) | st.text(max_size=6)
HOSTILE = st.builds(
    lambda start, pairs, end: start + "".join(map("".join, pairs)) + end,
    st.sampled_from(STARTS),
    st.lists(st.tuples(SEGMENTS, st.sampled_from(["/", "/", "/", "//", "\\", "%2f", ""])), max_size=8),
    st.sampled_from(["", "/", "?x=1", "#x", "%00"]),
)
GOOD_STARTS = [
    "organizations/acme/",
    "/api/0/organizations/{organization}/",
    "projects/2/web/",
    "teams/acme/",
    "issues/",
]
GOOD = st.builds(
    lambda start, words: start + "/".join(words),
    st.sampled_from(GOOD_STARTS),
    st.lists(st.sampled_from(WORDS), max_size=4),
)
PIERCED = st.builds(
    lambda path, place, attack: path[: place % (len(path) + 1)] + attack + path[place % (len(path) + 1) :],
    GOOD,
    st.integers(min_value=0, max_value=80),
    st.sampled_from(ATTACKS) | st.text(max_size=3),
)
PATHS = HOSTILE | GOOD | PIERCED
QUERIES = st.lists(
    st.tuples(st.sampled_from(["query", "project", "cursor", "&x", "a=b"]) | st.text(max_size=4), st.text(max_size=6)),
    max_size=2,
)


def decode_for_good(text: str) -> str:
    """The other decoder: what a server or proxy that decodes as often as it can would read."""
    while (decoded := unquote(text, errors="replace")) != text:
        text = decoded
    return text.replace("\\", "/")


def check_target(url: httpx.URL, *, is_limited: bool) -> None:
    assert str(url).startswith(UPSTREAM + "/api/0/")
    assert (url.scheme, url.host, url.port, url.userinfo, url.fragment) == ("https", "sentry.test", None, b"", "")
    read = decode_for_good(url.raw_path.partition(b"?")[0].decode("ascii"))
    segments = read.removeprefix("/api/0/").rstrip("/").split("/")
    assert not {"", ".", ".."} & {segment.partition(";")[0] for segment in segments}
    assert segments[0] in {"organizations", "projects", "teams"}
    assert segments[1] == "acme"
    if is_limited:
        match segments:
            case ["projects", _, project, *_] | ["organizations", _, "projects", project, *_]:
                assert project == "web"
            case _:
                is_one_issue = segments[0] == "organizations" and segments[2] == "issues" and len(segments) > 3
                assert is_one_issue or url.params.get_list("project") == ["3"]


@dataclass(frozen=True, slots=True)
class Hostile:
    """A connection to all of an organization, another to one project of it, and what they sent."""

    recorder: Recorder
    free: Linked
    limited: Linked


@pytest.fixture
async def hostile(link) -> Hostile:
    async def answer(_: httpx.Request) -> httpx.Response:
        return json_response(200, b'{"project": {"id": "3"}}')

    recorder = Recorder(answer)
    return Hostile(recorder, await link(recorder), await link(recorder, projects=PROJECTS))


@settings(
    max_examples=scaled(test=2000, soak=20_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(path=PATHS, method=st.sampled_from(sorted(METHODS)), query=QUERIES, is_limited=st.booleans())
@example(path="organizations/acme/members", method="GET", query=[], is_limited=False)
@example(path="https://evil.example/api/0/organizations/acme/", method="GET", query=[], is_limited=False)
@example(path="organizations/acme/../../users/me", method="GET", query=[], is_limited=False)
async def test_no_path_takes_the_credential_elsewhere(hostile, path, method, query, is_limited):
    linked = hostile.limited if is_limited else hostile.free
    hostile.recorder.requests.clear()
    try:
        await linked.engine.call(linked.caller, linked.connection.id, ProxyRequest(method, path, query))
    except (BadInput, Constrained):
        assert hostile.recorder.requests == []
    else:
        assert hostile.recorder.requests
    for request in hostile.recorder.requests:
        check_target(request.url, is_limited=is_limited)


@pytest.mark.parametrize("path", ["organizations/acme/members/", "projects/acme/web/events/", "issues/7/tags/a%20b/"])
async def test_the_fuzz_reaches_the_upstream_with_paths_that_pass(hostile, path):
    await hostile.free.engine.call(hostile.free.caller, hostile.free.connection.id, ProxyRequest("GET", path))
    [request] = hostile.recorder.requests
    check_target(request.url, is_limited=False)
