from hypothesis import settings

from tests.browser.skipping import pytest_terminal_summary
from tests.databases import database, database_url, postgres, postgres_url, sqlite_template, sqlite_url
from tests.graph_fixture import graph
from tests.sandbox_fixture import sandbox, sandbox_server
from tests.scratch import pytest_configure

__all__ = [
    "database",
    "database_url",
    "graph",
    "postgres",
    "postgres_url",
    "pytest_configure",
    "pytest_terminal_summary",
    "sandbox",
    "sandbox_server",
    "sqlite_template",
    "sqlite_url",
]

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
