"""What a webhook's body says, read leniently: what is missing or of another kind is None, and nothing fails. Pure.

Only what is asked for is decoded: an error's body may hold a thousand lines of source that nobody asked for.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import quote

import msgspec

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_SCALAR = msgspec.json.Decoder(str | int | float | None)
_TIME = msgspec.json.Decoder(datetime)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Json = bytes | msgspec.Raw


class JsonObject:
    """A JSON object whose fields are decoded when they are asked for. Anything else reads as an empty object."""

    __slots__ = ("_fields",)

    def __init__(self, text: Json | None) -> None:
        try:
            self._fields = _FIELDS.decode(text) if text else {}
        except _UNREADABLE:
            self._fields = {}

    def __bool__(self) -> bool:
        return bool(self._fields)

    def text(self, name: str) -> str | None:
        """A text that is not empty; a number as text, since Sentry's ids come as either."""
        value = _scalar(self._fields.get(name))
        return str(value) if value not in (None, "") else None

    def time(self, name: str) -> datetime | None:
        """A time in ISO 8601, in UTC where it does not say otherwise."""
        try:
            found = _TIME.decode(self._fields[name])
        except (KeyError, *_UNREADABLE):
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def object(self, name: str) -> "JsonObject":
        """An object, empty where there is none."""
        return JsonObject(self._fields.get(name))

    def texts(self, name: str) -> list[str]:
        """The texts of a list."""
        return _texts(self._fields.get(name))

    @property
    def tags(self) -> list[tuple[str, str]]:
        """Key and value of the tags of an event: a stored one has them as ``[key, value]``, the API's as objects."""
        tags: list[tuple[str, str]] = []
        for item in _items(self._fields.get("tags")):
            tag = JsonObject(item)
            texts = [tag.text("key"), tag.text("value")] if tag else _texts(item)
            if len(texts) == 2 and texts[0] is not None and texts[1] is not None:
                tags.append((texts[0], texts[1]))
        return tags


class HookBody(JsonObject):
    """A webhook's body: an integration's (``action``, ``data``, ``actor``), a service hook's or the legacy plugin's."""

    @cached_property
    def data(self) -> JsonObject:
        """An integration's data."""
        return self.object("data")

    @cached_property
    def issue(self) -> JsonObject:
        """The issue; a service hook calls it a group."""
        return self.data.object("issue") or self.object("group")

    @cached_property
    def error(self) -> JsonObject:
        """The single error, or other event of an issue."""
        return self.data.object("error") or self.data.object("event") or self.object("event")

    @property
    def error_id(self) -> str | None:
        """Sentry's id of the single error."""
        return self.error.text("event_id") or self.error.text("eventID") or self.error.text("id")

    @cached_property
    def url(self) -> str | None:
        """The page in Sentry that the body names: that of the single error or alert before that of the issue.

        What is called ``url`` is the API's in some bodies, where newer servers add ``web_url``.
        """
        error = self.error
        stated = (error.text("web_url"), error.text("url"), self.data.text("web_url"), self.issue_url, self.text("url"))
        return next(filter(is_web_url, stated), None)

    @cached_property
    def issue_url(self) -> str | None:
        """The issue's page, where the body names it."""
        stated = (self.issue.text("web_url"), self.issue.text("permalink"), self.issue.text("url"))
        return next(filter(is_web_url, stated), None)


def build_issue_url(origin: str, organization: str, issue_id: str, event_id: str | None = None) -> str:
    """The page of an issue, or of one event of it, in Sentry's web interface at ``origin``: older servers leave it out.

    ``organization`` is a slug.
    """
    path = f"/organizations/{quote(organization, safe='')}/issues/{quote(issue_id, safe='')}/"
    return origin + (path if event_id is None else f"{path}events/{quote(event_id, safe='')}/")


def is_web_url(text: str | None) -> bool:
    """Whether a text can be shown as a link to a page: it may be the API's, or anything."""
    return text is not None and text.startswith(("https://", "http://")) and "/api/0/" not in text


def _items(text: Json | None) -> Sequence[Json]:
    try:
        return _ITEMS.decode(text) if text else ()
    except _UNREADABLE:
        return ()


def _texts(text: Json | None) -> list[str]:
    values = (_scalar(item) for item in _items(text))
    return [str(value) for value in values if value is not None]


def _scalar(text: Json | None) -> str | int | float | None:
    try:
        return _SCALAR.decode(text) if text else None
    except _UNREADABLE:
        return None
