"""What a webhook says of itself: what happened, of which installation, issue and project. Pure.

Three things send: the integration platform (public and internal integrations), service hooks, and the legacy WebHooks
plugin. Headers are not signed, so the body decides wherever it says what it is. What is unknown, or of another shape
than we know, is read as far as it goes and never refused: the body is kept as it came.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.errors import BadInput
from service.sentry.installations import check_installation_id

UNKNOWN = "unknown"
"""A resource or action that is not told, or is no word."""

Headers = Mapping[str, str]
"""By lower-case name."""

_INSTALLATION = "installation"
_KEPT = (
    "content-type",
    "request-id",
    "sentry-hook-resource",
    "sentry-hook-timestamp",
    "x-servicehook-guid",
    "x-servicehook-timestamp",
)
_LONGEST_HEADER = 200
_LONGEST_INT = 30

# What the data of a resource has, and that of no other one.
_MARKS = {
    _INSTALLATION: "installation",
    "issue": "issue",
    "error": "error",
    "comment": "comment_id",
    "event_alert": "event",
    "metric_alert": "metric_alert",
}

_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = re.compile(r"[0-9]{1,20}")
_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_SLUG = re.compile(r"[0-9A-Za-z_-]{1,200}")
_SECONDS = re.compile(r"[0-9]{1,10}")
_PROJECT_URL = re.compile(r"https?://[^/]+/(?:api/0/)?projects/(?P<organization>[^/?#]+)/(?P<project>[^/?#]+)/")
_ORGANIZATION_URL = re.compile(r"https?://[^/]+/(?:api/0/)?organizations/(?P<organization>[^/?#]+)/")
_CUSTOMER_DOMAIN = re.compile(r"https://(?P<organization>[^./?#]+)\.sentry\.io/issues/")


@dataclass(frozen=True, slots=True)
class Hook:
    """What is known of a webhook; None is what it does not tell, or what cannot be.

    ``resource`` and ``action`` are Sentry's words, such as ``issue`` and ``resolved``. Ids are texts, also where Sentry
    sends numbers; ``organization`` and ``project_slug`` are slugs. ``sent_at`` is Sentry's clock, and like
    ``request_id`` not signed. ``is_uninstalled``: the installation is gone, by what was signed.
    """

    resource: str
    action: str
    installation_id: str | None = None
    organization: str | None = None
    issue_id: str | None = None
    project_id: str | None = None
    project_slug: str | None = None
    environment: str | None = None
    level: str | None = None
    sent_at: datetime | None = None
    request_id: str | None = None
    is_uninstalled: bool = False


def read_app_hook(headers: Headers, body: bytes) -> Hook:
    """Read a webhook of an integration: ``{action, installation {uuid}, data {…}, actor}``.

    Raises :class:`BadInput` where it contradicts itself: a header that names another resource than the body is of, or a
    body of two installations. (https://docs.sentry.io/organization/integrations/integration-platform/webhooks/)
    """
    found = _decode(body)
    data = _object(found.get("data"))
    told = headers.get("sentry-hook-resource")
    possible = [resource for resource, mark in _MARKS.items() if mark in data]
    if told is not None and told not in possible and possible and (told in _MARKS or _INSTALLATION in possible):
        raise BadInput("The resource in the header is not that of the body.")
    ids = {_uuid(_object(each).get("uuid")) for each in (found.get("installation"), data.get("installation"))} - {None}
    if len(ids) > 1:
        raise BadInput("The webhook names two installations.")
    resource, action = _word(told or next(iter(possible), None)), _word(found.get("action"))
    event = _object(data.get("error")) or _object(data.get("event"))
    issue = _object(data.get("issue"))
    alert = _object(data.get("metric_alert"))
    project = _object(issue.get("project"))
    organization, slug = _read_address(event.get("url"), event.get("web_url"), issue.get("url"), data.get("web_url"))
    return Hook(
        resource=resource,
        action=action,
        installation_id=next(iter(ids), None),
        organization=organization,
        issue_id=_first(_id, issue.get("id"), event.get("issue_id"), data.get("issue_id"), data.get("group_id")),
        project_id=_first(_id, project.get("id"), event.get("project"), data.get("project_id")),
        project_slug=_first(_slug, project.get("slug"), data.get("project_slug"), slug, _only(alert.get("projects"))),
        environment=_first(_text, event.get("environment"), _object(alert.get("alert_rule")).get("environment")),
        level=_first(_word_or_none, issue.get("level"), event.get("level")),
        sent_at=_moment(headers.get("sentry-hook-timestamp")),
        request_id=_match(_REQUEST_ID, headers.get("request-id")),
        is_uninstalled=_INSTALLATION in possible and (resource, action) == (_INSTALLATION, "deleted") and bool(ids),
    )


def read_service_hook(headers: Headers, body: bytes) -> Hook:
    """Read a service hook: ``{project {slug, name}, group {…}, event {…}}``. It is always ``event.created``.

    A service hook may want ``event.created`` or ``event.alert``; Sentry sends one body for either, and does not tell
    which it was. An event was there in both cases.
    """
    found = _decode(body)
    group, event = _object(found.get("group")), _object(found.get("event"))
    inner = _object(group.get("project"))
    tags = _read_tags(event.get("tags"))
    organization, slug = _read_address(group.get("url"), group.get("permalink"), event.get("url"))
    return Hook(
        resource="event",
        action="created" if event else UNKNOWN,
        organization=organization,
        issue_id=_first(_id, group.get("id"), event.get("groupID")),
        project_id=_first(_id, inner.get("id"), event.get("projectID")),
        project_slug=_first(_slug, _object(found.get("project")).get("slug"), inner.get("slug"), slug),
        environment=_first(_text, event.get("environment"), tags.get("environment")),
        level=_first(_word_or_none, tags.get("level"), group.get("level")),
        sent_at=_moment(headers.get("x-servicehook-timestamp")),
        request_id=_match(_REQUEST_ID, headers.get("request-id")),
    )


def read_plugin_post(headers: Headers, body: bytes) -> Hook:
    """Read a post of the legacy plugin: ``{id, project_slug, …, triggering_rules, event}``. Nobody has signed it.

    It is always ``event.alert``, since the plugin is an action of alert rules.
    """
    found = _decode(body)
    event = _object(found.get("event"))
    tags = _read_tags(event.get("tags"))
    organization, slug = _read_address(found.get("url"))
    return Hook(
        resource="event",
        action="alert" if event or "triggering_rules" in found else UNKNOWN,
        organization=organization,
        issue_id=_first(_id, found.get("id"), event.get("issue_id")),
        project_id=_id(event.get("project")),
        project_slug=_first(_slug, found.get("project_slug"), found.get("project"), slug),
        environment=_first(_text, event.get("environment"), tags.get("environment")),
        level=_first(_word_or_none, found.get("level"), event.get("level"), tags.get("level")),
        request_id=_match(_REQUEST_ID, headers.get("request-id")),
    )


def keep_headers(headers: Headers) -> dict[str, str]:
    """The headers that are kept with an event and passed on: none that proves anything to anybody."""
    return {name: headers[name][:_LONGEST_HEADER] for name in _KEPT if name in headers}


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return _object(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:  # Python's own takes what Python's own writes: half surrogate pairs, NaN, and numbers of any size
        return _object(json.loads(body, parse_int=_read_int))
    except (ValueError, RecursionError):
        return {}


def _read_int(text: str) -> int | None:
    return int(text) if len(text) <= _LONGEST_INT else None  # nothing that is read of a webhook is longer


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(read: Any, *values: Any) -> str | None:
    """The first of the values that can be read."""
    return next((found for value in values if (found := read(value)) is not None), None)


def _only(values: Any) -> Any:
    """The one item of a list: of several none is meant."""
    return values[0] if isinstance(values, list) and len(values) == 1 else None


def _match(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _word(value: Any) -> str:
    return _match(_WORD, value) or UNKNOWN


def _word_or_none(value: Any) -> str | None:
    return _match(_WORD, value)


def _slug(value: Any) -> str | None:
    return _match(_SLUG, value)


def _id(value: Any) -> str | None:
    return _match(_ID, str(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def _uuid(value: Any) -> str | None:
    try:
        return check_installation_id(value) if isinstance(value, str) else None
    except BadInput:
        return None


def _text(value: Any) -> str | None:
    """A name that a database can hold and somebody can filter by."""
    return value if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(int(text), UTC) if text is not None and _SECONDS.fullmatch(text) else None


def _read_tags(tags: Any) -> dict[str, Any]:
    """Tags by key: an event of the API has them as ``{key, value}``, one that was stored as ``[key, value]``."""
    found: dict[str, Any] = {}
    for tag in tags if isinstance(tags, list) else ():
        key, value = (
            tag if isinstance(tag, list) and len(tag) == 2 else (_object(tag).get("key"), _object(tag).get("value"))
        )
        if isinstance(key, str):
            found.setdefault(key, value)
    return found


def _read_address(*urls: Any) -> tuple[str | None, str | None]:
    """The organization's and the project's slug, from the first of Sentry's addresses that tells each."""
    organization = project = None
    for url in urls:
        for pattern in (_PROJECT_URL, _ORGANIZATION_URL, _CUSTOMER_DOMAIN):
            if isinstance(url, str) and (found := pattern.match(url[:2000])):
                organization = organization or _slug(found["organization"])
                project = project or _slug(found.groupdict().get("project"))
    return organization, project
