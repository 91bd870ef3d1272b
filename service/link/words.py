"""The words of the link page, apart from its templates: one TOML file a language."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "strings"


class Words:
    """Texts by dotted names such as ``start.title``."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    @classmethod
    def load(cls, language: str = "en") -> "Words":
        """Read a language's file."""
        with (_FOLDER / f"{language}.toml").open("rb") as file:
            return cls(dict(_flatten(tomllib.load(file))))

    def __call__(self, name: str, **values: str) -> str:
        """A text with its ``{names}`` filled in. Raises :class:`KeyError` for what is not there."""
        return self._texts[name].format(**values)

    def names(self) -> frozenset[str]:
        """Every name."""
        return frozenset(self._texts)

    def fields(self, name: str) -> str:
        """A text as it is written, with its ``{names}``."""
        return self._texts[name]


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in table.items():
        found += _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return found
