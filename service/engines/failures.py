"""What the failures of a database are called here."""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection, ExceptionContext, event
from sqlalchemy.ext.asyncio import AsyncEngine

from service.errors import ServiceError, StorageOutcomeUnknown, StorageUnavailable

FindFailure = Callable[[BaseException], tuple[str, bool] | None]
"""A message for a driver's error that is the database's failure, and whether the transaction is known to be undone."""


def explain_failures(engine: AsyncEngine, find: FindFailure) -> AsyncEngine:
    """Have an engine raise typed errors for what ``find`` knows."""
    event.listen(engine.sync_engine, "begin", _note_begin)
    event.listen(engine.sync_engine, "commit", _note_commit)
    event.listen(engine.sync_engine, "handle_error", partial(_explain_failure, find=find), retval=True)
    return engine


def _note_begin(connection: Connection) -> None:
    connection.info["is_committing"] = False


def _note_commit(connection: Connection) -> None:
    connection.info["is_committing"] = True


def _explain_failure(context: ExceptionContext, find: FindFailure) -> ServiceError | None:
    """The typed error for a failure that is the database's; None leaves SQLAlchemy's own."""
    found = find(context.original_exception)
    if found is None or context.is_pre_ping:
        return None
    message, is_undone = found
    if not is_undone and context.connection is not None and context.connection.info.get("is_committing"):
        return StorageOutcomeUnknown("The database's answer to a commit was lost.")
    return StorageUnavailable(message)
