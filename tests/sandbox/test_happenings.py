"""What happens without a call of the API, in this process and through the control endpoint."""

from collections.abc import Iterator

import httpx
import pytest

from service.sandbox.app import Sandbox
from tests.sandbox.hearing import Ear, listening

O = "organizations/lumen-labs/"  # noqa: E741 - as the paths of the other tests are shortened
CONTROL = "http://sandbox/__sandbox__/"


@pytest.fixture
def told(app: Sandbox) -> Iterator[Ear]:
    with listening() as ear:
        app.register_redirects(oauth=[], install="http://service.example/", webhook=None, internal_webhook=ear.url)
        yield ear


async def test_a_new_error_is_an_issue_and_another_like_it_adds_to_it(
    app: Sandbox, client: httpx.AsyncClient, told: Ear
) -> None:
    first = app.record_event("search", kind="OSError", value="disk full", tags={"customer": "c1"})
    heard = {one.name: one.payload for one in (told.next(), told.next())}
    assert set(heard) == {"error.created", "issue.created"}
    assert heard["issue.created"]["data"]["issue"]["substatus"] == "new"
    assert heard["issue.created"]["actor"] == {"type": "application", "id": "sentry", "name": "Sentry"}
    assert heard["error.created"]["data"]["error"]["event_id"] == first.event.id
    assert heard["error.created"]["data"]["error"]["issue_id"] == str(first.issue.id)
    again = app.record_event("search", kind="OSError", value="disk full", environment="staging")
    assert (again.is_new, again.issue) == (False, first.issue)
    assert told.next().payload["data"]["error"]["environment"] == "staging"
    listed = (await client.get(f"{O}issues/", params={"project": "-1", "sort": "new"})).json()
    assert (listed[0]["id"], listed[0]["count"], listed[0]["shortId"]) == (
        str(first.issue.id),
        "2",
        first.issue.short_id,
    )
    events = (await client.get(f"{O}issues/{first.issue.id}/events/")).json()
    assert [event["eventID"] for event in events] == [again.event.id, first.event.id]
    assert (await client.get(f"{O}eventids/{first.event.id}/")).json()["groupId"] == str(first.issue.id)


async def test_events_of_an_old_issue_come_before_those_it_had(app: Sandbox, client: httpx.AsyncClient) -> None:
    before = (await client.get(f"{O}issues/2/events/")).json()
    made = app.record_event(issue=2)
    after = (await client.get(f"{O}issues/2/events/")).json()
    assert after[0]["eventID"] == made.event.id
    assert [e["eventID"] for e in after[1:5]] == [e["eventID"] for e in before[:4]]
    dates = [event["dateCreated"] for event in after]
    assert dates == sorted(dates, reverse=True)


async def test_a_resolved_issue_comes_back(app: Sandbox, client: httpx.AsyncClient, told: Ear) -> None:
    await client.put(f"{O}issues/1/", json={"status": "resolved"})
    told.next()
    app.record_event(issue=1)
    heard = {one.name: one.payload for one in (told.next(), told.next())}
    back = heard["issue.unresolved"]
    assert back["data"]["issue"]["substatus"] == "regressed"
    assert back["actor"]["id"] == "sentry"


async def test_alerts_fire(app: Sandbox, told: Ear) -> None:
    app.fire_issue_alert(1, "Too slow", settings=[{"name": "channel", "value": "#general"}])
    fired = told.next()
    assert fired.name == "event_alert.triggered"
    assert fired.payload["data"]["triggered_rule"] == "Too slow"
    assert fired.payload["data"]["issue_alert"]["title"] == "Too slow"
    app.record_event(issue=1, rules=["First", "Second"])
    assert sorted(told.names(3)) == ["error.created", "event_alert.triggered", "event_alert.triggered"]
    opened = app.fire_metric_alert("critical")
    assert app.fire_metric_alert("warning") is opened
    app.fire_metric_alert("resolved")
    assert sorted(told.names(3)) == ["metric_alert.critical", "metric_alert.resolved", "metric_alert.warning"]
    assert app.fire_metric_alert("warning") is not opened
    assert told.next().payload["data"]["metric_alert"]["identifier"] == "2"
    app.fire_issue_alert(1, apps=["graph-linker"])
    app.fire_metric_alert(apps=[])
    assert app.webhooks.wait()
    assert len(app.deliveries) == 8


async def test_the_legacy_plugin_posts_unsigned(app: Sandbox, told: Ear) -> None:
    project = app.world.organizations[0].issues[1].project
    app.set_plugin([told.url], project.slug)
    app.fire_issue_alert(1, "New", apps=[])
    post = told.next()
    assert post.payload["triggering_rules"] == ["New"]
    assert post.payload["project_slug"] == project.slug
    assert not [name for name in post.headers if "signature" in name.lower()]


async def test_what_is_unknown_is_refused(app: Sandbox) -> None:
    for happens in (
        lambda: app.record_event("no-such"),
        lambda: app.record_event(organization="no-such"),
        lambda: app.record_event(issue=10**9),
        lambda: app.fire_issue_alert(10**9),
        lambda: app.fire_metric_alert(project="no-such"),
        lambda: app.set_plugin([], "no-such"),
    ):
        with pytest.raises(KeyError):
            happens()


async def test_another_process_makes_things_happen(app: Sandbox, client: httpx.AsyncClient, told: Ear) -> None:
    made = (await client.post(f"{CONTROL}events/", json={"project": "search", "value": "new", "rules": ["R"]})).json()
    assert made["isNew"]
    again = (await client.post(f"{CONTROL}events/", json={"issue": int(made["issueId"])})).json()
    assert again["isNew"] is False
    body = {"issue": int(made["issueId"]), "rule": "Again"}
    assert (await client.post(f"{CONTROL}issue-alerts/", json=body)).status_code == 204
    assert (await client.post(f"{CONTROL}metric-alerts/", json={"action": "warning"})).json()["identifier"] == "1"
    assert (await client.put(f"{CONTROL}plugin/", json={"urls": [told.url]})).status_code == 204
    assert (await client.post(f"{CONTROL}events/", json={"project": "no-such"})).status_code == 404
    assert (await client.post(f"{CONTROL}events/", json={"projct": "search"})).status_code == 400
    assert sorted(told.names(6)) == [
        "error.created",
        "error.created",
        "event_alert.triggered",
        "event_alert.triggered",
        "issue.created",
        "metric_alert.warning",
    ]
    assert app.webhooks.wait()
    rows = (await client.get(f"{CONTROL}deliveries/")).json()
    assert {(row["state"], row["status"]) for row in rows} == {("delivered", 204)}
    assert len(rows) == 6
    assert (await client.post(f"{CONTROL}reset/")).status_code == 204
    assert (await client.get(f"{CONTROL}deliveries/")).json() == []
    assert (await client.get(f"{O}issues/{made['issueId']}/")).status_code == 404
