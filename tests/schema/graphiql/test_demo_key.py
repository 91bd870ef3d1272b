import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.schema.graphiql.demo_key import may_hand_out_key
from tests.graphql_http.small_graph import connect, make_app
from tests.scale import scaled
from tests.serving import free_port, serve

KEY = "the-demo-key"
Headers = list[tuple[bytes, bytes]]


def page_headers(host: str = "127.0.0.1:8000") -> Headers:
    """What a browser sends when the demo's own page asks."""
    return [
        (b"host", host.encode()),
        (b"origin", f"http://{host}".encode()),
        (b"sec-fetch-site", b"same-origin"),
        (b"content-type", b"application/json"),
    ]


def ask(
    headers: Headers, *, bound: str = "127.0.0.1", client: str | None = "127.0.0.1", target: bytes = b"/key"
) -> bool:
    return may_hand_out_key(bound_host=bound, bound_port=8000, client_host=client, target=target, headers=headers)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000"])
@pytest.mark.parametrize("bound", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_the_demos_own_page_gets_the_key(host: str, bound: str) -> None:
    assert ask(page_headers(host), bound=bound)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8000",
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:08000",
        "127.0.0.1:8000.",
        "127.0.0.1.:8000",
        "localhost.:8000",
        "LOCALHOST:8000",
        "localhost:8000 ",
        "localhost.evil.example:8000",
        "user@localhost:8000",
        "[::1]:8000",
        "[::ffff:127.0.0.1]:8000",
        "127.1:8000",
        "2130706433:8000",
        "0.0.0.0:8000",
        "127.0.0.1:8000, 127.0.0.1:8000",
        "",
    ],
)
def test_any_other_host_gets_none(host: str) -> None:
    assert not ask(page_headers(host))
    browser_elsewhere = [*page_headers()[1:], (b"host", host.encode())]
    assert not ask(browser_elsewhere)


@pytest.mark.parametrize(
    "bound", ["0.0.0.0", "::", "192.168.1.5", "8.8.8.8", "", "evil.example", "localhost.", "127.0.0.1 "]
)
def test_a_server_that_others_can_reach_gives_none(bound: str) -> None:
    assert not ask(page_headers(), bound=bound)


def test_a_client_of_another_machine_gets_none() -> None:
    assert not ask(page_headers(), client="192.168.1.5")


@pytest.mark.parametrize(
    "name",
    [
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-host",
        "cf-connecting-ip",
        "cf-ray",
        "true-client-ip",
        "cdn-loop",
        "fly-client-ip",
        "x-amzn-trace-id",
    ],
)
def test_anything_between_browser_and_server_means_none(name: str) -> None:
    assert not ask([*page_headers(), (name.encode(), b"127.0.0.1")])


@pytest.mark.parametrize("target", [b"http://127.0.0.1:8000/key", b"http://evil.example:8000/key", b"", b"*", b"key"])
def test_only_the_origin_form_of_a_request_counts(target: bytes) -> None:
    assert not ask(page_headers(), target=target)


@pytest.mark.parametrize("missing", [b"host", b"origin", b"sec-fetch-site"])
def test_each_of_the_browsers_words_is_needed_exactly_once(missing: bytes) -> None:
    headers = page_headers()
    assert not ask([header for header in headers if header[0] != missing])
    assert not ask([*headers, *(header for header in headers if header[0] == missing)])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"sec-fetch-site", b"same-site"),
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"none"),
        (b"origin", b"null"),
        (b"origin", b"http://localhost:8000"),
        (b"origin", b"https://127.0.0.1:8000"),
        (b"origin", b"http://evil.example:8000"),
    ],
)
def test_the_page_must_be_of_the_same_origin(name: bytes, value: bytes) -> None:
    headers = [(known, value if known == name else kept) for known, kept in page_headers()]
    assert not ask(headers)


@settings(max_examples=scaled(test=300, soak=20_000))
@given(
    host=st.text(alphabet="localhst127.0:8[]@evil ,\t", max_size=20), site=st.sampled_from(["same-origin", "none", "x"])
)
def test_no_other_host_is_taken_for_ours(host: str, site: str) -> None:
    headers = page_headers(host)
    headers[2] = (b"sec-fetch-site", site.encode())
    assert ask(headers) == (host in {"localhost:8000", "127.0.0.1:8000"} and site == "same-origin")


async def test_the_route_says_where_to_look() -> None:
    async with connect(make_app(graphiql=True, demo_key=KEY), tenant=None) as client:
        refused = await client.post("/graphql/demo-key")
        got = await client.get("/graphql/demo-key")
    assert (refused.status_code, refused.headers["cache-control"]) == (403, "no-store")
    assert "http://127.0.0.1:8000/graphql" in refused.json()["errors"][0]["extensions"]["cure"]
    assert got.status_code == 405


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_over_real_sockets_only_the_own_host_gets_the_key(http: str) -> None:
    port = free_port()
    own = f"127.0.0.1:{port}"

    def send(target: str, *hosts: str, origin: str | None = None) -> bytes:
        lines = [f"POST {target} HTTP/1.1", *(f"Host: {host}" for host in hosts), "Content-Length: 0"]
        lines += [f"Origin: http://{origin or hosts[0]}", "Sec-Fetch-Site: same-origin", "Connection: close", "", ""]
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall("\r\n".join(lines).encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return answer

    with serve(make_app(graphiql=True, demo_key=KEY, port=port), port=port, http=http):
        path = "/graphql/demo-key"
        assert KEY.encode() in send(path, own)
        assert KEY.encode() in send(path, f"localhost:{port}")
        for target, hosts in (
            (path, ("evil.example:8000",)),
            (path, (f"evil.example:{port}",)),
            (path, (own, "evil.example")),
            (path, ("evil.example", own)),
            (path, (own, own)),
            (path, (f"[::1]:{port}",)),
            (path, (f"localhost.:{port}",)),
            (f"http://evil.example:{port}{path}", (f"evil.example:{port}",)),
        ):
            assert KEY.encode() not in send(target, *hosts), (target, hosts)
            assert KEY.encode() not in send(target, *hosts, origin=own), (target, hosts)
