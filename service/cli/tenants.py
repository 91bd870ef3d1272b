"""``tenants``: the SaaS company's own isolation units."""

import asyncio
from typing import Annotated

import typer

from service.cli.database import open_database
from service.cli.output import AsJson, print_rows
from service.tenants.models import TenantRecord
from service.tenants.store import TenantStore

app = typer.Typer(help="Create and list tenants, which own connections and API keys.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    tenant_id: Annotated[
        str | None, typer.Option("--id", help="An id of your own, where JWTs name the tenant; else one is made.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant and print it."""

    async def work() -> TenantRecord:
        async with open_database() as database:
            return await TenantStore(database).create_tenant(name, tenant_id=tenant_id)

    _print([asyncio.run(work())], as_json=as_json)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the tenants, oldest first."""

    async def work() -> list[TenantRecord]:
        async with open_database() as database:
            return await TenantStore(database).list_tenants()

    _print(asyncio.run(work()), as_json=as_json)


def _print(tenants: list[TenantRecord], *, as_json: bool) -> None:
    rows = [{"id": tenant.id, "name": tenant.name, "created_at": tenant.created_at} for tenant in tenants]
    print_rows(rows, as_json=as_json, nothing="There are no tenants; `python -m service tenants create` makes one.")
