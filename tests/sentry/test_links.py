import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sentry.links import PageLink, PageLinks, parse_link

SENTRY = (
    '<https://sentry.io/api/0/organizations/acme/members/?per_page=100&cursor=100:-1:1>; rel="previous"; '
    'results="false"; cursor="100:-1:1", '
    '<https://sentry.io/api/0/organizations/acme/members/?per_page=100&cursor=100:1:0>; rel="next"; '
    'results="true"; cursor="100:1:0"'
)
BOTH = PageLinks(PageLink("100:-1:1", results=False), PageLink("100:1:0", results=True))


def test_both_directions_are_read() -> None:
    assert parse_link(SENTRY) == BOTH


def test_glitchtip_wraps_the_value() -> None:
    assert parse_link("{'" + SENTRY + "'}") == BOTH


@pytest.mark.parametrize(
    "header",
    [
        "<u>;rel=next;results=true;cursor=1:0:0",
        '<u> ; cursor="1:0:0" ; results="true" ; rel="next"',
        '<u>; REL="next"; Results="true"; Cursor="1:0:0"; title="a, b; c"',
        'garbage, <u>; rel="next"; results="true"; cursor="1:0:0", more <garbage',
        '<u,v;w>; rel="next"; results="true"; cursor="1:0:0"',
    ],
)
def test_spelling_does_not_matter(header: str) -> None:
    assert parse_link(header) == PageLinks(None, PageLink("1:0:0", results=True))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "<u>",
        '<u>; rel="next"; results="true"',
        '<u>; rel="next"; results="true"; cursor=""',
        '<u>; rel="next"; results="true"; cursor="' + "9" * 201 + '"',
        '<u>; rel="next"; results="true"; cursor="1\x07"',
        '<u>; rel="next"; results="true"; cursor="1, <https://evil.example/>; rel=next"',
        '<u>; rel="last"; results="true"; cursor="1:0:0"',
        "<" * 9000,
    ],
)
def test_what_names_no_direction_is_none(header: str | None) -> None:
    assert parse_link(header) == PageLinks()


def test_without_results_there_are_none() -> None:
    assert parse_link('<u>; rel="next"; cursor="1:0:0"').next == PageLink("1:0:0", results=False)


def test_the_first_of_two_wins() -> None:
    first, second = '<u>; rel="next"; results="true"; cursor="1"', '<u>; rel="next"; results="true"; cursor="2"'
    assert parse_link(f"{first}, {second}").next == PageLink("1", results=True)


@given(
    st.text(alphabet=st.sampled_from("<>;,=\"' {}rel next cursor results true"), max_size=300) | st.text(max_size=300)
)
def test_nothing_raises_and_only_cursors_come_out(header: str) -> None:
    links = parse_link(header)
    for link in (links.previous, links.next):
        assert link is None or (link.cursor in header and link.cursor.isprintable())


@given(
    st.text(
        alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"<>'), min_size=1, max_size=50
    )
)
def test_any_cursor_comes_back_as_it_was(cursor: str) -> None:
    assert parse_link(f'<u>; rel="next"; results="true"; cursor="{cursor}"').next == PageLink(cursor, results=True)
