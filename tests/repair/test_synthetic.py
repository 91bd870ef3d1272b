"""Events of repairs read like webhooks, whatever the row of Sentry's list was like."""

import json

from hypothesis import given
from hypothesis import strategies as st

from service.repair.absorbing import _read_issue
from service.repair.rules import ISSUE_TYPES, read_state
from service.repair.synthetic import ACTOR, build_event
from service.sentry.issues import Issue, IssueRow
from service.sentry.payloads import decode
from tests.sentry.test_issues import ROWS

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(ROWS, st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.sampled_from(ISSUE_TYPES))
def test_the_issue_is_in_it_as_sentry_shows_it(row, more, type_):
    body = json.dumps(more | row).encode()
    event = build_event(
        type_,
        IssueRow(decode(body, Issue), body),
        tenant_id="ten_1",
        connection_id="con_1",
        installation_id="6c1b6bd1-f3c6-4359-a5e7-4b70f53b7b66",
    )
    found = json.loads(event.body or b"")
    assert found["action"] == type_.partition(".")[2]
    assert found["actor"] == ACTOR
    assert found["installation"] == {"uuid": "6c1b6bd1-f3c6-4359-a5e7-4b70f53b7b66"}
    shown = {name: value for name, value in (more | row).items() if name not in {"stats", "lifetime", "filtered"}}
    life = {name: value for name, value in (row.get("lifetime") or {}).items() if name in shown}
    assert found["data"]["issue"] == shown | life
    assert (event.type, event.is_synthetic, event.issue_id) == (type_, True, row["id"])
    assert (event.project_id, event.project_slug) == ("7", "shop")
    issue = _read_issue(event.body)
    assert issue is not None
    assert read_state(issue) == read_state(decode(body, Issue))


def test_an_assignee_and_a_resolution_are_told_as_webhooks_tell_them():
    def data(type_: str, **fields: object) -> dict[str, object]:
        row = {"id": "1", "status": "resolved", "project": {"id": "7", "slug": "shop"}, **fields}
        body = json.dumps(row).encode()
        found = IssueRow(decode(body, Issue), body)
        event = build_event(type_, found, tenant_id="ten_1", connection_id="con_1", installation_id=None)
        told: dict[str, object] = json.loads(event.body or b"")["data"]
        return {name: value for name, value in told.items() if name != "issue"}

    user = {"type": "user", "id": "12", "name": "Ada", "email": "ada@shop.example"}
    assert data("issue.assigned", assignedTo=user) == {"assignee": user | {"id": 12}}
    team = {"type": "team", "id": "3", "name": "crew"}
    assert data("issue.assigned", assignedTo=team) == {"assignee": team | {"id": 3}}
    assert data("issue.resolved") == {"resolution_type": "now"}
    for key, word in (("inRelease", "in_release"), ("inCommit", "in_commit"), ("inNextRelease", "in_next_release")):
        assert data("issue.resolved", statusDetails={"actor": {}, key: "x"}) == {"resolution_type": word}
