"""Imports point downward. The table is the map of the rooms: whoever adds one gives it a place here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "service"

# From top to bottom. A room imports those below it; those beside it know nothing of each other.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"app", "sandbox"}),
    frozenset({"schema", "operations"}),
    frozenset({"graphql_http", "proxy", "link", "webhooks", "repair"}),
    frozenset({"directory"}),
    frozenset({"connections"}),
    frozenset({"tenants"}),
    frozenset({"events", "journal", "last_used"}),
    frozenset({"group_commit"}),
    frozenset({"db"}),
    frozenset({"announcements", "engines", "migrations", "sentry"}),
    frozenset({"columns", "deadlines", "ids", "settings", "tasks"}),
    frozenset({"errors", "executor"}),
)
DEPTHS = {room: depth for depth, layer in enumerate(LAYERS) for room in layer}

# Rooms that may import less than all below them.
ONLY: dict[str, frozenset[str]] = {
    "__main__": frozenset({"service.cli"}),
    # Speaks GraphQL over HTTP, whatever the graph is.
    "graphql_http": frozenset(
        {"service.tenants.caller", "service.settings", "service.tasks", "service.deadlines", "service.errors"}
    ),
    # A stand-in for Sentry that shared our code would share our mistakes.
    "sandbox": frozenset(),
    "operations": frozenset({"service.sentry.calls", "service.settings", "service.tasks", "service.errors"}),
    # Speaks Sentry, and knows neither our database nor our callers.
    "sentry": frozenset({"service.settings", "service.tasks", "service.deadlines", "service.errors"}),
    # Runs any schema's operations, and could be published by itself.
    "executor": frozenset(),
    # A migration stays what it was when the code around it changes.
    "migrations": frozenset(),
}


def find_room(module: str) -> str:
    """``service.schema.relay`` is in the room ``schema``; the package itself, which holds the version, is in none."""
    return module.split(".")[1] if "." in module else ""


def find_imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and module of every import, at the top or anywhere else."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*parents, module] if module else parents)
            if module == "service":  # `from service import db` names a module, `from service import __version__` none
                yield from (
                    (node.lineno, f"service.{alias.name}" if alias.name in DEPTHS else "service")
                    for alias in node.names
                )
            else:
                yield node.lineno, module


def find_faults(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with a module's imports, in words of what to do."""
    room = find_room(module)
    faults = []
    if room and room not in DEPTHS:
        return [f"{module}: the room `{room}` has no place yet; give it one in LAYERS of tests/test_imports.py"]
    for line, imported in find_imports(source, module if is_package else module.rpartition(".")[0]):
        reason = _find_fault(room, imported)
        if reason:
            faults.append(f"{module}, line {line}: imports {imported}, but {reason}")
    return faults


def _find_fault(room: str, imported: str) -> str | None:
    if imported.split(".", maxsplit=1)[0] == "tests":
        return "the service stands without its tests"
    target = find_room(imported)
    if imported.split(".", maxsplit=1)[0] != "service" or not target or target == room:
        return None
    if target not in DEPTHS:
        return f"there is no room `{target}` in LAYERS of tests/test_imports.py"
    allowed = ONLY.get(room)
    if allowed is not None and imported not in allowed:
        return f"`{room}` may only import {', '.join(sorted(allowed)) or 'nothing of the service'}"
    if room and DEPTHS[target] <= DEPTHS[room]:
        where = "beside" if DEPTHS[target] == DEPTHS[room] else "above"
        return f"`{target}` is {where} `{room}`: hand it in from above, as an argument or a protocol"
    return None if room else "the package itself imports nothing"


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SERVICE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def test_every_import_points_downward():
    faults = [
        fault
        for module, path in modules()
        for fault in find_faults(module, path.read_text(), is_package=path.name == "__init__.py")
    ]
    assert not faults, "\n" + "\n".join(faults)


def test_the_table_names_no_room_that_is_gone():
    assert set(DEPTHS) <= {find_room(module) for module, _ in modules()}


def test_each_room_has_one_place():
    assert sum(map(len, LAYERS)) == len(DEPTHS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("service.schema.query", "from service.connections.store import ConnectionStore"),
        ("service.schema.query", "from service.schema import relay"),
        ("service.schema.query", "from . import relay"),
        ("service.app", "from service import __version__"),
        ("service.app", "from service import db"),
        ("service.db", "import httpx"),
        ("service.operations.metrics", "from service.sentry.calls import CallObservation"),
    ],
)
def test_what_points_downward_passes(module, source):
    assert find_faults(module, source) == []


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("service.connections.store", "import service.schema.query", "`schema` is above `connections`"),
        ("service.connections.store", "from service import app", "`app` is above `connections`"),
        (
            "service.connections.store",
            "def f():\n    from service.proxy import engine",
            "line 2: imports service.proxy",
        ),
        ("service.connections.store", "from ..schema import query", "`schema` is above"),
        ("service.schema.query", "from service.operations.observer import Observer", "`operations` is beside `schema`"),
        ("service.graphql_http.endpoint", "from service.schema.query import Query", "`graphql_http` may only import"),
        ("service.operations.logs", "from service.db import Database", "`operations` may only import"),
        ("service.sandbox.app", "from service.errors import BadInput", "may only import nothing of the service"),
        ("service.sentry.client", "from service.columns import now", "`sentry` may only import"),
        ("service.migrations.env", "import service.errors", "may only import nothing of the service"),
        ("service.db", "from service.nowhere import x", "there is no room `nowhere`"),
        ("service.extra.thing", "", "the room `extra` has no place yet"),
        ("service.db", "from tests.scale import scaled", "stands without its tests"),
        ("service", "from service.db import Database", "the package itself imports nothing"),
    ],
)
def test_what_points_elsewhere_is_named(module, source, reason):
    [fault] = find_faults(module, source)
    assert fault.startswith(module)
    assert reason in fault
