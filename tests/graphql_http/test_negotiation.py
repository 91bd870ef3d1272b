import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.graphql_http.negotiation import GRAPHQL_RESPONSE, JSON, check_content_type, choose_media_type, wants_html
from service.graphql_http.problems import NotAcceptable, UnsupportedMediaType
from tests.scale import scaled


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("  ", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("APPLICATION/JSON", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/graphql-response+json", GRAPHQL_RESPONSE),
        ("Application/GraphQL-Response+JSON;charset=utf-8", GRAPHQL_RESPONSE),
        ("application/graphql-response+json, application/json", GRAPHQL_RESPONSE),
        ("application/json, application/graphql-response+json", GRAPHQL_RESPONSE),
        ("application/json, application/graphql-response+json;q=0.9", JSON),
        ("application/graphql-response+json; q=0.2, */*; q=0.1", GRAPHQL_RESPONSE),
        ("application/graphql-response+json;q=0, */*", JSON),
        ("application/json;q=0, */*", GRAPHQL_RESPONSE),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("multipart/mixed, application/json", JSON),
        ("application/json;q=nonsense, application/graphql-response+json;q=0.1", GRAPHQL_RESPONSE),
        ("application/json;q=99", JSON),
    ],
)
def test_the_media_type_is_chosen_by_the_clients_wish(accept: str | None, expected: str) -> None:
    assert choose_media_type(accept) == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "application/graphql", "image/*", ",", "*"])
def test_no_match_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        choose_media_type(accept)


@settings(max_examples=scaled(test=200, soak=5000))
@given(st.text(alphabet='aplictonj/*,;=q.01+- \t"', max_size=60))
def test_any_accept_header_ends_in_a_choice_or_a_refusal(accept: str) -> None:
    with contextlib.suppress(NotAcceptable):
        assert choose_media_type(accept) in {JSON, GRAPHQL_RESPONSE}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html;q=0, */*", False),
    ],
)
def test_browsers_that_open_a_page_name_html(accept: str | None, expected: bool) -> None:
    assert wants_html(accept) is expected


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        'Application/JSON ; Charset="UTF-8"',
        "application/json;charset=utf8;x=y",
        "application/json;",
    ],
)
def test_json_in_utf8_is_read(content_type: str) -> None:
    check_content_type(content_type)


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/json;charset=utf-16", "json"])
def test_other_bodies_are_not_read(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        check_content_type(content_type)
    assert "application/json" in (caught.value.cure or "")
