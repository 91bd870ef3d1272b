"""The webhooks' structure, key by key and type by type, held against what a real server sends."""

from collections.abc import Iterator

import httpx
import pytest

from service.sandbox.app import Sandbox
from service.sandbox.world import Manner
from tests.contract.hook_shapes import NEW_ISSUE, SERVICE_HOOK, SERVICE_HOOK_POST, shape_of
from tests.contract.shapes import describe_mismatch
from tests.sandbox.hearing import Ear, listening

ISSUE = "organizations/lumen-labs/issues/1/"


@pytest.fixture(params=["23.7", "latest"])
def manner(app: Sandbox, request: pytest.FixtureRequest) -> Manner:
    app.manner = request.param
    return app.manner


@pytest.fixture
def told(app: Sandbox) -> Iterator[Ear]:
    with listening() as ear:
        app.register_redirects(oauth=[], install="http://service.example/", webhook=None, internal_webhook=ear.url)
        yield ear


async def make_everything_happen(app: Sandbox, client: httpx.AsyncClient) -> None:
    """One webhook of each name at least; some of the same name differ in their data."""
    place = app.world.organizations[0]
    team_ids = place.issues[1].project.team_ids
    person = next(m.user for m in place.members if m.user and set(m.teams) & set(team_ids))
    for change in (
        {"status": "resolved"},
        {"status": "unresolved"},
        {"status": "ignored"},
        {"status": "resolved", "statusDetails": {"inNextRelease": True}},
        {"status": "unresolved"},
        {"status": "resolved", "statusDetails": {"inRelease": "latest"}},
        {"assignedTo": f"team:{team_ids[0]}"},
        {"assignedTo": f"user:{person.id}"},
    ):
        assert (await client.put(ISSUE, json=change)).status_code == 200
    comment = (await client.post(f"{ISSUE}comments/", json={"text": "one"})).json()["id"]
    await client.put(f"{ISSUE}comments/{comment}/", json={"text": "two"})
    await client.delete(f"{ISSUE}comments/{comment}/")
    app.record_event("search", value="new", rules=["A rule"])
    app.fire_issue_alert(2)
    app.fire_metric_alert("critical")
    app.fire_metric_alert("warning")
    app.fire_metric_alert("resolved")


async def test_every_webhook_has_the_structure_that_was_seen(
    app: Sandbox, client: httpx.AsyncClient, manner: Manner, told: Ear
) -> None:
    await make_everything_happen(app, client)
    assert app.webhooks.wait()
    names = set()
    for delivery in app.deliveries:
        name = f"{delivery.resource}.{delivery.action}"
        names.add(name)
        assert not describe_mismatch(delivery.payload, shape_of(name), manner), name
    only_of = {"23.7": {"issue.ignored"}, "latest": {"issue.archived", "issue.unresolved"}}
    assert (
        names
        == {
            "issue.created",
            "issue.resolved",
            "issue.assigned",
            "error.created",
            "comment.created",
            "comment.updated",
            "comment.deleted",
            "event_alert.triggered",
            "metric_alert.critical",
            "metric_alert.warning",
            "metric_alert.resolved",
        }
        | only_of[manner]
    )


async def test_what_newer_servers_add(app: Sandbox, client: httpx.AsyncClient, told: Ear) -> None:
    await client.put(ISSUE, json={"status": "resolved"})
    issue = told.next().payload["data"]["issue"]
    assert not describe_mismatch(issue, NEW_ISSUE, "latest")
    assert issue["url"].endswith("/api/0/organizations/lumen-labs/issues/1/")
    assert issue["web_url"].endswith("/organizations/lumen-labs/issues/1/")
    assert issue["project_url"].endswith(f"/organizations/lumen-labs/issues/?project={issue['project']['id']}")
    app.record_event("search", value="new")
    heard = {one.name: one.payload["data"] for one in (told.next(), told.next())}
    assert heard["issue.created"]["issue"]["firstSeen"].endswith("+00:00")
    assert "/organizations/lumen-labs/issues/" in heard["error.created"]["error"]["issue_url"]


async def test_headers_are_those_that_were_seen(app: Sandbox, client: httpx.AsyncClient, told: Ear) -> None:
    await client.put(ISSUE, json={"status": "resolved"})
    heard = told.next()
    assert app.webhooks.wait()
    assert {name.lower() for name in heard.headers} == {
        "host",
        "user-agent",
        "accept-encoding",
        "accept",
        "content-type",
        "request-id",
        "sentry-hook-resource",
        "sentry-hook-timestamp",
        "sentry-hook-signature",
        "content-length",
    }
    assert heard.headers["Content-Type"] == "application/json"
    assert len(heard.headers["Request-ID"]) == 32
    assert int(heard.headers["Sentry-Hook-Timestamp"]) == int(app.deliveries[0].attempts[0].at)


async def test_service_hooks_have_the_structure_that_was_seen(
    app: Sandbox, client: httpx.AsyncClient, manner: Manner, told: Ear
) -> None:
    body = {"url": told.url, "events": ["event.created"]}
    made = (await client.post("projects/lumen-labs/search/hooks/", json=body)).json()
    assert not describe_mismatch(made, SERVICE_HOOK, manner)
    app.record_event("search", value="new")
    assert app.webhooks.wait()
    (post,) = [delivery.payload for delivery in app.deliveries if delivery.resource == "service_hook"]
    assert not describe_mismatch(post["group"], SERVICE_HOOK_POST.always["group"], manner)
    assert not describe_mismatch(post, SERVICE_HOOK_POST, "latest")
