"""``link`` and ``connections``: link Sentry accounts, list and unlink them. No token is taken from the arguments."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import typer

from service.app import Runtime
from service.cli.database import open_database
from service.cli.output import AsJson, print_rows
from service.connections.credentials import missing_scopes
from service.connections.linking import LinkRequest
from service.connections.models import ConnectionRecord
from service.connections.removal import find_removal
from service.connections.store import ConnectionStore
from service.errors import BadInput, OrganizationRequired
from service.sentry.profiles import Profile
from service.settings import read_settings
from service.tenants.caller import COMMAND_LINE, Caller, Role
from service.tenants.store import TenantStore

app = typer.Typer(help="List, show and unlink linked Sentry accounts.", no_args_is_help=True)

TOKEN_VARIABLE = "SENTRY_AUTH_TOKEN"  # noqa: S105 - a name; sentry-cli reads the same one

Tenant = Annotated[str | None, typer.Option(help="The tenant's id; may be left out where there is only one.")]
ConnectionId = Annotated[str, typer.Argument(metavar="CONNECTION", help="The connection's id.")]


def link(
    origin: Annotated[str, typer.Option(help="Sentry's address.")] = "https://sentry.io",
    organization: Annotated[
        str | None, typer.Option(help="The organization's slug, where the token reaches several or cannot list them.")
    ] = None,
    external_id: Annotated[
        str | None, typer.Option(help="Your id of the connection; linking again with it replaces the credential.")
    ] = None,
    customer_id: Annotated[str | None, typer.Option(help="Your id of the customer.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people; else the organization's.")] = None,
    project: Annotated[
        list[str] | None, typer.Option(help="Limit it to this project (slug or id); repeat for several.")
    ] = None,
    installation_id: Annotated[
        str | None, typer.Option(help="The installation's UUID, for a public integration's token.")
    ] = None,
    profile: Annotated[
        Profile | None, typer.Option(help="How much of the account to use; full, or what the connection had before.")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Trust the authorities in this PEM file for this Sentry (needs SENTRY_GRAPH_PRIVATE_CA)."),
    ] = None,
    tenant: Tenant = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"Read the token from this file; else from {TOKEN_VARIABLE}, a prompt, or standard input."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Link a Sentry account by its token."""
    request = LinkRequest(
        token=_read_token(token_file),
        origin=origin,
        organization=organization,
        external_id=external_id,
        customer_id=customer_id,
        name=name,
        projects=project or None,
        installation_id=installation_id,
        profile=profile,
        ca_certificate=None if ca_file is None else _read_text(ca_file),
    )

    async def work() -> ConnectionRecord:
        async with _open_runtime() as runtime:
            caller = await _find_caller(runtime.services.tenants, tenant)
            return await runtime.services.linker.link(caller, request)

    try:
        connection = asyncio.run(work())
    except OrganizationRequired as error:
        slugs = ", ".join(error.organizations)
        choice = f"one of: {slugs}" if slugs else "its slug, from the address of its settings page"
        raise BadInput(error.message, cure=f"Repeat with --organization set to {choice}.") from None
    _print([connection], as_json=as_json)
    for feature, scopes in missing_scopes(connection.scopes).items():
        typer.echo(f"Without one of the scopes {', '.join(scopes)}: no {feature}.", err=True)


@app.command("list")
def list_all(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the tenant's connections, oldest first."""

    async def work() -> list[ConnectionRecord]:
        async with open_database() as database:
            caller = await _find_caller(TenantStore(database), tenant)
            return await ConnectionStore(database).every(caller)

    _print(asyncio.run(work()), as_json=as_json)


@app.command("show")
def show(connection_id: ConnectionId, tenant: Tenant = None) -> None:
    """Show one connection as JSON; never its credential."""

    async def work() -> ConnectionRecord:
        async with open_database() as database:
            caller = await _find_caller(TenantStore(database), tenant)
            return (await ConnectionStore(database).get_linked(caller, connection_id)).connection

    _print([asyncio.run(work())], as_json=True)


@app.command("unlink")
def unlink(connection_id: ConnectionId, tenant: Tenant = None) -> None:
    """Destroy the credential; serving processes notice within 5 seconds. The connection stays, as unlinked."""

    async def work() -> ConnectionRecord:
        async with open_database() as database:
            caller = await _find_caller(TenantStore(database), tenant)
            return await ConnectionStore(database).unlink(caller, connection_id)

    connection = asyncio.run(work())
    removal = find_removal(connection.authentication, connection.control_origin, connection.organization_slug)
    typer.echo(
        f"Unlinked {connection.id}. Remove its credential in Sentry too, which only Sentry can revoke: {removal.url}\n"
        f"{removal.instructions}",
        err=True,
    )


@contextlib.asynccontextmanager
async def _open_runtime() -> AsyncIterator[Runtime]:
    """The service's parts without serving: no lock is held, so that it runs beside a serving process."""
    runtime = Runtime.build(read_settings())
    try:
        await runtime.database.check_schema()
        yield runtime
    finally:
        await runtime.services.client.aclose()
        await runtime.database.dispose()


async def _find_caller(tenants: TenantStore, tenant_id: str | None) -> Caller:
    """The operator, acting for a tenant."""
    if tenant_id is not None:
        return Caller((await tenants.get_tenant(tenant_id)).id, Role.ADMIN, COMMAND_LINE)
    found = await tenants.list_tenants()
    if len(found) != 1:
        raise BadInput(
            f"There are {len(found)} tenants.",
            cure="Name one with --tenant; `tenants list` shows them, `tenants create` makes one.",
        )
    return Caller(found[0].id, Role.ADMIN, COMMAND_LINE)


def _read_token(path: Path | None) -> str:
    """The token, from where no other user of the machine sees it (arguments show up in process lists)."""
    if path is not None:
        return _read_text(path)
    if token := os.environ.get(TOKEN_VARIABLE):
        return token
    if sys.stdin.isatty():
        return str(typer.prompt("Token", hide_input=True))
    return sys.stdin.read(10_000)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"{path}: cannot be read as a text file.") from None


def _print(connections: list[ConnectionRecord], *, as_json: bool) -> None:
    short = ("id", "external_id", "customer_id", "name", "status", "authentication", "organization_slug")
    whole = (
        *short,
        "organization_id",
        "control_origin",
        "api_origin",
        "scopes",
        "profile",
        "projects",
        "problem",
        "status_reason",
        "expires_at",
        "created_at",
        "updated_at",
    )
    names = (*whole, "last_used_at") if as_json else short
    rows: list[dict[str, Any]] = [{name: getattr(each, name) for name in names} for each in connections]
    print_rows(rows, as_json=as_json, nothing="Nothing is linked; `python -m service link` links an account.")
