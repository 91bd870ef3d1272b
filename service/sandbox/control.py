"""The private endpoint that steers a sandbox in another process. It is never below ``/api/0/``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from service.sandbox.faults import AnyFault
from service.sandbox.happenings import MetricAction
from service.sandbox.responses import Answer, answer_json, no_content
from service.sandbox.steering import AnySteer
from service.sandbox.world import Manner

if TYPE_CHECKING:
    from service.sandbox.app import Sandbox

ROOT = "/__sandbox__/"


class _Manner(msgspec.Struct):
    manner: Manner


class _Redirects(msgspec.Struct):
    oauth: list[str]
    install: str
    webhook: str | None = None
    internal_webhook: str | None = None


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    project: str | msgspec.UnsetType = msgspec.UNSET
    organization: str | msgspec.UnsetType = msgspec.UNSET
    issue: int | msgspec.UnsetType = msgspec.UNSET
    kind: str | msgspec.UnsetType = msgspec.UNSET
    value: str | msgspec.UnsetType = msgspec.UNSET
    level: str | msgspec.UnsetType = msgspec.UNSET
    environment: str | msgspec.UnsetType = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    rules: list[str] | msgspec.UnsetType = msgspec.UNSET


class _IssueAlert(msgspec.Struct, forbid_unknown_fields=True):
    issue: int
    rule: str | msgspec.UnsetType = msgspec.UNSET
    apps: list[str] | msgspec.UnsetType = msgspec.UNSET
    settings: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class _MetricAlert(msgspec.Struct, forbid_unknown_fields=True):
    action: MetricAction | msgspec.UnsetType = msgspec.UNSET
    project: str | msgspec.UnsetType = msgspec.UNSET
    organization: str | msgspec.UnsetType = msgspec.UNSET
    rule: str | msgspec.UnsetType = msgspec.UNSET
    apps: list[str] | msgspec.UnsetType = msgspec.UNSET


class _Plugin(msgspec.Struct, forbid_unknown_fields=True):
    urls: list[str]
    project: str | msgspec.UnsetType = msgspec.UNSET
    organization: str | msgspec.UnsetType = msgspec.UNSET


class _Skew(msgspec.Struct):
    seconds: float


class _Wait(msgspec.Struct):
    seconds: float


class _Token(msgspec.Struct):
    token: str


def answer(sandbox: "Sandbox", method: str, path: str, body: bytes) -> Answer:
    """Does what is asked, or says 404 or 400.

    ``GET/POST/DELETE faults/`` lists, adds, clears; ``GET requests/`` lists; ``PUT manner/``, ``skew/`` (seconds) and
    ``redirects/`` set; ``POST revoke/`` a token; ``POST reset/``. ``GET grants/`` counts the tokens given out:
    ``{"kinds": {"oauth refresh_token": 2, …}, "grants": {"900001": 3, …}}``, the latter by OAuth token id (a refresh
    keeps it) or installation uuid.

    Of webhooks: ``GET deliveries/`` lists those that were sent, and those that were dropped; ``GET/POST/DELETE
    steering/`` lists, adds, ends (see :mod:`service.sandbox.steering`); ``PUT retry-wait/`` sets seconds. What no API
    can do: ``POST events/``, ``issue-alerts/``, ``metric-alerts/`` and ``PUT plugin/`` take the arguments of the
    methods of :class:`service.sandbox.happenings.Happenings`.
    """
    order = _ORDERS.get((method, path.removeprefix(ROOT)))
    if order is None:
        return answer_json({"detail": "No such control."}, 404)
    try:
        found = order(sandbox, body)
    except msgspec.MsgspecError as error:
        return answer_json({"detail": str(error)}, 400)
    except KeyError as unknown:
        return answer_json({"detail": f"unknown: {unknown}"}, 404)
    return no_content() if found is None else answer_json(found)


def _set_manner(sandbox: "Sandbox", body: bytes) -> None:
    sandbox.manner = msgspec.json.decode(body, type=_Manner).manner


def _set_skew(sandbox: "Sandbox", body: bytes) -> None:
    sandbox.skew = msgspec.json.decode(body, type=_Skew).seconds


def _set_retry_wait(sandbox: "Sandbox", body: bytes) -> None:
    sandbox.webhooks.retry_wait = msgspec.json.decode(body, type=_Wait).seconds


def _set_redirects(sandbox: "Sandbox", body: bytes) -> None:
    given = msgspec.json.decode(body, type=_Redirects)
    sandbox.register_redirects(**msgspec.structs.asdict(given))


def _record_event(sandbox: "Sandbox", body: bytes) -> object:
    recorded = sandbox.record_event(**_given(body, _Event))
    return {"eventId": recorded.event.id, "issueId": str(recorded.issue.id), "isNew": recorded.is_new}


def _fire_metric_alert(sandbox: "Sandbox", body: bytes) -> object:
    incident = sandbox.fire_metric_alert(**_given(body, _MetricAlert))
    return {"id": str(incident.id), "identifier": str(incident.identifier)}


def _given(body: bytes, shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields that a body gives, checked; what it leaves out has the default of what they are given to."""
    decoded = msgspec.json.decode(body or b"{}", type=shape)
    return {name: value for name, value in msgspec.structs.asdict(decoded).items() if value is not msgspec.UNSET}


def _list_deliveries(sandbox: "Sandbox") -> object:
    webhooks = sandbox.webhooks
    return [delivery.show() for delivery in [*list(webhooks.deliveries), *list(webhooks.missed)]]


_ORDERS: dict[tuple[str, str], Callable[["Sandbox", bytes], object]] = {
    ("GET", "faults/"): lambda sandbox, _: sandbox.faults.listed(),
    ("POST", "faults/"): lambda sandbox, body: sandbox.faults.add(msgspec.json.decode(body, type=AnyFault)),
    ("DELETE", "faults/"): lambda sandbox, _: sandbox.faults.clear(),
    ("GET", "requests/"): lambda sandbox, _: [
        {"method": r.method, "path": r.path, "at": r.at} for r in list(sandbox.requests)
    ],
    ("GET", "grants/"): lambda sandbox, _: {
        "kinds": dict(sandbox.world.issued),
        "grants": dict(sandbox.world.issued_to),
    },
    ("GET", "deliveries/"): lambda sandbox, _: _list_deliveries(sandbox),
    ("GET", "steering/"): lambda sandbox, _: sandbox.webhooks.steering.listed(),
    ("POST", "steering/"): lambda sandbox, body: sandbox.webhooks.steering.add(
        msgspec.json.decode(body, type=AnySteer)
    ),
    ("DELETE", "steering/"): lambda sandbox, _: sandbox.webhooks.release(),
    ("POST", "events/"): _record_event,
    ("POST", "issue-alerts/"): lambda sandbox, body: sandbox.fire_issue_alert(**_given(body, _IssueAlert)),
    ("POST", "metric-alerts/"): _fire_metric_alert,
    ("PUT", "plugin/"): lambda sandbox, body: sandbox.set_plugin(**_given(body, _Plugin)),
    ("PUT", "manner/"): _set_manner,
    ("PUT", "skew/"): _set_skew,
    ("PUT", "redirects/"): _set_redirects,
    ("PUT", "retry-wait/"): _set_retry_wait,
    ("POST", "revoke/"): lambda sandbox, body: sandbox.revoke(msgspec.json.decode(body, type=_Token).token),
    ("POST", "reset/"): lambda sandbox, _: sandbox.reset(),
}
