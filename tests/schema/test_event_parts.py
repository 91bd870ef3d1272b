"""What events are made of can be shown, whatever a webhook says."""

import msgspec
from hypothesis import given, settings

from service.events.body import HookBody
from service.schema.event_parts import build_actor, build_assignee, build_error, build_issue
from tests.events.bodies import any_body, hook, issue
from tests.scale import scaled


@settings(max_examples=scaled(test=100, soak=20_000), deadline=None)
@given(any_body)
def test_whatever_a_body_is_what_is_read_can_be_shown(raw: bytes) -> None:
    body = HookBody(raw)
    parts = [
        build_issue("con_1", body),
        build_error(body),
        build_actor("con_1", body.object("actor")),
        build_assignee("con_1", body),
    ]
    msgspec.json.encode(parts)


def test_a_teams_slug_is_the_issues_word_for_it() -> None:
    """The event itself has the team's name only."""
    given = {"type": "team", "id": 5, "name": "Web Team"}
    assigned = {"type": "team", "id": "5", "name": "web-team"}
    for assigned_to, slug in (
        (assigned, "web-team"),
        (assigned | {"id": "6"}, None),
        ({"type": "user", "id": "5", "name": "x"}, None),
        (None, None),
    ):
        actor = build_assignee("con_1", HookBody(hook("assigned", issue=issue(assignedTo=assigned_to), assignee=given)))
        assert actor is not None
        assert (actor.kind, actor.external_id, actor.name) == ("team", "5", "Web Team")
        assert (actor.team and actor.team.slug) == slug
    synthetic = build_assignee("con_1", HookBody(hook("assigned", issue=issue(assignedTo=assigned))))
    assert synthetic is not None
    assert synthetic.team is not None
    assert (synthetic.name, synthetic.team.name) == ("web-team", "web-team")
    assert build_assignee("con_1", HookBody(hook("assigned", issue=issue()))) is None
