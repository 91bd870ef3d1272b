import subprocess
import sys

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["tenants", "bogus"], ["tenants", "create"], ["api-keys", "create", "a", "b", "--role", "root"]],
)
def test_a_wrong_command_line_is_exit_code_2(run: Run, arguments: list[str]):
    code, output, error = run(*arguments)
    assert (code, output) == (2, "")
    assert "Usage: " in error


def test_a_wrong_setting_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_GRAPH_PORT", "hunter2")
    code, output, error = run("tenants", "list")
    assert (code, output) == (1, "")
    assert error.startswith("Error: SENTRY_GRAPH_PORT: ")
    assert "hunter2" not in error


def test_an_error_that_nobody_foresaw_shows_no_secret():
    program = """if True:
        from service.cli import app, main
        @app.command()
        def fail():
            token = "sntryu_" + "0a" * 32
            raise ValueError(f"cannot use {token}")
        main()
    """
    done = subprocess.run([sys.executable, "-c", program, "fail"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "uncaught_exception" in done.stderr
    assert "ValueError: cannot use" in done.stderr
    assert "0a0a" not in done.stderr + done.stdout


def test_python_m_service():
    done = subprocess.run([sys.executable, "-m", "service", "--help"], capture_output=True, text=True, check=True)
    for command in ("tenants", "api-keys", "migrate", "settings"):
        assert command in done.stdout


def test_nothing_is_imported_that_serving_on_sqlite_does_without():
    command = [sys.executable, "-X", "importtime", "-m", "service", "settings"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"service.app", "sqlalchemy.dialects.sqlite"} <= imported
    assert imported.isdisjoint(
        {"aiohttp", "alembic", "asyncpg", "cryptography.x509", "jinja2", "joserfc", "websockets"}
    )
    assert imported.isdisjoint({"rich.console", "service.sandbox.structure", "sqlalchemy.dialects.postgresql"})
