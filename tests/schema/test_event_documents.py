"""docs/events.md, and GraphiQL's tabs, ask for what there is."""

import re
from pathlib import Path

from graphql import parse, validate

from service.schema.build import build_schema
from service.schema.event_types import BY_TYPE, OtherEvent
from service.schema.prepared import PREPARED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def test_queries_are_valid() -> None:
    examples = re.findall(r"```graphql\n(.*?)```", DOCUMENT, re.DOTALL)
    assert examples
    for text in [*examples, *(each.query for each in PREPARED)]:
        assert validate(build_schema()._schema, parse(text)) == [], text


def test_the_table_of_types_is_whole() -> None:
    told: dict[str, set[str]] = {}
    for names, types in re.findall(r"^\| (`[a-z_.]+`.*?) \| (`\w+Event`.*?) \|", DOCUMENT, re.MULTILINE):
        resource = ""
        for name in re.findall(r"`([a-z_.]+)`", names):
            resource = name.partition(".")[0] or resource
            told.setdefault(resource + "." + name.partition(".")[2], set()).update(re.findall(r"`(\w+)`", types))
    assert set(told) == set(BY_TYPE)
    for name, types in told.items():
        assert BY_TYPE[name].__name__ in types
    assert f"`{OtherEvent.__name__}`" in DOCUMENT
