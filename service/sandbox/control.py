"""The private endpoint that steers a sandbox in another process. It is never below ``/api/0/``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from service.sandbox.faults import AnyFault
from service.sandbox.responses import Answer, answer_json, no_content
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


class _Skew(msgspec.Struct):
    seconds: float


class _Token(msgspec.Struct):
    token: str


def answer(sandbox: "Sandbox", method: str, path: str, body: bytes) -> Answer:
    """Does what is asked, or says 404 or 400.

    ``GET/POST/DELETE faults/`` lists, adds, clears; ``GET requests/`` lists; ``PUT manner/``, ``skew/`` (seconds) and
    ``redirects/`` set; ``POST revoke/`` a token; ``POST reset/``. ``GET grants/`` counts the tokens given out:
    ``{"kinds": {"oauth refresh_token": 2, …}, "grants": {"900001": 3, …}}``, the latter by OAuth token id (a refresh
    keeps it) or installation uuid.
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


def _set_redirects(sandbox: "Sandbox", body: bytes) -> None:
    given = msgspec.json.decode(body, type=_Redirects)
    sandbox.register_redirects(oauth=given.oauth, install=given.install, webhook=given.webhook)


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
    ("PUT", "manner/"): _set_manner,
    ("PUT", "skew/"): _set_skew,
    ("PUT", "redirects/"): _set_redirects,
    ("POST", "revoke/"): lambda sandbox, body: sandbox.revoke(msgspec.json.decode(body, type=_Token).token),
    ("POST", "reset/"): lambda sandbox, _: sandbox.reset(),
}
