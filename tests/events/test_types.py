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
    ],
)
def test_a_type_is_resource_and_action_together(resource: str, action: str, expected: str) -> None:
    assert build_type(resource, action) == expected


def test_our_own_can_be_asked_for() -> None:
    for own in EventType:
        assert is_type_pattern(own)
