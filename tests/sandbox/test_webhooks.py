"""Who is told of what, by whom, in which words; the shapes are in ``test_hook_shapes``, sending in ``test_sending``."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_APP, DEMO_INTERNAL_APP, DEMO_TOKENS
from tests.sandbox.conftest import client_of
from tests.sandbox.hearing import Ear, listening
from tests.sandbox.linking import linker_of

ISSUE = "organizations/lumen-labs/issues/1/"


@pytest.fixture
def ear() -> Iterator[Ear]:
    with listening() as found:
        yield found


@pytest.fixture
def told(app: Sandbox, ear: Ear) -> Ear:
    """The internal integration's ear."""
    app.register_redirects(oauth=[], install="http://service.example/", webhook=None, internal_webhook=ear.url)
    return ear


@pytest.fixture
def both(app: Sandbox, ear: Ear) -> Ear:
    """The ear of the internal integration and of the public app, which is installed."""
    app.grant_installation()
    app.register_redirects(oauth=[], install="http://service.example/", webhook=ear.url, internal_webhook=ear.url)
    return ear


def pick(app: Sandbox) -> dict[str, str]:
    """Assignees of the first issue: a person and a team of its project's."""
    place = app.world.organizations[0]
    project = place.issues[1].project
    person = next(m.user for m in place.members if m.user and set(m.teams) & set(project.team_ids))
    return {"person": f"user:{person.id}", "team": f"team:{project.team_ids[0]}", "name": person.name}


async def change(client: httpx.AsyncClient, *changes: dict[str, Any], path: str = ISSUE) -> None:
    for body in changes:
        assert (await client.put(path, json=body)).status_code == 200


async def test_every_change_of_an_issue_is_told(app: Sandbox, client: httpx.AsyncClient, told: Ear) -> None:
    chosen = pick(app)
    await change(client, {"status": "resolved"})
    resolved = told.next()
    assert resolved.name == "issue.resolved"
    assert resolved.is_signed_by(DEMO_INTERNAL_APP.client_secret)
    assert resolved.payload["data"]["resolution_type"] == "now"
    assert resolved.payload["data"]["issue"]["status"] == "resolved"
    assert resolved.payload["actor"] == {"type": "user", "id": 7, "name": "Mara Quill"}
    await change(client, {"status": "unresolved"})
    assert told.next().name == "issue.unresolved"
    await change(client, {"status": "ignored", "substatus": "archived_forever"})
    archived = told.next()
    assert (archived.name, archived.payload["data"]["issue"]["substatus"]) == ("issue.archived", "archived_forever")
    await change(client, {"assignedTo": chosen["person"]})
    assert told.next().payload["data"]["assignee"]["name"] == chosen["name"]
    await change(client, {"assignedTo": chosen["team"]})
    assert told.next().payload["data"]["assignee"]["type"] == "team"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "resolvedInNextRelease"}, "in_next_release"),
        ({"status": "resolved", "statusDetails": {"inNextRelease": True}}, "in_next_release"),
        ({"status": "resolved", "statusDetails": {"inRelease": "latest"}}, "in_release"),
        ({"status": "resolved", "statusDetails": {"inCommit": {"commit": "c", "repository": "r"}}}, "in_commit"),
    ],
)
async def test_how_an_issue_was_resolved_is_told(
    client: httpx.AsyncClient, told: Ear, body: dict[str, Any], kind: str
) -> None:
    await change(client, body)
    assert told.next().payload["data"]["resolution_type"] == kind


async def test_what_is_as_it_was_is_not_told(app: Sandbox, client: httpx.AsyncClient, told: Ear) -> None:
    chosen = pick(app)
    await change(client, {"status": "ignored", "assignedTo": chosen["team"]}, {"status": "ignored"})
    await change(client, {"assignedTo": chosen["team"]}, {"priority": "high"}, {"assignedTo": ""}, {})
    await change(client, {"status": "unresolved"}, {"status": "unresolved"})
    assert sorted(told.names(2)) == ["issue.archived", "issue.assigned"]
    assert (await client.put(ISSUE, json={"status": "broken"})).status_code == 400
    assert app.webhooks.wait()
    assert len(app.deliveries) == 2


async def test_resolving_is_told_however_often_it_is_done(client: httpx.AsyncClient, told: Ear) -> None:
    await change(client, {"status": "resolved"}, {"status": "resolved"})
    assert told.names(2) == ["issue.resolved"] * 2


async def test_of_many_all_are_told_to_be_archived_if_one_was_not(client: httpx.AsyncClient, told: Ear) -> None:
    path = "organizations/lumen-labs/issues/?id=1&id=2"
    await change(client, {"status": "ignored"})
    await change(client, {"status": "ignored"}, {"status": "ignored"}, path=path)
    await change(client, {"status": "resolved"})
    assert sorted(told.names(4)) == ["issue.archived"] * 3 + ["issue.resolved"]


async def test_an_old_server_archives_by_another_name_and_is_silent_on_unresolving(
    app: Sandbox, client: httpx.AsyncClient, told: Ear
) -> None:
    app.manner = "23.7"
    await change(client, {"status": "resolved"}, {"status": "unresolved"}, {"status": "ignored"})
    heard = {one.name: one.payload for one in (told.next(), told.next())}
    assert sorted(heard) == ["issue.ignored", "issue.resolved"]
    assert "web_url" not in heard["issue.ignored"]["data"]["issue"]


async def test_a_change_of_many_is_told_one_by_one(client: httpx.AsyncClient, told: Ear) -> None:
    await change(client, {"status": "ignored"}, path="organizations/lumen-labs/issues/?id=1&id=2&id=3&project=-1")
    heard = [told.next().payload["data"]["issue"]["id"] for _ in range(3)]
    assert sorted(heard) == ["1", "2", "3"]


async def test_comments_are_told_from_the_first_to_the_last(client: httpx.AsyncClient, told: Ear) -> None:
    made = (await client.post(f"{ISSUE}comments/", json={"text": "looking"})).json()
    path = f"{ISSUE}comments/{made['id']}/"
    assert (await client.put(path, json={"text": "found"})).json()["data"] == {"text": "found"}
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    heard = [told.next() for _ in range(3)]
    said = {one.name: one.payload["data"]["comment"] for one in heard}
    assert said == {"comment.created": "looking", "comment.updated": "found", "comment.deleted": "found"}
    assert {one.payload["data"]["comment_id"] for one in heard} == {int(made["id"])}


async def test_of_an_apps_change_every_app_hears_that_it_was_itself(app: Sandbox, both: Ear) -> None:
    linker = linker_of(app)
    token = linker.installations[0].token
    assert token
    async with client_of(app, token.value) as client:
        await change(client, {"status": "resolved"})
    heard = {one.payload["installation"]["uuid"]: one for one in (both.next(), both.next())}
    for slug in (DEMO_APP.slug, DEMO_INTERNAL_APP.slug):
        found = app.world.find_app(slug)
        assert found
        one = heard[found.installations[0].uuid]
        assert one.payload["actor"] == {"type": "application", "id": found.uuid, "name": found.name}
        assert one.is_signed_by(found.client_secret)


async def test_only_those_who_may_hear_are_told(app: Sandbox, client: httpx.AsyncClient, both: Ear) -> None:
    linker, internal = linker_of(app), app.world.find_app(DEMO_INTERNAL_APP.slug)
    assert internal
    mine = linker.installations[0].uuid
    internal.scopes -= {"event:read"}
    await change(client, {"status": "resolved"})
    internal.scopes |= {"event:read"}
    internal.events = frozenset({"comment"})
    await change(client, {"status": "unresolved"})
    linker.installations[0].status = "pending"
    internal.events = frozenset()
    await change(client, {"status": "resolved"})
    linker.installations[0].status = "installed"
    await change(client, {"status": "ignored"})
    await change(client, {"status": "resolved"}, path="organizations/northwind-rail/issues/241/")
    assert app.webhooks.wait()
    assert [(d.action, d.payload["installation"]["uuid"]) for d in app.deliveries] == [
        ("resolved", mine),
        ("unresolved", mine),
        ("archived", mine),
    ]


async def test_who_reads_nothing_changes_nothing(app: Sandbox, told: Ear) -> None:
    async with client_of(app, DEMO_TOKENS.limited) as client:
        assert (await client.put(ISSUE, json={"status": "resolved"})).status_code == 403
    assert app.deliveries == []
