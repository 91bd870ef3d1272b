"""A Sentry of the visitor's own, named on the link page: what it can make the service read, ask, wait for and keep."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.connections.linking import LinkRequest
from service.errors import Conflict, UpstreamTimeout
from service.link.pending import open_pending
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS, write_organization_token
from tests.connections.upstream import ROOT, organization
from tests.link.conftest import LinkSite, Person, build_site
from tests.tcp import answering

TOKEN = "sntryu_" + "5f0c9a3b1d2e4f60" * 4


class Hostile:
    """Answers what each test wants, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {"/api/0/": ROOT}
        self.is_slow = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split()[1].decode().partition("?")[0]
            self.asked.append(path)
            if self.is_slow:
                await asyncio.sleep(0.1)
            found = self.answers.get(path)
            body = json.dumps({"detail": "no"} if found is None else found).encode()
            link = ""
            if path == "/api/0/organizations/":  # always another page
                cursor = f"0:{len(self.asked)}:0"
                link = f'Link: <http://x/?cursor={cursor}>; rel="next"; results="true"; cursor="{cursor}"\r\n'
            status = "404 Not Found" if found is None else "200 OK"
            kind = "Content-Type: application/json\r\n"
            writer.write(f"HTTP/1.1 {status}\r\n{kind}{link}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()


@pytest.fixture
async def hostile() -> AsyncIterator[tuple[Hostile, str]]:
    server = Hostile()
    async with answering(server.answer) as port:
        yield server, f"http://127.0.0.1:{port}"


@pytest.fixture
async def site(
    tmp_path: Path, sandbox: Sandbox, sqlite_url: str, hostile: tuple[Hostile, str]
) -> AsyncIterator[LinkSite]:
    async for built in build_site(tmp_path, sandbox, sqlite_url, egress=(hostile[1],), upstream_max_bytes=2**16):
        yield built


async def paste(site: LinkSite, address: str) -> tuple[Person, str]:
    record = await site.invite(origin=None)
    person = site.person()
    await person.start(record)
    page = await person.act("token", {"token": TOKEN, "origin": "other", "address": address})
    return person, page.text


async def test_a_list_of_large_pages_is_not_read_to_its_end(site: LinkSite, hostile: tuple[Hostile, str]) -> None:
    """A hundred pages, each as large as one answer may be, would fill the memory."""
    server, address = hostile
    server.answers["/api/0/organizations/"] = [organization(f"{n:0200}", None) for n in range(100)]
    _, page = await paste(site, address)
    assert 'data-problem="sentry_unavailable"' in page, page
    assert server.asked.count("/api/0/organizations/") in range(2, 10)


async def test_a_slow_walk_has_an_end(site: LinkSite, hostile: tuple[Hostile, str]) -> None:
    """Each call keeps its deadline, and a hundred in a row would take half an hour."""
    server, address = hostile
    server.answers["/api/0/organizations/"] = [organization("acme", None)]
    server.is_slow = True
    site.runtime.services.linker._seconds = 0.5
    _, page = await paste(site, address)
    assert 'data-problem="sentry_unavailable"' in page, page
    assert UpstreamTimeout("Sentry answers too slowly.").message in page
    assert len(server.asked) < 10


async def test_what_it_says_is_kept_only_as_far_as_it_can_be_meant(
    site: LinkSite, hostile: tuple[Hostile, str]
) -> None:
    """The row is read with each question of the status, which anybody with the address may ask."""
    server, address = hostile
    scopes = ["org:read", "x" * 5000, "a b", "\0", *(f"scope:{n}" for n in range(1000))]
    server.answers["/api/0/"] = ROOT | {"auth": {"scopes": scopes}}
    server.answers["/api/0/organizations/acme/"] = organization("acme", None) | {"name": "A" * 30_000}
    record = await site.invite(origin=None, organization="acme")
    person = site.person()
    await person.start(record)
    page = await person.act("token", {"token": TOKEN, "origin": "other", "address": address})
    assert 'data-page="projects"' in page.text, page.text
    pending = open_pending(site.vault, await site.reload(record))
    assert pending is not None
    assert pending.organizations is not None
    assert len(pending.organizations[0].name) == 200
    assert len(pending.scopes) == 200
    assert all(len(scope) < 64 and scope.isprintable() for scope in pending.scopes)


async def test_a_token_that_names_its_own_sentry_does_not_get_around_the_preset(
    site: LinkSite, hostile: tuple[Hostile, str]
) -> None:
    """An organization token says of itself where it belongs, and anybody can write one."""
    server, address = hostile
    record = await site.invite(origin="https://sentry.io", organization="acme")
    person = site.person()
    await person.start(record)
    page = await person.act("token", {"token": write_organization_token(address, "acme", "s" * 43)})
    assert 'data-problem="token_refused"' in page.text, page.text
    assert server.asked == []


@pytest.mark.parametrize("origin", ["https://sentry.io", "hostile"])
async def test_a_token_that_names_its_own_sentry_does_not_take_a_connection_there(
    site: LinkSite, hostile: tuple[Hostile, str], origin: str
) -> None:
    """An organization token knows no id, and every Sentry may have an organization of that slug."""
    _, address = hostile
    linker, token = site.runtime.services.linker, write_organization_token(address, "paper-boat", "s" * 43)
    wanted = LinkRequest(DEMO_TOKENS.admin, site.sandbox.url, organization="paper-boat", external_id="cust")
    linked = await linker.link(site.caller, wanted)
    forged = LinkRequest(token, address if origin == "hostile" else origin, external_id="cust")
    with pytest.raises(Conflict):
        await linker.link(site.caller, forged)
    found = await site.runtime.services.connections.get_linked(site.caller, linked.id, fresh=True)
    assert found.connection.control_origin == site.sandbox.url
