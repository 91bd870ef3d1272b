"""The servers that are compared, each in a process of its own, all before one static upstream."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import psutil

from bench.client import bearer, build_request
from bench.product import REPOSITORY, build_env, cpu_seconds, free_port, running, set_up_product
from bench.upstream import LONG, PAGES, SMALL
from bench.workloads import Ids, Workload, customer_of
from service.schema.graphiql.node import find_node, npm_ci_once

COMPILED, PRODUCT, STOCK, REST, APOLLO, JIT = "compiled", "graphql-core", "stock", "rest", "apollo", "jit"
TITLES = {
    COMPILED: "product, compiled",
    PRODUCT: "product, graphql-core",
    STOCK: "stock Strawberry",
    REST: "FastAPI, REST",
    APOLLO: "Apollo Server",
    JIT: "graphql-jit",
}
PRODUCTS = (COMPILED, PRODUCT)
PEERS = tuple(name for name in TITLES if name not in PRODUCTS)
ON_NODE = (APOLLO, JIT)
ECHO = "echo"
TENANT = "bench"

_numbers = count()


@dataclass(frozen=True)
class Contender:
    """A server under test."""

    name: str
    port: int
    process: psutil.Process
    headers: str = ""
    is_rest: bool = False

    def can(self, workload: Workload) -> bool:
        """Whether there is something to ask it for."""
        return not self.is_rest or workload.rest is not None

    def request(self, workload: Workload, ids: Ids, client: int, *, number: int | None = None) -> bytes:
        """What a client sends; ``number`` is the next one unless it is given."""
        if self.is_rest:
            assert workload.rest is not None
            method, path, body = workload.rest(ids, client)
            return build_request(self.port, body, method=method, path=path)
        query = workload.query(next(_numbers) if number is None else number)
        body = {"query": query, "variables": workload.variables(ids, client)}
        return build_request(self.port, body, headers=self.headers)

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        return cpu_seconds(self.process)


@dataclass(frozen=True)
class Stage:
    """What is set up for a run: upstream, data, and the folder of the product; contenders are started from it."""

    folder: Path
    upstream_port: int
    key: str
    connections: list[dict[str, str]]

    @property
    def ids(self) -> Ids:
        """The connections' ids."""
        return {row["organization"]: row["id"] for row in self.connections}

    @property
    def upstream(self) -> str:
        """Where the upstream is."""
        return f"http://127.0.0.1:{self.upstream_port}"

    def product_env(self, name: str, **settings: str) -> dict[str, str]:
        """The environment of a product of its own, with a copy of the data."""
        folder = Path(tempfile.mkdtemp(dir=self.folder)) / "data"
        shutil.copytree(self.folder / "data", folder)
        executor = {"compiled_executor": "true" if name == COMPILED else "false"}
        return build_env([self.upstream], folder, **(_SETTINGS | executor | settings))

    @contextmanager
    def contender(self, name: str) -> Iterator[Contender]:
        """One contender, serving."""
        port = free_port()
        if name in PRODUCTS:
            command: tuple[str, ...] = ("-m", "service", "serve", "--port", str(port))
            with running(*command, port=port, env=self.product_env(name)) as process:
                yield Contender(name, port, process, headers=bearer(self.key))
            return
        env = {"BENCH_UPSTREAM": self.upstream, "BENCH_CONNECTIONS": json.dumps(self.connections)}
        if name in ON_NODE:
            node_peers = REPOSITORY / "bench" / "peers"
            npm_ci_once(node_peers)
            env |= {"NODE_ENV": "production"}
            script = str(node_peers / f"{name}.mjs")
            with running(script, str(port), port=port, env=env, program=str(find_node())) as process:
                yield Contender(name, port, process)
            return
        with running("-m", f"bench.{name}", str(port), port=port, env=env) as process:
            yield Contender(name, port, process, is_rest=name in (REST, ECHO))

    @contextmanager
    def contenders(self, names: Sequence[str]) -> Iterator[list[Contender]]:
        """Several contenders, all serving."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.contender(name)) for name in names]


# Groups are walked for every request, as the peers do; comparing issues in the background is nobody's request.
_SETTINGS = {"group_cache_seconds": "0", "repair_seconds": "0"}


@contextmanager
def stage(slugs: Sequence[str] = (*PAGES, *LONG, *chain(*SMALL)), *, delay: float = 0.0) -> Iterator[Stage]:
    """Start an upstream that answers after so many seconds, and link organizations."""
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as name,
        running("-m", "bench.upstream", str(port), str(delay), port=port),
    ):
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        setup = set_up_product([upstream], data, **_SETTINGS)
        key = setup.add_key(TENANT)
        connections = setup.link(key, upstream, [(slug, customer_of(slug)) for slug in slugs])
        yield Stage(folder, port, key, connections)
