import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.errors import EgressRefused
from service.sentry.dialling import AddressInfo
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.transport import create_transport
from tests.sentry.addresses import FORBIDDEN, PRIVATE, PUBLIC
from tests.sentry.upstream import Request, answer, serve


class Resolver:
    """Gives out one list of answers after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[AddressInfo]:
        self.asked.append(host)
        answers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        families = {False: socket.AF_INET, True: socket.AF_INET6}
        return [(families[":" in one], socket.SOCK_STREAM, 0, "", (one, port)) for one in answers]


class Recorder:
    """Notes what would be dialled, and dials nothing."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    def __call__(self, address: AddressInfo) -> socket.socket:
        self.dialled.append(address[4][0])
        raise OSError("recorded, not dialled")


async def call(transport: httpx.AsyncBaseTransport, url: str, **given: object) -> httpx.Response:
    request = httpx.Request("GET", url, **given)  # type: ignore[arg-type]  # passed on
    response = await transport.handle_async_request(request)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    response.read_body = b"".join([data async for data in response.stream])  # type: ignore[attr-defined]
    await response.stream.aclose()
    return response


async def dial_each(addresses: Sequence[str], *, beside: Sequence[str] = ()) -> tuple[list[str], list[type[Exception]]]:
    """Call one name after the other; each has its address. What was dialled, and how each call ended."""
    resolver, recorder = Resolver(*([*beside, address] for address in addresses)), Recorder()
    transport = create_transport(EgressPolicy(), limit=1, resolve=resolver, open_socket=recorder)
    ends: list[type[Exception]] = []
    for number in range(len(addresses)):
        with pytest.raises((EgressRefused, httpx.ConnectError)) as caught:
            await call(transport, f"https://host-{number}.example/")
        ends.append(caught.type)
    await transport.aclose()
    return recorder.dialled, ends


async def test_public_addresses_are_dialled_as_they_were_resolved() -> None:
    assert await dial_each(PUBLIC) == (PUBLIC, [httpx.ConnectError] * len(PUBLIC))


async def test_all_other_addresses_are_refused_before_a_socket_is_made() -> None:
    rows = [*PRIVATE, *FORBIDDEN]
    assert await dial_each(rows) == ([], [EgressRefused] * len(rows))
    assert await dial_each(rows, beside=["8.8.8.8"]) == ([], [EgressRefused] * len(rows))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]"])
async def test_an_address_in_the_url_does_not_pass_by_not_being_resolved(host: str) -> None:
    recorder, resolver = Recorder(), Resolver(["8.8.8.8"])
    transport = create_transport(EgressPolicy(), limit=1, resolve=resolver, open_socket=recorder)
    with pytest.raises(EgressRefused):
        await call(transport, f"https://{host}/")
    assert recorder.dialled == resolver.asked == []
    await transport.aclose()


async def test_a_name_server_that_flips_its_answer_gains_nothing() -> None:
    async with serve(answer(headers={"Connection": "close"})) as upstream:
        resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
        policy = EgressPolicy([Origin("http", "sentry.test", upstream.port, "")])
        recorder = Recorder()
        transport = create_transport(policy, limit=1, resolve=resolver)
        assert (await call(transport, f"http://sentry.test:{upstream.port}/")).status_code == 200
        assert resolver.asked == ["sentry.test"]  # once for the check and the dialling
        await transport.aclose()

        flipped = create_transport(policy, limit=1, resolve=resolver, open_socket=recorder)
        with pytest.raises(EgressRefused):
            await call(flipped, f"http://sentry.test:{upstream.port}/")
        assert recorder.dialled == []
        await flipped.aclose()


async def test_an_address_that_no_name_was_checked_for_is_refused_at_the_socket() -> None:
    """As if the connector dialled another address than it was given."""

    class Lying(Resolver):
        async def __call__(self, host: str, port: int) -> Sequence[AddressInfo]:
            return Shifty(await super().__call__(host, port))

    class Shifty(list[AddressInfo]):
        reads = 0

        def __iter__(self) -> Iterator[AddressInfo]:
            self.reads += 1
            for family, kind, protocol, name, (host, port, *_) in super().__iter__():
                yield family, kind, protocol, name, ("127.0.0.1" if self.reads > 1 else host, port)

    recorder = Recorder()
    transport = create_transport(EgressPolicy(), limit=1, resolve=Lying(["8.8.8.8", "1.1.1.1"]), open_socket=recorder)
    with pytest.raises(EgressRefused):
        await call(transport, "https://sentry.example/")
    assert recorder.dialled == []
    await transport.aclose()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("is_cross", [False, True])
async def test_redirects_are_handed_back(status: int, is_cross: bool) -> None:
    async with serve(answer()) as decoy, serve(b"") as upstream:
        target = decoy.origin if is_cross else upstream.origin

        async def redirect(_request: Request, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(status=f"{status} X", headers={"Location": f"{target.url}/stolen"}))

        upstream.behave = redirect
        transport = create_transport(EgressPolicy([upstream.origin, decoy.origin]), limit=1)
        response = await call(transport, f"{upstream.origin.url}/", headers={"Authorization": "Bearer x"})
        assert response.status_code == status
        assert len(upstream.requests) == 1
        assert decoy.requests == []
        await transport.aclose()


async def test_cookies_are_not_kept() -> None:
    async with serve(answer(headers={"Set-Cookie": "session=1; Path=/"})) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=1)
        for _ in range(2):
            await call(transport, f"{upstream.origin.url}/")
        assert "cookie" not in dict(upstream.requests[1].headers)
        await transport.aclose()


async def test_proxies_of_the_environment_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(answer()) as decoy, serve(answer()) as upstream:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, decoy.origin.url)
        transport = create_transport(EgressPolicy([upstream.origin]), limit=1)
        await call(transport, f"{upstream.origin.url}/")
        assert (len(upstream.requests), len(decoy.requests)) == (1, 0)
        await transport.aclose()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_lost_request_is_not_repeated_by_the_machinery_below(method: str) -> None:
    async def cut(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serve(cut) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=1)
        with pytest.raises(httpx.ReadError):
            await transport.handle_async_request(httpx.Request(method, f"{upstream.origin.url}/", content=b"x"))
        assert len(upstream.requests) == 1
        await transport.aclose()


async def close_unannounced(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(answer())
    await writer.drain()
    writer.close()


async def test_a_read_that_meets_a_closed_connection_gets_a_new_one() -> None:
    async with serve(close_unannounced) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=5)

        async def read_on() -> None:
            for _ in range(20):
                assert (await call(transport, f"{upstream.origin.url}/")).status_code == 200

        await asyncio.gather(*(read_on() for _ in range(10)))
        await transport.aclose()


async def test_a_read_whose_connection_is_lost_time_and_again_is_repeated_once() -> None:
    async with serve(answer()) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=1)
        await call(transport, f"{upstream.origin.url}/")

        async def cut(_request: Request, writer: asyncio.StreamWriter) -> None:
            writer.close()

        upstream.behave = cut
        for asked in (3, 4):  # the first meets what may be an idle connection's end; from then on all are new
            with pytest.raises(httpx.ReadError):
                await call(transport, f"{upstream.origin.url}/")
            assert len(upstream.requests) == asked
        await transport.aclose()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_never_meets_an_idle_connection(method: str) -> None:
    async with serve(answer()) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=5)
        await call(transport, f"{upstream.origin.url}/")
        for _ in range(3):
            request = httpx.Request(method, f"{upstream.origin.url}/", content=b"x")
            response = await transport.handle_async_request(request)
            await response.aread()
        assert upstream.connections == 4
        await call(transport, f"{upstream.origin.url}/")
        assert upstream.connections == 4
        await transport.aclose()


async def test_a_brief_connection_takes_no_more_than_it_may() -> None:
    async def flood(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 2**16)
            await writer.drain()

    async with serve(flood) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=1, most_bytes=1000)
        response = await transport.handle_async_request(httpx.Request("POST", f"{upstream.origin}/"))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        taken = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                async for data in response.stream:
                    taken += len(data)
        await response.stream.aclose()
        await transport.aclose()
    assert taken == 1000 - len(b"HTTP/1.1 200 OK\r\n\r\n")


async def test_nobody_listening_is_a_connect_error() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        origin = Origin("http", "127.0.0.1", reserved.getsockname()[1], "")
        transport = create_transport(EgressPolicy([origin]), limit=1)
        with pytest.raises(httpx.ConnectError):
            await call(transport, f"{origin.url}/")
        await transport.aclose()


async def test_an_address_that_does_not_answer_in_time_is_a_connect_timeout() -> None:
    def give_up(_address: AddressInfo) -> socket.socket:
        raise TimeoutError

    transport = create_transport(EgressPolicy(), limit=1, resolve=Resolver(["8.8.8.8"]), open_socket=give_up)
    with pytest.raises(httpx.ConnectTimeout):
        await call(transport, "https://sentry.example/")
    await transport.aclose()


async def test_a_name_without_an_address_is_a_connect_error() -> None:
    async def find_nothing(host: str, port: int) -> Sequence[AddressInfo]:
        raise OSError(None, f"no address for {host}:{port}")

    transport = create_transport(EgressPolicy(), limit=1, resolve=find_nothing)
    with pytest.raises(httpx.ConnectError):
        await call(transport, "https://sentry.example/")
    await transport.aclose()


async def test_a_body_cannot_be_read_once_closed() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    async with serve(head) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=1)
        response = await transport.handle_async_request(httpx.Request("GET", f"{upstream.origin.url}/"))
        await response.aclose()
        assert isinstance(response.stream, httpx.AsyncByteStream)
        with pytest.raises(httpx.ReadError):
            await anext(aiter(response.stream))
        await transport.aclose()


async def test_a_closed_transport_that_was_never_used_closes() -> None:
    await create_transport(EgressPolicy(), limit=1).aclose()


async def test_a_body_that_iterates_is_sent_in_chunks_or_with_the_length_it_was_given() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    async with serve(answer()) as upstream:
        transport = create_transport(EgressPolicy([upstream.origin]), limit=1)
        for headers in ({}, {"Content-Length": "3"}):
            request = httpx.Request("POST", f"{upstream.origin.url}/", content=body(), headers=headers)
            await transport.handle_async_request(request)
        assert [request.body for request in upstream.requests] == [b"abc", b"abc"]
        assert dict(upstream.requests[0].headers)["transfer-encoding"] == "chunked"
        assert dict(upstream.requests[1].headers)["content-length"] == "3"
        await transport.aclose()


def write_certificate(directory: Path, name: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context


@pytest.mark.parametrize(
    ("certified", "is_trusted"), [("sentry.test", True), ("other.test", True), ("sentry.test", False)]
)
async def test_tls_verifies_the_name_not_the_address(
    certified: str, is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = write_certificate(tmp_path, certified)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(headers={"Connection": "close"}))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    policy = EgressPolicy([Origin("https", "sentry.test", port, "")])
    transport = create_transport(policy, limit=1, resolve=Resolver(["127.0.0.1"]))
    try:
        if certified == "sentry.test" and is_trusted:
            assert (await call(transport, f"https://sentry.test:{port}/")).status_code == 200
        else:
            with pytest.raises(httpx.ConnectError):
                await call(transport, f"https://sentry.test:{port}/")
    finally:
        await transport.aclose()
        server.close()


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("whole", [2**20, 0])
def test_large_bodies_come_as_they_were_sent_over_one_connection(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    scheme: str,
    whole: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = write_certificate(tmp_path, "sentry.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    bodies = [random.Random(number).randbytes(size) for number, size in enumerate((300_000, 2**19, 9, 2**20, 0))]
    connections = 0

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for body in bodies:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(send, "127.0.0.1", 0, ssl=context if scheme == "https" else None)
        port = server.sockets[0].getsockname()[1]
        policy = EgressPolicy([Origin(scheme, "sentry.test", port, "")])
        transport = create_transport(policy, limit=1, resolve=Resolver(["127.0.0.1"]))
        try:
            for body in bodies:
                got = await call(transport, f"{scheme}://sentry.test:{port}/", extensions={"whole": whole})
                assert got.read_body == body  # type: ignore[attr-defined]
            assert connections == 1
        finally:
            await transport.aclose()
            server.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
