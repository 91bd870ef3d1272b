"""The table of problems: every one is explained, in sentences that can be shown and stored."""

import pytest

from service.connections.models import ConnectionProblem, ConnectionRecord
from service.connections.problems import Remedy, explain


@pytest.mark.parametrize("problem", ConnectionProblem)
def test_every_problem_is_explained_in_whole_sentences_that_fit_their_column(problem: ConnectionProblem) -> None:
    explanation = explain(problem)
    for sentence in (explanation.reason, explanation.cure):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "\n" not in sentence
    assert len(explanation.reason) <= ConnectionRecord.__table__.c.status_reason.type.length  # type: ignore[attr-defined]


def test_no_two_problems_read_alike() -> None:
    assert len({explain(problem).reason for problem in ConnectionProblem}) == len(ConnectionProblem)


@pytest.mark.parametrize("problem", [each for each in ConnectionProblem if explain(each).remedy is Remedy.CUSTOMER])
def test_what_needs_the_customer_says_how_to_link_again(problem: ConnectionProblem) -> None:
    assert "again" in explain(problem).cure


def test_who_can_help_is_told_apart() -> None:
    assert explain(ConnectionProblem.TOKEN_REVOKED).remedy is Remedy.CUSTOMER
    assert explain(ConnectionProblem.CLIENT_REFUSED).remedy is Remedy.OPERATOR
    assert explain(ConnectionProblem.SENTRY_UNAVAILABLE).remedy is Remedy.NOBODY
