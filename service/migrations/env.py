"""Run by Alembic, with the connection that :meth:`service.db.Database.migrate` hands over inside its transaction."""

import structlog
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

_log = structlog.get_logger("service.migrations")


def _report(ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object) -> None:  # noqa: ARG001 - Alembic's
    _log.info("tables_changed", revision=step.up_revision_id, direction="up" if step.is_upgrade else "down")


context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,
    render_as_batch=True,  # SQLite alters a table by replacing it
    on_version_apply=_report,
)
context.run_migrations()
