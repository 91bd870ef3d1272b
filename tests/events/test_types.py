"""What events are called."""

import pytest

from service.events.filters import is_type_pattern
from service.events.types import EventType, build_type


@pytest.mark.parametrize(
    ("resource", "action", "expected"),
    [
        ("issue", "resolved", "issue.resolved"),
        ("comment", "created", "comment.created"),
        ("issue", "ignored", "issue.archived"),
        ("issue", "archived", "issue.archived"),
        ("comment", "ignored", "comment.ignored"),
        ("seer", "pr_created", "seer.pr_created"),
        ("connection", "unlinked", "unknown.unlinked"),
        ("connection", "anything", "unknown.anything"),
        ("webhooks", "silent", "unknown.silent"),
        ("webhook_endpoint", "disabled", "unknown.disabled"),
    ],
)
def test_a_type_is_resource_and_action_together(resource: str, action: str, expected: str) -> None:
    assert build_type(resource, action) == expected


@pytest.mark.parametrize("own", EventType)
def test_no_webhook_speaks_in_our_name(own: EventType) -> None:
    """The resource may come from a header that nobody signs, and a self-hosted Sentry may sign any body."""
    assert build_type(*own.split(".")) not in set(EventType)


def test_our_own_can_be_asked_for() -> None:
    for own in EventType:
        assert is_type_pattern(own)
