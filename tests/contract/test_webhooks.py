"""What is told by webhooks: of issues, comments and errors to an integration, and of errors to service hooks.

On a real server an internal integration is made for the tests, and removed; an unresolved issue is changed, and left
unresolved and unassigned. ``SENTRY_TEST_SEND_EVENT`` is a command that sends an error to the project of ``SENTRY_DSN``,
with a message as its last argument: ``sentry-cli send-event -m`` does. Without it, nothing is said about errors.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_INTERNAL_APP
from tests.contract.hook_shapes import SERVICE_HOOK, SERVICE_HOOK_POST
from tests.contract.receiver import receiving
from tests.contract.server import Server
from tests.contract.shapes import describe_mismatch
from tests.contract.webhooks import Listener, integrated, signature


@pytest.fixture
def listener(request: pytest.FixtureRequest, server: Server) -> Iterator[Listener]:
    with receiving() as receiver:
        if request.node.callspec.params["server"] == "real":
            with integrated(request.getfixturevalue("real_bench"), receiver) as found:
                yield found
            return
        sandbox: Sandbox = request.getfixturevalue("sandbox")
        sandbox.register_redirects(oauth=[], install="", webhook=None, internal_webhook=receiver.url)
        app = sandbox.world.find_app(DEMO_INTERNAL_APP.slug)
        assert app
        yield Listener(
            server, receiver, app.client_secret, app.installations[0].uuid, lambda project: _occur(sandbox, project)
        )


def _occur(sandbox: Sandbox, project: str) -> None:
    sandbox.record_event(project, value="the contract's")


@pytest.fixture
def issue(server: Server, listener: Listener) -> Iterator[dict[str, Any]]:
    """An unresolved issue that nobody is assigned to, of a server that may be written to: it has a listener."""
    rows = server.rows(server.organization_path("issues/"), project="-1", limit=1, query="is:unresolved assigned:none")
    if not rows:
        pytest.skip("the server has no unresolved issue that nobody is assigned to")
    yield rows[0]
    change(server, rows[0], status="unresolved", assignedTo="")


def change(server: Server, issue: dict[str, Any], **changes: Any) -> None:
    response = server.ask(server.organization_path(f"issues/{issue['id']}/"), method="PUT", json=changes)
    assert response.status_code == 200, response.text


def test_what_becomes_of_an_issue_is_told(server: Server, listener: Listener, issue: dict[str, Any]) -> None:
    project = server.ask(f"projects/{server.organization}/{issue['project']['slug']}/").json()
    team = project["teams"][0]
    change(server, issue, status="unresolved", assignedTo="")
    change(server, issue, status="resolved")
    resolved = listener.hear("issue", "resolved").payload
    assert resolved["data"]["resolution_type"] == "now"
    assert (resolved["data"]["issue"]["id"], resolved["data"]["issue"]["status"]) == (issue["id"], "resolved")
    assert resolved["actor"]["type"] == "user"
    change(server, issue, status="unresolved")
    if server.manner == "latest":
        assert listener.hear("issue", "unresolved").payload["data"]["issue"]["status"] == "unresolved"
    change(server, issue, status="ignored", substatus="archived_until_escalating")
    archived = listener.hear("issue", "ignored" if server.manner == "23.7" else "archived").payload
    assert archived["data"]["issue"]["substatus"] == "archived_until_escalating"
    change(server, issue, assignedTo=f"team:{team['id']}")
    assigned = listener.hear("issue", "assigned").payload
    assert assigned["data"]["assignee"] == {"type": "team", "id": int(team["id"]), "name": team["name"]}


def test_an_issue_resolved_in_the_next_release(server: Server, listener: Listener, issue: dict[str, Any]) -> None:
    change(server, issue, status="resolved", statusDetails={"inNextRelease": True})
    assert listener.hear("issue", "resolved").payload["data"]["resolution_type"] == "in_next_release"


def test_many_are_told_one_by_one(server: Server, listener: Listener) -> None:
    rows = server.rows(server.organization_path("issues/"), project="-1", limit=3)
    if len(rows) < 3:
        pytest.skip("the server has no three unresolved issues")
    wanted = sorted(row["id"] for row in rows)
    given = {"id": wanted, "project": "-1"}
    path = server.organization_path("issues/")
    assert server.ask(path, method="PUT", params=given, json={"status": "resolved"}).status_code == 200
    told = [listener.hear("issue", "resolved").payload["data"]["issue"]["id"] for _ in wanted]
    assert server.ask(path, method="PUT", params=given, json={"status": "unresolved"}).status_code == 200
    assert sorted(told) == wanted


def test_only_resolving_is_told_whether_it_changes_anything_or_not(
    server: Server, listener: Listener, issue: dict[str, Any]
) -> None:
    change(server, issue, status="ignored")
    listener.hear("issue", "ignored" if server.manner == "23.7" else "archived")
    change(server, issue, status="ignored")
    change(server, issue, status="unresolved")
    change(server, issue, status="unresolved", assignedTo="")
    change(server, issue, status="resolved")
    change(server, issue, status="resolved")
    listener.hear("issue", "resolved")
    listener.hear("issue", "resolved")
    number = write(server, issue, secrets.token_hex(8))
    assert listener.hear("comment", "created").payload["data"]["comment_id"] == int(number)
    assert not [hook.payload["action"] for hook in listener.unheard]


def write(server: Server, issue: dict[str, Any], text: str) -> str:
    path = server.organization_path(f"issues/{issue['id']}/comments/")
    response = server.ask(path, method="POST", json={"text": text})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_comments_are_told(server: Server, listener: Listener, issue: dict[str, Any]) -> None:
    text = secrets.token_hex(8)
    number = write(server, issue, text)
    data = listener.hear("comment", "created").payload["data"]
    assert data == {
        "comment_id": int(number),
        "issue_id": int(issue["id"]),
        "project_slug": issue["project"]["slug"],
        "timestamp": data["timestamp"],
        "comment": text,
    }
    again = server.ask(server.organization_path(f"issues/{issue['id']}/comments/"), method="POST", json={"text": text})
    assert (again.status_code, json.loads(again.json())) == (400, {"detail": "You have already posted that comment."})
    path = server.organization_path(f"issues/{issue['id']}/comments/{number}/")
    assert server.ask(path, method="PUT", json={"text": "found"}).status_code == 200
    assert listener.hear("comment", "updated").payload["data"]["comment"] == "found"
    assert server.ask(path, method="DELETE").status_code == 204
    assert listener.hear("comment", "deleted").payload["data"]["comment_id"] == int(number)


def test_errors_are_told_and_so_is_a_new_issue(server: Server, listener: Listener, issue: dict[str, Any]) -> None:
    listener.occur(issue["project"]["slug"])
    error = listener.hear("error", "created").payload
    created = listener.hear("issue", "created").payload
    assert error["actor"] == created["actor"] == {"type": "application", "id": "sentry", "name": "Sentry"}
    assert error["data"]["error"]["issue_id"] == created["data"]["issue"]["id"]
    assert error["data"]["error"]["project"] == int(issue["project"]["id"])
    assert created["data"]["issue"]["substatus"] == "new"


def test_service_hooks_are_made_by_the_api_and_hear_of_errors(
    server: Server, listener: Listener, issue: dict[str, Any]
) -> None:
    path = f"projects/{server.organization}/{issue['project']['slug']}/hooks/"
    with receiving() as own:
        made = server.ask(path, method="POST", json={"url": own.url, "events": ["event.created", "event.alert"]})
        if made.status_code == 403:
            pytest.skip("this server has no service hooks")
        assert made.status_code == 201, made.text
        hook = made.json()
        try:
            assert not describe_mismatch(hook, SERVICE_HOOK, server.manner)
            assert hook in server.rows(path)
            listener.occur(issue["project"]["slug"])
            post = own.hooks.get(timeout=5)
        finally:
            assert server.ask(f"{path}{hook['id']}/", method="DELETE").status_code == 204
        assert post.headers["X-ServiceHook-GUID"] == hook["id"]
        assert post.headers["X-ServiceHook-Signature"] == signature(hook["secret"], post.body)
        assert int(post.headers["X-ServiceHook-Timestamp"]) > 0
        assert not describe_mismatch(post.payload["group"], SERVICE_HOOK_POST.always["group"], server.manner)
        assert not describe_mismatch(post.payload, SERVICE_HOOK_POST, "latest")
        assert post.payload["project"]["slug"] == issue["project"]["slug"]


def test_a_service_hook_waits_for_nothing_unknown(server: Server, issue: dict[str, Any]) -> None:
    path = f"projects/{server.organization}/{issue['project']['slug']}/hooks/"
    refused = server.ask(path, method="POST", json={"url": "http://127.0.0.1:9199/", "events": ["issue.created"]})
    if refused.status_code == 403:
        pytest.skip("this server has no service hooks")
    assert (refused.status_code, refused.json()) == (400, {"events": ["Invalid event name: issue.created"]})
