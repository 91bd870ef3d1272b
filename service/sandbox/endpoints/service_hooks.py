"""Service hooks: older than integrations, one project each, and signed with a secret of their own."""

import re
import uuid
from typing import Any

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.pagination import page_by_number
from service.sandbox.responses import Answer, Refused, answer_json, no_content, not_found
from service.sandbox.shapes import Payload, stamp
from service.sandbox.structure import ServiceHook

_EVENTS = ("event.alert", "event.created")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?\Z")


def show_hook(hook: ServiceHook) -> Payload:
    """A service hook, secret and all."""
    return {
        "id": hook.guid,
        "url": hook.url,
        "secret": hook.secret,
        "status": "active",
        "events": sorted(hook.events),
        "dateCreated": stamp(hook.created),
    }


def list_hooks(call: Call) -> Answer:
    """A project's service hooks, the newest first."""
    page = page_by_number(call.project.hooks[::-1], call.page_size, call.cursor)
    return call.answer_page(page, [show_hook(hook) for hook in page.items])


def create_hook(call: Call) -> Answer:
    """Makes a service hook: 201, with its secret."""
    given = call.json()
    url, events = given.get("url"), given.get("events") or []
    wrong = _complain(url, events)
    if wrong:
        raise Refused(answer_json(wrong, 400))
    secret = uuid.uuid4().hex + uuid.uuid4().hex
    hook = ServiceHook(uuid.uuid4().hex, str(url), secret, list(events), call.now)
    call.project.hooks.append(hook)
    call.world.changed()
    return answer_json(show_hook(hook), 201)


def _complain(url: Any, events: Any) -> dict[str, list[str]]:
    wrong = {}
    if not url:
        wrong["url"] = ["This field is required."]
    elif not isinstance(url, str) or not _URL.match(url):
        wrong["url"] = ["Enter a valid URL."]
    if not isinstance(events, list):
        wrong["events"] = [f'Expected a list of items but got type "{type(events).__name__}".']
    elif unknown := [event for event in events if event not in _EVENTS]:
        wrong["events"] = [f"Invalid event name: {unknown[0]}"]
    return wrong


def _hook(call: Call) -> ServiceHook:
    found = next((hook for hook in call.project.hooks if hook.guid == call.names["hook"]), None)
    if found is None:
        raise not_found()
    return found


def get_hook(call: Call) -> Answer:
    """One service hook."""
    return answer_json(show_hook(_hook(call)))


def delete_hook(call: Call) -> Answer:
    """Removes a service hook: 204."""
    call.project.hooks.remove(_hook(call))
    call.world.changed()
    return no_content()


_HOOKS = "projects/{organization}/{project}/hooks/"

ENDPOINTS = (
    Endpoint(_HOOKS, {"GET": list_hooks, "POST": create_hook}, access.PROJECT),
    Endpoint(_HOOKS + "{hook}/", {"GET": get_hook, "DELETE": delete_hook}, access.PROJECT),
)
