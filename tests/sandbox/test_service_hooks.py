"""Service hooks: made by the API, told of events and alerts, and signed with secrets of their own."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.sandbox.app import Sandbox
from service.sandbox.deliveries import sign
from service.sandbox.world import DEMO_TOKENS
from tests.sandbox.conftest import client_of
from tests.sandbox.hearing import Ear, Heard, listening

HOOKS = "projects/lumen-labs/checkout/hooks/"


@pytest.fixture
def ear() -> Iterator[Ear]:
    with listening() as found:
        yield found


async def make(client: httpx.AsyncClient, ear: Ear, *events: str) -> dict[str, Any]:
    response = await client.post(HOOKS, json={"url": ear.url, "events": list(events)})
    assert response.status_code == 201
    found: dict[str, Any] = response.json()
    return found


def is_of(heard: Heard, hook: dict[str, Any]) -> bool:
    """Whether a post is that hook's, and signed."""
    headers = heard.headers
    return headers["X-ServiceHook-GUID"] == hook["id"] and headers["X-ServiceHook-Signature"] == sign(
        hook["secret"], heard.body
    )


async def test_a_hook_is_made_shown_and_removed(client: httpx.AsyncClient, ear: Ear) -> None:
    made = await make(client, ear, "event.created", "event.alert")
    assert made["events"] == ["event.alert", "event.created"]
    assert (len(made["secret"]), made["status"]) == (64, "active")
    assert (await client.get(HOOKS)).json() == [made]
    assert (await client.get(f"{HOOKS}{made['id']}/")).json() == made
    assert (await client.delete(f"{HOOKS}{made['id']}/")).status_code == 204
    assert (await client.delete(f"{HOOKS}{made['id']}/")).status_code == 404
    assert (await client.get(HOOKS)).json() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "no address"}, "url"),
        ({"url": "http://a.example/", "events": ["issue.created"]}, "events"),
        ({"url": "http://a.example/", "events": "event.alert"}, "events"),
    ],
)
async def test_what_is_wrong_is_said(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    response = await client.post(HOOKS, json=body)
    assert response.status_code == 400
    assert list(response.json()) == [field]


async def test_only_who_may_write_to_a_project_makes_hooks(app: Sandbox, ear: Ear) -> None:
    for token in (DEMO_TOKENS.limited, DEMO_TOKENS.internal):
        async with client_of(app, token) as client:
            assert (await client.post(HOOKS, json={"url": ear.url})).status_code == 403


async def test_hooks_hear_of_what_they_wait_for(app: Sandbox, client: httpx.AsyncClient, ear: Ear) -> None:
    waits_for_events = await make(client, ear, "event.created")
    made = app.record_event("checkout")
    post = ear.next()
    assert is_of(post, waits_for_events)
    assert post.payload["project"] == {"slug": "checkout", "name": "Checkout"}
    assert post.payload["group"]["id"] == str(made.issue.id)
    assert post.payload["event"]["eventID"] == made.event.id
    assert "Sentry-Hook-Resource" not in post.headers
    waits_for_alerts = await make(client, ear, "event.alert")
    app.fire_issue_alert(made.issue.id)
    assert is_of(ear.next(), waits_for_alerts)
    app.record_event("checkout", rules=["Any"])
    both = [ear.next(), ear.next()]
    assert {one.headers["X-ServiceHook-GUID"] for one in both} == {waits_for_events["id"], waits_for_alerts["id"]}
    app.record_event("search")
    assert app.webhooks.wait()
    assert [delivery.action for delivery in app.deliveries] == ["event.created", "event.alert"] * 2


async def test_a_hook_is_tried_again_when_nobody_answers_and_not_after_a_refusal(
    app: Sandbox, client: httpx.AsyncClient, ear: Ear
) -> None:
    app.webhooks.retry_wait = 0.01
    await make(client, ear, "event.created")
    ear.answers = [500]
    app.record_event("checkout")
    assert app.webhooks.wait()
    assert [attempt.status for attempt in app.deliveries[0].attempts] == [500]
    await client.post(HOOKS, json={"url": "http://127.0.0.1:9/", "events": ["event.created"]})
    app.record_event("checkout")
    assert app.webhooks.wait()
    assert [len(delivery.attempts) for delivery in app.deliveries] == [1, 1, 6]
    app.reset()
    assert app.webhooks.retry_wait == 300
