"""How a command gets at the database, beside a serving process or without one."""

import contextlib
from collections.abc import AsyncIterator

from service.db import Database
from service.settings import read_settings


@contextlib.asynccontextmanager
async def open_database(*, is_migrated: bool = True) -> AsyncIterator[Database]:
    """The settings' database; where ``is_migrated``, one that has this version's tables.

    Raises :class:`service.errors.ConfigurationError` and :class:`service.errors.StorageUnavailable`.
    """
    database = Database(read_settings().database_url)
    try:
        if is_migrated:
            await database.check_schema()
        yield database
    finally:
        await database.dispose()
