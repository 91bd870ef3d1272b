"""What events are called: Sentry's by resource and action, such as ``issue.resolved``, and our own.

Sentry's stay strings: a resource or action that is new is kept and passed on as it is.
"""

import enum


class EventType(enum.StrEnum):
    """Our own events: what happens to connections and to the delivery of events."""

    LINKED = "connection.linked"
    RELINKED = "connection.relinked"
    NEEDS_REAUTH = "connection.needs_reauth"
    RECOVERED = "connection.recovered"
    UNLINKED = "connection.unlinked"
    WEBHOOKS_SILENT = "webhooks.silent"
    WEBHOOKS_RESUMED = "webhooks.resumed"
    ENDPOINT_DISABLED = "webhook_endpoint.disabled"
    ENDPOINT_TEST = "webhook_endpoint.test"


_OURS = frozenset(each.partition(".")[0] for each in EventType)
_SAME = {"issue.ignored": "issue.archived"}  # older and newer word for the same change


def build_type(resource: str, action: str) -> str:
    """The type of one of Sentry's events. The two go together: ``created`` alone may be of an issue or a comment.

    A webhook's resource may come from a header, which is not signed. One that is ours is not believed: ``unknown``.
    """
    text = f"{'unknown' if resource in _OURS else resource}.{action}"
    return _SAME.get(text, text)
