"""``api-keys``: the credentials of the tenants' own clients."""

import asyncio
import json
from datetime import datetime
from typing import Annotated, Any

import typer

from service.cli.database import open_database
from service.cli.output import AsJson, print_rows
from service.connections.keyring import Keyring
from service.errors import BadInput
from service.settings import read_settings
from service.tenants.caller import Role
from service.tenants.models import ApiKeyRecord
from service.tenants.store import TenantStore

app = typer.Typer(help="Create, list and revoke the API keys of a tenant's clients.", no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")]


@app.command("create")
def create(
    tenant_id: TenantId,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[Role, typer.Option(help="What it may do; each includes the ones before it.")] = Role.READ,
    connection: Annotated[
        list[str] | None, typer.Option(help="Narrow it to this connection id; repeat for several.")
    ] = None,
    external_id: Annotated[
        list[str] | None, typer.Option(help="Narrow it to the connection of this externalId; repeat for several.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, as 2030-01-31T00:00:00Z; else never.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key and print it, this once."""
    expires_at = _parse_time(expires)

    async def work() -> tuple[ApiKeyRecord, str]:
        pepper = Keyring.load(read_settings().keyring_file).api_key_pepper
        async with open_database() as database:
            return await TenantStore(database).create_key(
                tenant_id,
                name=name,
                role=role,
                pepper=pepper,
                connection_ids=connection or None,
                external_ids=external_id or None,
                expires_at=expires_at,
            )

    record, shown = asyncio.run(work())
    if as_json:
        typer.echo(json.dumps({"id": record.id, "key": shown}))
    else:
        typer.echo(shown)
    typer.echo(f"This is the key {record.id}. It is shown only now: keep it where secrets are kept.", err=True)


@app.command("list")
def list_all(tenant_id: TenantId, as_json: AsJson = False) -> None:
    """List a tenant's keys, oldest first, revoked ones too; never the keys themselves."""

    async def work() -> list[ApiKeyRecord]:
        async with open_database() as database:
            store = TenantStore(database)
            await store.get_tenant(tenant_id)
            return await store.list_keys(tenant_id)

    _print(asyncio.run(work()), as_json=as_json)


@app.command("revoke")
def revoke(
    tenant_id: TenantId,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, from `api-keys list`.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key for good; serving processes notice within 5 seconds."""

    async def work() -> ApiKeyRecord:
        async with open_database() as database:
            return await TenantStore(database).revoke_key(tenant_id, key_id)

    _print([asyncio.run(work())], as_json=as_json)


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("--expires is a time with its offset, as 2030-01-31T00:00:00Z.") from None


def _print(keys: list[ApiKeyRecord], *, as_json: bool) -> None:
    names = ("id", "name", "prefix", "role", "connection_ids", "external_ids", "created_at", "expires_at")
    rows: list[dict[str, Any]] = [
        {name: getattr(key, name) for name in (*names, "last_used_at", "revoked_at")} for key in keys
    ]
    print_rows(rows, as_json=as_json, nothing="There are no API keys; `python -m service api-keys create` makes one.")
