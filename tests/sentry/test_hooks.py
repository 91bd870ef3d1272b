"""What is read of webhooks: every kind that Sentry sends, contradictions, and whatever else may come."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadInput
from service.sentry.hooks import Hook, keep_headers, read_app_hook, read_plugin_post, read_service_hook

UUID = "7a485448-a9e2-4c85-8a3c-4f44175783c9"
OTHER = "07981384-8020-46b6-8f77-c11ef3db04c7"
API, WEB = "https://sentry.example/api/0/", "https://sentry.example/organizations/acme/"

ISSUE = {
    "id": "121",
    "shortId": "WEB-7",
    "level": "error",
    "status": "unresolved",
    "permalink": None,
    "project": {"id": "5", "name": "Web", "slug": "web", "platform": "python"},
}
ERROR = {
    "event_id": "88" * 16,
    "project": 5,
    "environment": "production",
    "level": "fatal",
    "issue_id": "121",
    "url": f"{API}projects/acme/web/events/{'88' * 16}/",
    "web_url": f"{WEB}issues/121/events/{'88' * 16}/",
    "tags": [["environment", "production"]],
}
OF_ERROR = {
    "organization": "acme",
    "issue_id": "121",
    "project_id": "5",
    "project_slug": "web",
    "environment": "production",
    "level": "fatal",
}
COMMENT = {"comment_id": 10, "issue_id": 121, "project_slug": "web", "timestamp": "2026-11-23T04:27:38Z", "comment": ""}
ALERT = {
    "metric_alert": {"id": "7", "projects": ["web"], "alert_rule": {"environment": "staging"}},
    "web_url": f"{WEB}alerts/rules/details/7/",
}
INSTALLATION = {"installation": {"uuid": UUID, "status": "pending", "code": "c0de" * 8, "app": {"slug": "linker"}}}
SEER = {"run_id": 4, "group_id": 121}
NOTHING = dict.fromkeys(
    ("organization", "issue_id", "project_id", "project_slug", "environment", "level", "sent_at", "request_id")
)


def app_body(data: Any = None, **changes: Any) -> bytes:
    envelope = {"action": "created", "installation": {"uuid": UUID}, "data": data, "actor": {"type": "user", "id": 1}}
    return json.dumps(envelope | changes).encode()


def app_hook(resource: str | None, data: Any = None, headers: dict[str, str] | None = None, **changes: Any) -> Hook:
    told = {} if resource is None else {"sentry-hook-resource": resource}
    return read_app_hook(told | (headers or {}), app_body(data, **changes))


def told(hook: Hook) -> dict[str, Any]:
    """What a webhook tells beside its type and installation."""
    return {name: value for name in NOTHING if (value := getattr(hook, name)) is not None}


@pytest.mark.parametrize(
    ("resource", "action", "data", "expected"),
    [
        (
            "issue",
            "resolved",
            {"issue": ISSUE},
            {"issue_id": "121", "project_id": "5", "project_slug": "web", "level": "error"},
        ),
        (
            "error",
            "created",
            {"error": ERROR},
            OF_ERROR,
        ),
        (
            "event_alert",
            "triggered",
            {"event": ERROR, "triggered_rule": "New issues"},
            OF_ERROR,
        ),
        ("comment", "updated", COMMENT, {"issue_id": "121", "project_slug": "web"}),
        ("metric_alert", "critical", ALERT, {"organization": "acme", "project_slug": "web", "environment": "staging"}),
        ("installation", "created", INSTALLATION, {}),
        ("seer", "root_cause_started", SEER, {"issue_id": "121"}),
        ("preprod_artifact", "size_analysis_completed", {"buildId": "x"}, {}),
    ],
)
def test_each_resource_of_the_integration_platform(
    resource: str, action: str, data: Any, expected: dict[str, str]
) -> None:
    hook = app_hook(resource, data, action=action)
    assert (hook.resource, hook.action, hook.installation_id) == (resource, action, UUID)
    assert told(hook) == expected
    assert not hook.is_uninstalled
    if resource not in {"seer", "preprod_artifact"}:
        assert app_hook(None, data, action=action) == hook  # the body says so, too


def test_headers_tell_when_and_by_which_request() -> None:
    headers = {"sentry-hook-timestamp": "1795407890", "request-id": "3e57374c" * 4}
    hook = app_hook("issue", {}, headers)
    assert hook.sent_at == datetime(2026, 11, 23, 4, 24, 50, tzinfo=UTC)
    assert hook.request_id == "3e57374c" * 4
    for odd in ("", "-1", "x", "9" * 11, "1.5", "\u0661"):
        assert app_hook("issue", {}, {"sentry-hook-timestamp": odd, "request-id": f"{odd} "}).sent_at is None


def test_only_a_signed_deletion_of_an_installation_uninstalls() -> None:
    assert app_hook("installation", INSTALLATION, action="deleted").is_uninstalled
    assert app_hook("installation", INSTALLATION, action="deleted", installation=None).is_uninstalled
    assert not app_hook("installation", INSTALLATION, action="Deleted").is_uninstalled
    # Forged headers on what somebody has signed.
    assert not app_hook("installation", {"thing": 1}, action="deleted").is_uninstalled
    for resource, data in (("installation", COMMENT), ("issue", INSTALLATION), ("new", INSTALLATION)):
        with pytest.raises(BadInput, match="header"):
            app_hook(resource, data, action="deleted")


@pytest.mark.parametrize("data", [{"issue": ISSUE}, {"error": ERROR}, COMMENT, ALERT, {"event": ERROR}])
def test_a_header_of_another_known_resource_is_a_contradiction(data: Any) -> None:
    refused = 0
    for resource in ("issue", "error", "comment", "metric_alert", "event_alert", "installation"):
        try:
            app_hook(resource, data)
        except BadInput:
            refused += 1
    assert refused == 5
    assert app_hook("activity_alert", data).resource == "activity_alert"  # a new one may carry what others do


def test_of_two_known_parts_the_header_says_which_is_meant() -> None:
    assert app_hook("event_alert", {"event": ERROR, "issue": ISSUE}).resource == "event_alert"


def test_two_installations_in_one_body_are_a_contradiction() -> None:
    with pytest.raises(BadInput, match="two installations"):
        app_hook("installation", INSTALLATION, installation={"uuid": OTHER})
    assert app_hook("installation", INSTALLATION, installation={"uuid": UUID.upper()}).installation_id == UUID


@pytest.mark.parametrize("installation", [None, [], {}, {"uuid": 7}, {"uuid": "x"}, {"uuid": f"{{{UUID}}}"}, UUID])
def test_what_is_no_installation_is_none(installation: Any) -> None:
    assert app_hook("issue", {"issue": ISSUE}, installation=installation).installation_id is None


@pytest.mark.parametrize("word", ["", " ", "a.b", "*", "x" * 65, "\0", "é", "a\n"])
def test_what_is_no_word_is_unknown(word: str) -> None:
    hook = app_hook(word, {}, action=word)
    assert (hook.resource, hook.action) == ("unknown", "unknown")


@pytest.mark.parametrize("action", [None, 5, [], {}])
def test_an_action_of_another_kind_is_unknown(action: Any) -> None:
    assert app_hook("issue", {"issue": ISSUE}, action=action).action == "unknown"


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"7", b"{", b"\xff", b'{"a":"\xff"}', b"[" * 100_000, b'{"a":1e999}', b"9" * 5000],
)
def test_what_is_no_object_tells_nothing(body: bytes) -> None:
    nothing = read_app_hook({"sentry-hook-resource": "issue"}, body)
    assert (nothing.resource, nothing.action, nothing.installation_id) == ("issue", "unknown", None)
    for hook in (nothing, read_service_hook({}, body), read_plugin_post({}, body)):
        assert (hook.action, told(hook)) == ("unknown", {})


@pytest.mark.parametrize("odd", [r'"half \ud83d"', "NaN", "-Infinity", "1e999", "9" * 5000, r'"\u0000"'])
def test_what_only_some_parsers_take_hides_nothing_beside_it(odd: str) -> None:
    """Python writes all of it, and errors hold whatever their programs make up."""
    body = json.dumps({"action": "created", "installation": {"uuid": UUID}, "data": {"error": ERROR | {"x": "?"}}})
    odd_body = body.replace('"?"', odd).encode()
    assert read_app_hook({}, odd_body) == read_app_hook({}, body.encode())
    assert read_app_hook({}, odd_body).installation_id == UUID
    event = json.dumps({"project": {"slug": "web"}, "event": {"x": "?"}})
    assert read_service_hook({}, event.replace('"?"', odd).encode()) == read_service_hook({}, event.encode())


@pytest.mark.parametrize(
    "change",
    [
        {"id": {}, "project": 7, "level": []},
        {"id": True, "project": {"id": -5, "slug": "a b"}, "level": "a b"},
        {"id": "12\0", "project": {"id": "x", "slug": "a/b"}, "level": ""},
        {"id": "1" * 21, "project": {"id": 1.5, "slug": "x" * 201}, "level": "\ud800"},
    ],
)
def test_odd_facts_are_left_out_each_by_itself(change: dict[str, Any]) -> None:
    assert told(app_hook("issue", {"issue": ISSUE | change})) == {}
    assert told(app_hook("issue", {"issue": ISSUE | change | {"id": 3}})) in ({"issue_id": "3"}, {})


@pytest.mark.parametrize("environment", ["", "a\nb", "x" * 201, 7, None, "\0"])
def test_an_environment_that_nobody_can_ask_for_is_none(environment: Any) -> None:
    assert app_hook("error", {"error": ERROR | {"environment": environment}}).environment is None


def test_a_metric_alert_of_several_projects_is_of_none() -> None:
    assert app_hook("metric_alert", {"metric_alert": {"projects": ["web", "api"]}}).project_slug is None


# --- service hooks ---


def service_hook(**changes: Any) -> Hook:
    event = {"eventID": "88" * 16, "groupID": "121", "tags": [{"key": "environment", "value": "production"}]}
    body = {"project": {"slug": "web", "name": "Web"}, "group": ISSUE | {"url": f"{WEB}issues/121/"}, "event": event}
    return read_service_hook({"x-servicehook-timestamp": "1795407890"}, json.dumps(body | changes).encode())


def test_a_service_hook() -> None:
    hook = service_hook()
    assert (hook.resource, hook.action, hook.installation_id) == ("event", "created", None)
    assert told(hook) == {
        "organization": "acme",
        "issue_id": "121",
        "project_id": "5",
        "project_slug": "web",
        "environment": "production",
        "level": "error",
        "sent_at": datetime(2026, 11, 23, 4, 24, 50, tzinfo=UTC),
    }


def test_a_service_hook_of_another_shape() -> None:
    assert service_hook(group=None, project=[]).issue_id == "121"
    assert service_hook(event=None).action == "unknown"
    assert service_hook(group={"url": "https://acme-2.sentry.io/issues/7/"}).organization == "acme-2"
    assert service_hook(group={"url": "https://us.sentry.example/issues/7/"}).organization is None
    assert service_hook(group={"permalink": f"{WEB}issues/7/"}).organization == "acme"


# --- the legacy plugin ---


def plugin_post(**changes: Any) -> Hook:
    body = {
        "id": "121",
        "project": "web",
        "project_name": "Web",
        "project_slug": "web",
        "level": "warning",
        "culprit": "app.main",
        "message": "failure",
        "url": f"{WEB}issues/121/?referrer=webhooks_plugin",
        "triggering_rules": ["New issues"],
        "event": {"event_id": "88" * 16, "project": 5, "tags": [["environment", "production"], ["level", "error"]]},
    }
    return read_plugin_post({}, json.dumps(body | changes).encode())


def test_a_plugin_post() -> None:
    hook = plugin_post()
    assert (hook.resource, hook.action) == ("event", "alert")
    assert told(hook) == {
        "organization": "acme",
        "issue_id": "121",
        "project_id": "5",
        "project_slug": "web",
        "environment": "production",
        "level": "warning",
    }
    assert plugin_post(event={"tags": [7, [], ["a"], {"key": 1}]}).environment is None


# --- whatever comes ---


def test_headers_that_are_kept_prove_nothing() -> None:
    sent = {
        "content-type": "application/json",
        "request-id": "1" * 32,
        "sentry-hook-resource": "x" * 300,
        "sentry-hook-timestamp": "1",
        "sentry-hook-signature": "5f" * 32,
        "x-servicehook-guid": "9",
        "x-servicehook-signature": "5f" * 32,
        "x-servicehook-timestamp": "2",
        "authorization": "Bearer x",
        "cookie": "a=b",
    }
    kept = keep_headers(sent)
    assert set(sent) - set(kept) == {
        "sentry-hook-signature",
        "x-servicehook-signature",
        "authorization",
        "cookie",
    }
    assert kept["sentry-hook-resource"] == "x" * 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("action", "data", "installation", "issue", "error", "event", "project", "group", "tags", "url", "id", "uuid"),
        *("slug", "metric_alert", "projects", "level", "environment", "issue_id", "comment_id", "alert_rule", "key"),
        *("value", "triggering_rules", "permalink", "project_slug", "web_url"),
    ]
)
SHAPES = st.recursive(
    JSON | st.sampled_from([UUID, OTHER, f"{API}projects/a/b/events/", "deleted", 121]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=6) | st.lists(inner, max_size=2),
    max_leaves=25,
)


def check(hook: Hook) -> None:
    """Whatever was sent, these can be stored and looked for."""
    for word in (hook.resource, hook.action):
        assert 0 < len(word) <= 64
        assert "." not in word
    for value in (hook.organization, hook.issue_id, hook.project_id, hook.project_slug, hook.environment, hook.level):
        assert value is None or (0 < len(value) <= 200 and value.isprintable())


@given(body=SHAPES, resource=st.none() | st.text(max_size=20) | st.sampled_from(["issue", "installation"]))
def test_any_json_is_read_or_contradicts_itself(body: Any, resource: str | None) -> None:
    text = json.dumps(body).encode()
    headers = {} if resource is None else {"sentry-hook-resource": resource}
    with suppress(BadInput):
        check(read_app_hook(headers, text))
    check(read_service_hook(headers, text))
    check(read_plugin_post(headers, text))


@given(
    body=st.binary(max_size=200),
    headers=st.dictionaries(st.sampled_from(["sentry-hook-timestamp", "request-id"]), st.text(max_size=12)),
)
def test_any_bytes_are_read(body: bytes, headers: dict[str, str]) -> None:
    with suppress(BadInput):
        check(read_app_hook(headers, body))
    check(read_service_hook(headers, body))
    check(read_plugin_post(headers, body))
