"""``settings``: the reference of all settings, as Markdown; ``docs/settings.md`` is its output."""

import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.settings import PREFIX, JwtIssuer, OAuthClientSettings, SentryAppSettings, Settings

_INTRODUCTION = f"""\
<!-- Printed by `python -m service settings` from service/settings.py; a test fails when it is stale. -->
# Settings

Settings are environment variables, read once at start-up. Their names begin with `{PREFIX}`; lists and objects are
written as JSON. A wrong value, or a variable that is no setting, stops the start with one line that names it. Values
are never printed.
"""

_ISSUERS = f"""\
## Issuers of JWTs

`{PREFIX}JWT_ISSUERS` is a list of objects with these members:
"""

_OAUTH_CLIENTS = f"""\
## OAuth applications

`{PREFIX}OAUTH_CLIENTS` is a list of objects with these members:
"""

_SENTRY_APPS = f"""\
## Public integrations

`{PREFIX}SENTRY_APPS` is a list of objects with these members:
"""


def print_settings() -> None:
    """Print the reference of all settings as Markdown."""
    typer.echo(build_settings_page(), nl=False)


def build_settings_page() -> str:
    """The Markdown page, from the code."""
    fields = {f"{PREFIX}{name.upper()}": field for name, field in Settings.model_fields.items()}
    parts = [
        _INTRODUCTION,
        _build_table("Variable", fields),
        _ISSUERS,
        _build_table("Member", JwtIssuer.model_fields),
        _OAUTH_CLIENTS,
        _build_table("Member", OAuthClientSettings.model_fields),
        _SENTRY_APPS,
        _build_table("Member", SentryAppSettings.model_fields),
    ]
    return "\n".join(parts)


def _build_table(kind: str, fields: dict[str, FieldInfo]) -> str:
    rows = [f"| {kind} | Type | Default | Meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {_describe_type(field.annotation)}{_describe_bounds(field)} | {_describe_default(field)} "
        f"| {field.description} |"
        for name, field in fields.items()
    ]
    return "\n".join(rows) + "\n"


def _describe_type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin is types.UnionType:
        return _describe_type(next(each for each in arguments if each is not types.NoneType))
    if origin is tuple:
        return "list of " + _describe_type(arguments[0]).replace(" or ", ", ")
    names: dict[Any, str] = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "`true` or `false`",
        Path: "path",
        SecretStr: "text",
        **dict.fromkeys((JwtIssuer, OAuthClientSettings, SentryAppSettings), "objects"),
    }
    return names[annotation]


def _describe_bounds(field: FieldInfo) -> str:
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    found = [
        f"{word} {getattr(bound, name):,}"
        for bound in field.metadata
        for name, word in words.items()
        if getattr(bound, name, None) is not None
    ]
    return f" ({' '.join(found)})" if found else ""


def _describe_default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "must be set"
    if default is None:
        return "unset"
    if isinstance(default, tuple):
        return f"`{json.dumps(default)}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
