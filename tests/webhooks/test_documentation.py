"""What docs/events.md says of forwarding: its operations are the graph's, and its figures ours."""

import json
import re
from pathlib import Path

from graphql import get_named_type, parse, validate

from service.schema.build import build_schema
from service.webhooks.deliverer import LEASE_SECONDS
from service.webhooks.endpoint_rules import MOST_ENDPOINTS
from service.webhooks.message import build_envelope
from service.webhooks.schedule import FAILING_FOR, WAITS
from service.webhooks.sending import DEADLINE
from tests.webhooks.test_message import NAMES, event

TEXT = (Path(__file__).parents[2] / "docs/events.md").read_text()
FORWARD = TEXT[TEXT.index("## Forward") : TEXT.index("## Subscribe")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", FORWARD, re.DOTALL)


def test_the_operations_are_valid() -> None:
    schema = build_schema()._schema
    assert len(blocks("graphql")) == 2
    for text in blocks("graphql"):
        assert validate(schema, parse(text)) == []


def test_the_mutations_in_the_text_take_what_is_said() -> None:
    mutation = build_schema()._schema.mutation_type
    assert mutation is not None
    said = re.findall(r"`(\w+Webhook\w+)\((.*?)\)`", FORWARD)
    assert len(said) == 6
    for name, arguments in said:
        known = set(mutation.fields[name].args)
        if "input" in known:
            known |= set(get_named_type(mutation.fields[name].args["input"].type).fields)
        assert set(re.findall(r"\w+", arguments)) <= known


def test_the_body_has_the_fields_that_are_said() -> None:
    [text] = blocks("json")
    said = json.loads(text)
    sent = json.loads(build_envelope(event(), NAMES))
    assert list(said) == list(sent)
    assert list(said["connection"]) == list(sent["connection"])


def test_the_figures_are_ours() -> None:
    assert (DEADLINE, MOST_ENDPOINTS, LEASE_SECONDS, FAILING_FOR.days) == (15, 50, 30, 5)
    assert [wait.total_seconds() / 3600 for wait in WAITS[3:]] == [2, 5, 10, 14, 20, 24]
    for said in ("within 15 seconds", "at most 50", "half a minute", "five days", "2, 5, 10, 14, 20 and 24\nhours"):
        assert said in FORWARD
