"""PostgreSQL, by asyncpg."""

from typing import Any

import asyncpg
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.engines.failures import explain_failures
from service.errors import ConfigurationError, StorageUnavailable

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST = ("08", "57P")  # connection exceptions, shutdowns
_UNDONE = ("40", "53", "58", "55P03", "57014", "25P03", "0A000")  # see _find_failure


def create_postgres_engine(url: str, *, migrating: bool = False) -> AsyncEngine:
    """Pre-pinged connections with time limits on the server, but for migrations, which may take their time.

    asyncpg reads the URL itself, so that ``?sslmode=verify-full&sslrootcert=…`` and the like mean what they mean to
    libpq (https://www.postgresql.org/docs/current/libpq-connect.html).
    """
    limits = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
    settings = {"application_name": "sentry-graph", "jit": "off"} | ({} if migrating else limits)
    answer_timeout = None if migrating else 40  # for a server that vanished; otherwise its own limits come first
    pool: dict[str, Any] = (
        {"poolclass": NullPool}
        if migrating
        else {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 5, "pool_timeout": 10, "pool_recycle": 1800}
    )

    async def connect() -> Any:
        try:
            return await asyncpg.connect(  # type: ignore[no-untyped-call]  # asyncpg has no types
                url, timeout=10, command_timeout=answer_timeout, server_settings=settings
            )
        except ValueError:  # its ClientConfigurationError and what urllib says, which may quote the password
            raise ConfigurationError(
                "The database's URL cannot be used.",
                cure="Write postgresql://user:password@host/name?sslmode=require; percent-encode special characters.",
            ) from None
        except (OSError, asyncpg.exceptions.PostgresError, asyncpg.exceptions.InterfaceError) as error:
            raise StorageUnavailable("The database cannot be reached.") from error

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, hide_parameters=True, **pool)
    return explain_failures(engine, _find_failure)


def _find_failure(error: BaseException) -> tuple[str, bool] | None:
    """A message, and whether the transaction is known to be undone.

    Undone and worth another try: conflicts of transactions, lack of resources, failures of the system, time limits,
    and statements prepared before another process migrated (0A000).
    """
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_UNDONE):
        return "The database is too busy or out of resources.", True
    if state.startswith(_LOST) or isinstance(error, OSError | asyncpg.exceptions.InterfaceError):
        return "The connection to the database was lost.", False
    return None
