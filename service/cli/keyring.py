"""``keys``: the keyring that seals stored secrets. All of it works beside serving processes."""

import asyncio
from typing import Annotated

import typer

from service.cli.database import open_database
from service.cli.output import AsJson, print_rows
from service.connections import rewrap as rewrapping
from service.connections.keyring import Keyring
from service.connections.vault import Vault
from service.settings import read_settings

app = typer.Typer(help="Make, rotate and retire the keys that seal stored secrets.", no_args_is_help=True)


@app.command("init")
def init() -> None:
    """Make the keyring file. Back it up: without it no stored credential can be used."""
    path = read_settings().keyring_file
    keyring = Keyring.init(path)
    typer.echo(f"Made {path} with the key {keyring.active_id}.", err=True)


@app.command("rotate")
def rotate() -> None:
    """Add a key and seal with it from now on; serving processes notice by themselves."""
    added = _load().rotate()
    typer.echo(f"The active key is {added}. `keys rewrap` seals what is stored anew with it.", err=True)


@app.command("rewrap")
def rewrap(
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Secrets sealed in one transaction.")] = 100,
) -> None:
    """Seal everything stored anew under the active key. May be stopped at any point and started again."""
    # Not at the top: it takes 4 MiB, which a serving process goes without.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    vault = Vault(_load())

    async def work(progress: Progress) -> rewrapping.Rewrapped:
        task = progress.add_task("sealing anew", total=None)
        async with open_database() as database:
            return await rewrapping.rewrap(
                database,
                vault,
                batch=batch,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        done = asyncio.run(work(progress))
    typer.echo(f"Sealed {done.rewrapped} secrets anew.", err=True)
    if done.unreadable:
        typer.echo(
            f"No key of the keyring opens {done.unreadable} others: restore the keys, or link those accounts again.",
            err=True,
        )
        raise typer.Exit(1)


@app.command("retire")
def retire(key_id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, from `keys status`.")]) -> None:
    """Take a key out of the keyring for good, once nothing stored needs it."""
    keyring = _load()

    async def work() -> None:
        async with open_database() as database:
            await rewrapping.retire(database, keyring, key_id)

    asyncio.run(work())
    typer.echo(f"Retired {key_id}.", err=True)


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """List the keys and how many stored secrets need each; never the keys themselves."""
    keyring = _load()

    async def work() -> dict[str, int]:
        async with open_database() as database:
            return await rewrapping.count_by_key(database)

    secrets = asyncio.run(work())
    states = dict.fromkeys(secrets, "MISSING") | dict.fromkeys(keyring.key_ids, "old") | {keyring.active_id: "active"}
    rows = [{"key": key_id, "state": states[key_id], "secrets": secrets.get(key_id, 0)} for key_id in sorted(states)]
    print_rows(rows, as_json=as_json, nothing="")


def _load() -> Keyring:
    return Keyring.load(read_settings().keyring_file)
