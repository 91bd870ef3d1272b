from dataclasses import replace
from typing import Any

import pytest
from graphql import Node, parse
from graphql.language import Visitor, visit
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import RequestTooLarge
from service.graphql_http.limits import Limits, check_limits, measure
from service.graphql_http.problems import IntrospectionDisabled
from service.settings import Settings
from tests.scale import scaled

LIMITS = Limits.of(Settings())


def doubling_fragments(count: int) -> str:
    chain = " ".join(f"fragment F{n} on Q{{...F{n + 1} ...F{n + 1}}}" for n in range(count))
    return f"{{...F0}} {chain} fragment F{count} on Q{{a:b}}"


def count_nodes(text: str) -> int:
    counted = 0

    class Count(Visitor):
        def enter(self, node: Node, *_: Any) -> None:
            nonlocal counted
            counted += 1

    visit(parse(text), Count())
    return counted


def test_the_limits_are_the_settings() -> None:
    assert Limits.of(Settings(max_depth=7, introspection=True)) == replace(LIMITS, depth=7, introspection=True)


@pytest.mark.parametrize(
    ("text", "depth", "aliases", "root_fields", "directives"),
    [
        ("{ a }", 1, 0, 1, 0),
        ("{ a { b { c } } d }", 3, 0, 2, 0),
        ("{ x: a y: a { z: b } }", 2, 3, 2, 0),
        ("{ a @skip(if: true) @include(if: true) }", 1, 0, 1, 2),
        ("query @a { ...F @b } fragment F on Q @c { d @d }", 1, 0, 1, 4),
        ("{ ... { a { ... on Q { b } } } }", 2, 0, 1, 0),
        ("{ a { ...F } ...F } fragment F on Q { x: b c { d } }", 3, 2, 3, 0),
        ("query A { a } query B { a b { c } }", 2, 0, 2, 0),
        ("query A { ...F } query B { x: a } fragment F on Q { a b c }", 1, 1, 3, 0),
        ("{ a ...Unknown }", 1, 0, 1, 0),
    ],
)
def test_a_document_is_measured_with_its_fragments(
    text: str, depth: int, aliases: int, root_fields: int, directives: int
) -> None:
    extent = measure(parse(text))
    assert (extent.depth, extent.aliases, extent.root_fields, extent.directives) == (
        depth,
        aliases,
        root_fields,
        directives,
    )


def test_fragments_hide_nothing() -> None:
    extent = measure(parse(doubling_fragments(10)))
    assert extent.aliases == extent.root_fields == 2**10


def test_22_doubling_fragments_are_refused_after_as_many_visits_as_there_are_nodes() -> None:
    text = doubling_fragments(22)
    assert len(text) < 900
    assert measure(parse(text)).visits < count_nodes(text)
    with pytest.raises(RequestTooLarge, match="60 aliases"):
        check_limits(parse(text), LIMITS)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(doubling_fragments, id="doubling fragments"),
        pytest.param(lambda n: "{" + "a{" * min(n, 180) + "b" + "}" * min(n, 180) + "}", id="deep"),
        pytest.param(lambda n: "{" + "a " * n + "}", id="wide"),
        pytest.param(
            lambda n: "{...F0} " + " ".join(f"fragment F{i} on Q{{...F{(i + 1) % n}}}" for i in range(n)), id="cycle"
        ),
        pytest.param(
            lambda n: " ".join(f"fragment F{i} on Q{{...F{n - 1 - i} ...F0}}" for i in range(n)), id="all to one"
        ),
        pytest.param(
            lambda n: " ".join(f"query Q{i}{{...F}}" for i in range(n)) + " fragment F on Q{a b c}", id="operations"
        ),
    ],
)
@pytest.mark.parametrize("size", [10, 100, 1000])
def test_visits_grow_with_the_document_not_with_its_expansion(build: Any, size: int) -> None:
    text = build(size)
    assert measure(parse(text)).visits <= count_nodes(text)


@pytest.mark.parametrize(
    "text",
    [
        "{ ...F } fragment F on Q { ...F a }",
        "{ ...A } fragment A on Q { x: a ...B } fragment B on Q { b ...A }",
        "fragment A on Q { ...A ...A }",
    ],
)
def test_cycles_end(text: str) -> None:
    assert measure(parse(text)).aliases <= 2


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("{" + "a{" * 15 + "b" + "}" * 16, RequestTooLarge, "15 deep"),
        ("{" + " ".join(f"x{n}:a" for n in range(61)) + "}", RequestTooLarge, "60 aliases"),
        ("{" + "a " * 31 + "}", RequestTooLarge, "30 fields"),
        ("query A{a} query B{" + "a " * 31 + "}", RequestTooLarge, "30 fields"),
        ("{ a " + "@x " * 61 + "}", RequestTooLarge, "60 directives"),
        ("{ a { __schema { x } } }", IntrospectionDisabled, "off"),
        ("{ a ...F } fragment F on Q { t: __type(name: 1) { x } }", IntrospectionDisabled, "off"),
    ],
)
def test_each_limit_is_held(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_limits(parse(text), LIMITS)


@pytest.mark.parametrize(
    "text",
    [
        "{" + "a{" * 14 + "b" + "}" * 15,
        "{ x {" + " ".join(f"x{n}:a" for n in range(60)) + "}}",
        "{" + "a " * 30 + "}",
        "{ a " + "@x " * 60 + "}",
        "{ __typename a { __typename } }",
    ],
)
def test_what_is_just_within_a_limit_passes(text: str) -> None:
    check_limits(parse(text), LIMITS)


names = st.sampled_from(["F0", "F1", "F2", "F3", "F4", "Missing"])


def selections(depth: int) -> st.SearchStrategy[str]:
    leaf = st.one_of(st.just("a"), st.just("x: a"), names.map(lambda name: f"...{name}"))
    if depth == 0:
        return leaf
    inner = st.lists(selections(depth - 1), min_size=1, max_size=3).map(" ".join)
    return st.one_of(leaf, inner.map(lambda text: f"a {{ {text} }}"), inner.map(lambda text: f"... {{ {text} }}"))


@settings(max_examples=scaled(test=200, soak=5000), deadline=None)
@given(st.lists(st.lists(selections(2), min_size=1, max_size=4).map(" ".join), min_size=6, max_size=6))
def test_the_memoised_count_equals_a_plain_expansion(bodies: list[str]) -> None:
    """Fragments may only spread later ones, so that the plain expansion ends."""
    fragments = {}
    for index in range(5):
        body = bodies[index]
        for earlier in range(index + 1):
            body = body.replace(f"...F{earlier}", "a")
        fragments[f"F{index}"] = body
    text = f"{{ {bodies[5]} }} " + " ".join(f"fragment {name} on Q {{ {body} }}" for name, body in fragments.items())
    expanded = bodies[5].replace("...Missing", "...{}")
    for index in range(5):
        expanded = expanded.replace(f"...F{index}", f"... {{ {fragments[f'F{index}']} }}")
    plain = measure(parse(f"{{ {expanded.replace('...Missing', '...{}')} }}"))
    memoised = measure(parse(text))
    assert (memoised.depth, memoised.aliases, memoised.root_fields) == (plain.depth, plain.aliases, plain.root_fields)
