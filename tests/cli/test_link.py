import io
import json
import sys
from pathlib import Path

import pytest

from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from tests.canary import find_canary
from tests.cli.conftest import Run


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, sandbox: Sandbox) -> str:
    """The sandbox's address; with a database, a keyring and a tenant."""
    monkeypatch.setenv("SENTRY_GRAPH_DATABASE_URL", f"sqlite:///{tmp_path}/graph.db")
    monkeypatch.setenv("SENTRY_GRAPH_KEYRING_FILE", str(tmp_path / "keyring.json"))
    monkeypatch.setenv("SENTRY_GRAPH_EGRESS_ALLOW", json.dumps([sandbox.url]))
    monkeypatch.delenv("SENTRY_AUTH_TOKEN", raising=False)
    for command in (["migrate"], ["keys", "init"], ["tenants", "create", "Acme", "--id", "ten_1"]):
        assert run(*command)[0] == 0
    return sandbox.url


@pytest.fixture
def paste(monkeypatch: pytest.MonkeyPatch):
    def paste(token: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(token + "\n"))

    return paste


def linked(run: Run) -> list[dict]:
    code, output, _ = run("connections", "list", "--json")
    assert code == 0
    return list(json.loads(output))


def test_a_token_is_linked_listed_shown_and_unlinked(run: Run, origin: str, paste):
    paste(DEMO_TOKENS.admin)
    options = ["--external-id", "cust", "--customer-id", "c", "--name", "Mine", "--tenant", "ten_1", "--json"]
    code, output, error = run("link", "--origin", origin, "--organization", "paper-boat", *options)
    assert (code, error) == (0, "")
    [connection] = json.loads(output)
    assert (connection["external_id"], connection["customer_id"], connection["name"]) == ("cust", "c", "Mine")
    assert [each["id"] for each in linked(run)] == [connection["id"]]
    code, output, _ = run("connections", "show", connection["id"])
    assert code == 0
    assert json.loads(output) == [connection]
    code, _, error = run("connections", "unlink", connection["id"])
    assert code == 0
    assert origin in error
    assert [each["status"] for each in linked(run)] == ["unlinked"]


def test_a_token_comes_from_a_file_or_a_variable(run: Run, origin: str, tmp_path: Path, monkeypatch):
    (tmp_path / "token").write_text(f"{DEMO_TOKENS.admin}\n")
    file = ["--token-file", str(tmp_path / "token")]
    assert run("link", "--origin", origin, "--organization", "paper-boat", *file)[0] == 0
    monkeypatch.setenv("SENTRY_AUTH_TOKEN", DEMO_TOKENS.internal)
    assert run("link", "--origin", origin, "--organization", "lumen-labs")[0] == 0
    assert {each["authentication"] for each in linked(run)} == {"user_token", "internal_token"}
    code, _, error = run("link", "--token-file", str(tmp_path / "never"))
    assert code == 1
    assert "cannot be read" in error


def test_a_token_is_prompted_for_unseen(run: Run, origin: str, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: DEMO_TOKENS.member)
    code, output, error = run("link", "--origin", origin)
    assert code == 0
    assert find_canary(DEMO_TOKENS.member, (output + error).encode()) == []


def test_the_choice_of_organizations_is_printed(run: Run, origin: str, paste):
    paste(DEMO_TOKENS.admin)
    code, _, error = run("link", "--origin", origin)
    assert code == 1
    assert "--organization set to one of: lumen-labs, northwind-rail, paper-boat" in error
    paste(DEMO_TOKENS.internal)
    assert "its slug" in run("link", "--origin", origin)[2]
    assert linked(run) == []


def test_missing_scopes_are_explained(run: Run, origin: str, paste):
    paste(DEMO_TOKENS.limited)
    code, output, error = run("link", "--origin", origin, "--organization", "lumen-labs", "--project", "checkout")
    assert code == 0, error
    assert "lumen-labs" in output
    assert "member:read" in error
    assert "no users" in error
    assert [project["slug"] for project in linked(run)[0]["projects"]] == ["checkout"]


def test_the_tenant_may_be_left_out_where_there_is_one(run: Run, origin: str, paste):
    assert run("tenants", "create", "Other", "--id", "ten_2")[0] == 0
    code, _, error = run("connections", "list")
    assert code == 1
    assert "--tenant" in error
    assert run("connections", "list", "--tenant", "ten_2")[2].startswith("Nothing is linked")
    assert run("connections", "list", "--tenant", "ten_never")[0] == 1


def test_another_tenants_connection_is_not_there(run: Run, origin: str, paste):
    paste(DEMO_TOKENS.admin)
    assert run("link", "--origin", origin, "--organization", "paper-boat")[0] == 0
    [connection] = linked(run)
    assert run("tenants", "create", "Other", "--id", "ten_2")[0] == 0
    for command in ("show", "unlink"):
        code, output, error = run("connections", command, connection["id"], "--tenant", "ten_2")
        assert (code, output) == (1, "")
        assert "no such connection" in error


def test_no_output_shows_a_token(run: Run, origin: str, paste, tmp_path: Path):
    shown = b""
    for token in (DEMO_TOKENS.admin, DEMO_TOKENS.expired, DEMO_TOKENS.admin + "x"):
        paste(token)
        _, output, error = run("link", "--origin", origin, "--organization", "paper-boat")
        shown += (output + error).encode()
    shown += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert find_canary(DEMO_TOKENS.admin, shown) == []
    assert find_canary(DEMO_TOKENS.expired, shown) == []


def test_the_profile_is_stored_and_enforced_ever_after(run: Run, origin: str, paste):
    options = ["--origin", origin, "--organization", "paper-boat", "--external-id", "cust", "--json"]
    for given, expected in (["--profile", "triage"], "triage"), ([], "triage"), (["--profile", "full"], "full"):
        paste(DEMO_TOKENS.admin)
        code, output, error = run("link", *options, *given)
        assert code == 0, error
        assert json.loads(output)[0]["profile"] == expected
    code, _, error = run("link", "--profile", "everything")
    assert code == 2
    assert "everything" in error


def test_a_private_authority_needs_the_operators_leave(run: Run, origin: str, tmp_path: Path, monkeypatch, paste):
    authority = tmp_path / "ca.pem"
    authority.write_text("no certificate")
    options = ["link", "--origin", origin, "--organization", "paper-boat", "--ca-file"]
    paste(DEMO_TOKENS.admin)
    code, _, error = run(*options, str(authority))
    assert code == 1
    assert "SENTRY_GRAPH_PRIVATE_CA" in error
    monkeypatch.setenv("SENTRY_GRAPH_PRIVATE_CA", "true")
    paste(DEMO_TOKENS.admin)
    assert "not a certificate" in run(*options, str(authority))[2]
    paste(DEMO_TOKENS.admin)
    assert "cannot be read" in run(*options, str(tmp_path / "never.pem"))[2]


def test_unlinking_says_where_to_remove_the_token(run: Run, origin: str, paste):
    paste(DEMO_TOKENS.internal)
    assert run("link", "--origin", origin, "--organization", "lumen-labs")[0] == 0
    code, _, error = run("connections", "unlink", linked(run)[0]["id"])
    assert code == 0
    assert f"{origin}/settings/lumen-labs/developer-settings/" in error
