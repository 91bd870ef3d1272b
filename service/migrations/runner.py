"""Runs Alembic. Imported only where the tables have to change: a serving process does without its 10 MiB."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

__all__ = ["CommandError", "downgrade", "upgrade"]


def upgrade(connection: Connection, revision: str) -> None:
    """Bring the tables up to a revision, on a connection whose transaction is the caller's.

    Raises :class:`CommandError` where a newer version of the program made them.
    """
    _run(connection, command.upgrade, revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Take the tables back to a revision ("base": none). Raises as :func:`upgrade` does."""
    _run(connection, command.downgrade, revision)


def _build_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _run(connection: Connection, change: Callable[[Config, str], None], revision: str) -> None:
    config = _build_config()
    config.attributes["connection"] = connection
    change(config, revision)
