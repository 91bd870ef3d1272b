"""What commands print: lists as aligned columns for people, or as JSON for programs."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, nothing: str) -> None:
    """Print rows that have the same names; ``nothing`` is said where there are none."""
    if as_json:
        typer.echo(json.dumps(rows, default=_as_text, indent=2))
        return
    if not rows:
        typer.echo(nothing, err=True)
        return
    table = [[name.replace("_", " ").upper() for name in rows[0]]]
    table += [[_as_text(value) for value in row.values()] for row in rows]
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    for line in table:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _as_text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, list):
        return ", ".join(value) or "(nothing)"
    return str(value)
