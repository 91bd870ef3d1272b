import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from service.errors import UpstreamInvalid
from service.sentry import reads
from tests.sentry.upstream import Behave, Request, account_of, answer, client_for, json_answer, serve


def listing(items: list[dict[str, Any]], size: int = 2) -> Behave:
    """A list in Sentry's pages: cursors are offsets, both links are always there."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        asked = parse_qs(urlsplit(request.line.split(" ")[1]).query)
        start = int(asked.get("cursor", ["0:0:0"])[0].split(":")[1])
        link = ", ".join(
            f'<https://elsewhere.example/?cursor=0:{offset}:{back}>; rel="{rel}"; results="{found}"; '
            f'cursor="0:{offset}:{back}"'
            for rel, offset, back, found in (
                ("previous", max(start - size, 0), 1, "true" if start else "false"),
                ("next", start + size, 0, "true" if start + size < len(items) else "false"),
            )
        )
        writer.write(json_answer(items[start : start + size], headers={"Link": link}))

    return behave


def asked(request: Request) -> tuple[str, dict[str, list[str]]]:
    parts = urlsplit(request.line.split(" ")[1])
    return parts.path, parse_qs(parts.query)


ITEMS = [{"id": str(number), "slug": f"s{number}", "odd": [number, {"x": None}]} for number in range(5)]


async def test_a_page_knows_its_neighbours_and_keeps_its_body_untouched() -> None:
    async with serve(listing(ITEMS)) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin)
        first = await reads.fetch_members(client, account, query="email:a email:b")
        assert [member.id for member in first.items] == ["0", "1"]
        assert json.loads(first.body) == ITEMS[:2]
        assert (first.page_cursor, first.previous_cursor, first.next_cursor) == (None, None, "0:2:0")
        second = await reads.fetch_members(client, account, cursor=first.next_cursor)
        assert (second.page_cursor, second.previous_cursor, second.next_cursor) == ("0:2:0", "0:0:1", "0:4:0")
        assert [asked(request) for request in upstream.requests] == [
            ("/api/0/organizations/acme/members/", {"query": ["email:a email:b"], "per_page": ["100"]}),
            ("/api/0/organizations/acme/members/", {"per_page": ["100"], "cursor": ["0:2:0"]}),
        ]


async def test_a_teams_members_have_a_path_of_their_own() -> None:
    async with serve(listing(ITEMS)) as upstream, client_for(upstream.origin) as client:
        await reads.fetch_members(client, account_of(upstream.origin), team="core")
        assert asked(upstream.requests[0])[0] == "/api/0/teams/acme/core/members/"


async def test_whole_lists_are_walked_to_their_end() -> None:
    async with serve(listing(ITEMS)) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin)
        assert [team.id for team in await reads.fetch_teams(client, account)] == ["0", "1", "2", "3", "4"]
        assert len(upstream.requests) == 3
        assert [project.slug for project in await reads.fetch_projects(client, account)][-1] == "s4"
        assert len(await reads.fetch_organizations(client, account)) == 5
        assert {asked(request)[0] for request in upstream.requests} == {
            "/api/0/organizations/acme/teams/",
            "/api/0/organizations/acme/projects/",
            "/api/0/organizations/",
        }


async def test_a_list_without_an_end_is_an_error() -> None:
    endless = json_answer(ITEMS[:1], headers={"Link": '<u>; rel="next"; results="true"; cursor="0:1:0"'})
    async with serve(endless) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamInvalid):
            await reads.fetch_teams(client, account_of(upstream.origin))
        assert len(upstream.requests) <= 101


async def test_a_member_comes_as_the_untouched_json() -> None:
    body = b'{"id": "3", "teams": ["core"], "odd": 1.50}'
    async with serve(answer(body)) as upstream, client_for(upstream.origin) as client:
        assert await reads.fetch_member_detail(client, account_of(upstream.origin), "3") == body
        assert asked(upstream.requests[0])[0] == "/api/0/organizations/acme/members/3/"


async def test_single_reads() -> None:
    answers = {
        "/api/0/": {"version": "0", "auth": {"scopes": ["org:read"]}, "user": {"id": "3", "isActive": True}},
        "/api/0/organizations/acme/members/me/": {"id": "7", "user": {"id": "3"}, "orgRole": "owner", "teams": []},
        "/api/0/organizations/acme/": {"id": "2", "slug": "acme"},
        "/api/0/users/me/regions/": {"regions": [{"name": "us", "url": "https://us.sentry.io"}]},
        "/api/0/sentry-app-installations/u-1/": {"uuid": "u-1", "app": {"slug": "a"}, "organization": {"slug": "acme"}},
    }

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(json_answer(answers[asked(request)[0]]))

    async with serve(behave) as control, serve(behave) as api, client_for(control.origin, api.origin) as client:
        account = account_of(api.origin, control=control.origin)
        root = await reads.fetch_root(client, account)
        assert root.auth is not None
        assert root.auth.scopes == ["org:read"]
        assert root.user is not None
        assert (root.user.id, root.user.is_active) == ("3", True)
        assert (await reads.fetch_organization(client, account)).id == "2"
        assert [region.url for region in await reads.fetch_regions(client, account)] == ["https://us.sentry.io"]
        assert (await reads.fetch_installation(client, account, "u-1")).organization.slug == "acme"
        me = await reads.fetch_me(client, account)
        assert (me.id, me.org_role, me.user and me.user.id) == ("7", "owner", "3")
        assert [asked(request)[0] for request in api.requests] == [
            "/api/0/organizations/acme/",
            "/api/0/organizations/acme/members/me/",
        ]
        assert len(control.requests) == 3
