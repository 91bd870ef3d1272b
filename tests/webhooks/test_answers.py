"""What an answer means, and how it is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.answers import LONGEST_ANSWER, Answer, Problem, clean_answer, explain


@given(body=st.binary(max_size=3000))
def test_any_answer_can_be_stored(body: bytes) -> None:
    text = clean_answer(body)
    if text is None:
        assert not body
        return
    assert "\0" not in text
    assert len(text) <= LONGEST_ANSWER
    text.encode()


def test_only_2xx_is_a_success() -> None:
    for status in range(100, 600):
        answer = Answer(status=status)
        assert answer.is_success is (200 <= status < 300)
        said = explain(answer.word)
        assert (said is None) is answer.is_success
        assert said is None or str(status) in said


def test_a_redirect_says_so() -> None:
    assert explain("302") == (
        "The endpoint answered 302, a redirect: none is followed. Give the address that it leads to."
    )


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_is_explained(problem: Problem) -> None:
    answer = Answer(problem=problem)
    assert not answer.is_success
    assert (explain(answer.word) or "").endswith(".")


def test_a_word_of_another_version_is_no_failure_here() -> None:
    assert explain("of_tomorrow") is None
    assert explain(None) is None
