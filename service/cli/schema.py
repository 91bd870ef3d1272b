"""``schema``: the graph in SDL."""

from typing import Annotated

import typer

from service.schema.build import print_full_sdl, print_sdl


def print_schema(
    full: Annotated[
        bool, typer.Option("--full", help="With `node` and `nodes`, which a subgraph leaves out: for code generators.")
    ] = False,
    auth_directives: Annotated[
        bool, typer.Option("--auth-directives", help="With @authenticated and @requiresScopes.")
    ] = False,
) -> None:
    """Print the schema that a gateway composes."""
    typer.echo(print_full_sdl() if full else print_sdl(auth_directives=auth_directives), nl=False)
