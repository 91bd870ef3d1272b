"""The command line: ``python -m service``, or ``sentry-graph`` where it is installed. Each room has a module here."""

import sys

import typer
from typer.main import get_command

from service.cli import api_keys, demo, keyring, link, migrate, schema, serve, settings, tenants, webhooks
from service.errors import ServiceError, StorageUnavailable
from service.operations.logs import configure_logging
from service.operations.redaction import redact_text

app = typer.Typer(
    name="sentry-graph",
    help="One GraphQL graph over every linked Sentry account. Settings come from the environment (SENTRY_GRAPH_…).",
    no_args_is_help=True,
    add_completion=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.add_typer(tenants.app, name="tenants")
app.add_typer(api_keys.app, name="api-keys")
app.add_typer(keyring.app, name="keys")
app.add_typer(link.app, name="connections")
app.add_typer(webhooks.app, name="webhooks")
app.command("link")(link.link)
app.command("migrate")(migrate.migrate)
app.command("schema")(schema.print_schema)
app.command("settings")(settings.print_settings)


def main() -> None:
    """Run a command. An error is a line on standard error: exit code 1, or 2 where the command line is wrong.

    What nobody foresaw is a traceback by our logging, which masks secrets; ``app()`` would have Typer write it.
    """
    configure_logging("console", "warning")
    run = get_command(app)
    try:
        run()
    except ServiceError as error:
        typer.echo(f"Error: {_describe(error)}", err=True)
        if error.cure:
            typer.echo(error.cure, err=True)
        sys.exit(1)


def _describe(error: ServiceError) -> str:
    """The message; of a failure of the database also what the driver said, which callers of the service never see."""
    if isinstance(error, StorageUnavailable) and error.__cause__ is not None:
        return redact_text(f"{error.message.rstrip('.')}: {error.__cause__}", limit=500).replace("\n", " ")
    return error.message
