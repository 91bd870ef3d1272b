"""The two forms of the predicate agree, on both databases; and no query goes around it."""

import ast
import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

import service
from service.connections.models import ConnectionRecord
from service.connections.store import ConnectionStore
from service.connections.visibility import check_text, is_visible, visible
from service.db import Database
from service.errors import BadInput
from service.tenants.caller import Caller, Role
from tests.connections.factory import add_connection, add_tenant
from tests.scale import scaled

SERVICE = Path(service.__file__).parent
TABLES = {"ConnectionRecord", "CredentialRecord", "IdempotencyRecord"}
STORES = {
    "connections/visibility.py",
    "connections/store.py",
    "connections/idempotency.py",
    "connections/installations.py",  # every tenant's rows: it unlinks what Sentry uninstalled, and tells what is taken
    "connections/refresh_store.py",  # every tenant's credentials: it only renews them, each by its tenant and id
    "connections/rewrap.py",  # every tenant's rows: it only seals anew what is sealed
    "link/installing.py",  # the connection of a session that somebody may link by, by the session's tenant
    "link/sessions.py",  # with the predicate
    "link/visits.py",  # as installing
    "repair/claims.py",  # every tenant's rows: it only looks at them for the service itself, each by its tenant and id
    "webhooks/claiming.py",  # the connections of events that are delivered, by the event's tenant
    "webhooks/finding.py",  # every tenant's receivers: it only finds the connection of each, by its tenant and id
    "webhooks/receivers.py",  # with the predicate
}
BY_NAME = ("cust", "CUST", "cust ", "é", "e\u0301", "a%", "", "'")


@settings(
    max_examples=scaled(test=60, soak=2000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_both_forms_of_the_predicate_agree(data, known):
    loop, database, connections = known
    ids = st.sampled_from([*(connection.id for connection in connections), "con_" + "0" * 26, "", "\0", "\ud800"])
    names = st.sampled_from([*BY_NAME, "never", "\0", "\ud800", "x" * 201])
    caller = data.draw(
        st.builds(
            Caller,
            st.sampled_from(["ten_1", "ten_2", "TEN_1", "ten_3"]),
            st.sampled_from(Role),
            st.just("test"),
            st.none() | st.frozensets(ids, max_size=4),
            st.none() | st.frozensets(names, max_size=4),
        )
    )

    async def select_visible() -> set[str]:
        async with database.session() as session:
            return set(await session.exec(select(ConnectionRecord.id).where(*visible(caller))))

    assert loop.run_until_complete(select_visible()) == {
        connection.id for connection in connections if is_visible(caller, connection)
    }


@pytest.fixture
def known(database_url, vault):
    """Two tenants' connections, on a loop of the test's own: hypothesis calls it many times."""
    loop = asyncio.new_event_loop()
    database = Database(database_url)
    store = ConnectionStore(database)

    async def fill() -> list[ConnectionRecord]:
        return [
            await add_connection(store, vault, caller, name or None)
            for caller in (await add_tenant(database, "ten_1"), await add_tenant(database, "ten_2"))
            for name in BY_NAME
        ]

    yield loop, database, loop.run_until_complete(fill())
    loop.run_until_complete(database.dispose())
    loop.close()


@pytest.mark.parametrize("text", ["", " ", "x" * 201, "a\0", "\udfff"])
def test_text_that_cannot_be_stored_is_refused_by_its_argument(text):
    with pytest.raises(BadInput, match="externalId"):
        check_text("externalId", text)


def test_text_that_can_be_stored_is_given_back():
    assert check_text("externalId", "é" * 200) == "é" * 200


# --- nothing goes around it ---


def modules() -> list[Path]:
    return sorted(path for path in SERVICE.rglob("*.py") if "migrations" not in path.parts)


def names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} | {
        each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)
    }


def statements(tree: ast.AST) -> list[ast.Call]:
    """Calls that read or write a table: SQL built, or a session's own shortcuts."""
    words = {"select", "update", "delete", "insert", "select_from", "join", "get", "get_one", "add", "add_all", "merge"}
    return [
        call
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and (getattr(call.func, "id", None) in words or getattr(call.func, "attr", None) in words)
    ]


def test_no_other_module_queries_these_tables():
    offenders = [
        f"{path.relative_to(SERVICE)}:{call.lineno}"
        for path in modules()
        if str(path.relative_to(SERVICE)) not in STORES
        for call in statements(ast.parse(path.read_text()))
        if any(TABLES & names_in(argument) for argument in [*call.args, *(each.value for each in call.keywords)])
    ]
    assert offenders == []


def test_no_other_module_names_these_tables_in_sql_text():
    offenders = [
        f"{path.relative_to(SERVICE)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", None) == "text"
        and any(table in ast.dump(node) for table in ("connections", "credentials", "idempotency_keys"))
    ]
    assert offenders == []


@pytest.mark.parametrize(
    "module", ["connections/store.py", "connections/idempotency.py", "link/sessions.py", "webhooks/receivers.py"]
)
def test_every_query_of_a_caller_carries_the_predicate(module):
    tree = ast.parse((SERVICE / module).read_text())
    checked = 0
    for function in ast.walk(tree):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        arguments = {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}
        queries = [call for call in statements(function) if getattr(call.func, "id", None) in {"select", "update"}]
        if "caller" in arguments and queries:
            held = {"visible", "_visible", "_row", "_change", "_get_connection"}
            assert names_in(function) & held, f"{module}:{function.name}"
            checked += 1
    assert checked >= 2
