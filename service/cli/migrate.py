"""``migrate``: the database's tables."""

import asyncio
from typing import Annotated

import typer

from service.cli.database import open_database


def migrate(
    down: Annotated[
        str | None,
        typer.Option(
            metavar="REVISION", help="Go back to this revision instead (`base`: no tables). What came later is lost."
        ),
    ] = None,
) -> None:
    """Create the database's tables, or bring them to this version."""

    async def work() -> None:
        async with open_database(is_migrated=False) as database:
            if down is None:
                await database.migrate()
            else:
                await database.downgrade(down)

    asyncio.run(work())
    typer.echo(f"The tables are at revision {down}." if down else "The tables are up to date.", err=True)
