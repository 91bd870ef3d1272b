"""docs/operations.md says what the code does."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from service.cli import app
from service.operations.metrics import Metrics
from service.settings import PREFIX, Settings

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def find_commands() -> set[tuple[str, ...]]:
    """Every command line of the service, as its words behind `python -m service` or the image's name."""
    found = re.findall(r"(?:python -m service|sentry-graph) ([a-z][a-zA-Z -]*)", TEXT)
    return {tuple(shlex.split(line)) for line in found}


def test_every_metric_is_listed_and_no_other():
    families = [family for family in Metrics("1").registry.collect() if family.name.startswith("sentry_graph_")]
    suffixes = {"counter": "_total", "info": "_info"}
    names = {family.name + suffixes.get(family.type, "") for family in families}
    assert names == set(re.findall(r"`(sentry_graph_\w+)`", TEXT))


def test_every_setting_that_it_names_exists():
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", TEXT))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_it_names_commands():
    assert {("serve",), ("keys", "init"), ("keys", "rotate"), ("migrate",)} & find_commands()


@pytest.mark.parametrize("words", sorted(find_commands()), ids=" ".join)
def test_every_command_that_it_names_exists(words):
    command = get_command(app)
    for word in words:
        if not isinstance(command, typer.core.TyperGroup):
            break
        assert word in command.commands
        command = command.commands[word]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
