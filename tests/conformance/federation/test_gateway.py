"""The example of ``docs/gateway`` as its README has it: one command, three subgraphs, one graph."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.npm import install
from tests.serving import free_port

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "gateway"


@dataclass(frozen=True)
class Gateway:
    """The running example, the API key that it made, and the address of its demo."""

    url: str
    key: str
    demo: str

    def ask(self, query: str, *, key: str | None = None) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        answer = httpx.post(self.url, json={"query": query}, headers=headers, timeout=30, trust_env=False)
        decoded: dict[str, Any] = answer.json()
        return decoded

    def query(self, query: str) -> Any:
        answer = self.ask(query)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    install(EXAMPLE)
    ports = [free_port() for _ in range(3)]
    flags = ("--port", "--subgraphs-port", "--service-port")
    command = [sys.executable, "-m", "docs.gateway.run"]
    command += [text for flag, port in zip(flags, ports, strict=True) for text in (flag, str(port))]
    # A database of this name must be none of its business: the example has data of its own.
    environment = os.environ | {"SENTRY_GRAPH_DATABASE_URL": "sqlite:////nowhere/at/all.db"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as example:
        try:
            assert example.stdout is not None
            greeting = ""
            while "Ctrl+C" not in greeting:
                line = example.stdout.readline()
                assert line, "the example has ended; its errors are above"
                greeting += line
            (key,) = re.findall(r'"Bearer (\S+)"', greeting)
            (url,) = re.findall(r"http://127\.0\.0\.1:\d+/graphql", greeting)
            assert url == f"http://127.0.0.1:{ports[0]}/graphql"
            yield Gateway(url, key, f"http://127.0.0.1:{ports[2]}")
        finally:
            example.send_signal(signal.SIGTERM)
            code = example.wait(30)
    assert code == 0
    assert [port for port in ports if _is_open(port)] == []


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_readmes_query_gives_the_readmes_answer(gateway: Gateway) -> None:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"```graphql\n(.*?)```", readme, re.DOTALL)
    assert query == (EXAMPLE / "query.graphql").read_text(encoding="utf-8")  # what GraphiQL opens with
    (answer,) = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)
    assert gateway.query(query) == json.loads(answer)["data"]


def test_a_user_is_extended_by_id_and_by_address(gateway: Gateway) -> None:
    users = gateway.query("{ users(first: 30) { nodes { id email profileUrl onCallShift { day } } } }")["users"][
        "nodes"
    ]
    assert [user["profileUrl"] for user in users] == [f"https://app.example/people/{user['id']}" for user in users]
    assert {user["email"]: user["onCallShift"]["day"] for user in users if user["onCallShift"]} == {
        "gita.iverson.0@lumen-labs.example": "Monday",
        "theo.pryce.2@lumen-labs.example": "Tuesday",
    }


def test_a_connection_is_extended_by_external_id(gateway: Gateway) -> None:
    (connection,) = gateway.query("{ connections { nodes { externalId customer { name plan } } } }")["connections"][
        "nodes"
    ]
    assert connection == {"externalId": "sandbox", "customer": {"name": "Lumen Labs", "plan": "BUSINESS"}}


def test_node_is_the_other_subgraphs(gateway: Gateway) -> None:
    found = gateway.query('{ node(id: "customer:1") { id ... on Customer { sentry { organization { slug } } } } }')
    assert found == {"node": {"id": "customer:1", "sentry": {"organization": {"slug": "lumen-labs"}}}}


def test_errors_keep_their_codes(gateway: Gateway) -> None:
    (error,) = gateway.ask('{ users(first: 2, after: "junk") { nodes { name } } }')["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["users"], "INVALID_CURSOR")
    assert error["extensions"]["cure"]


def test_with_another_key_only_the_other_subgraphs_answer(gateway: Gateway) -> None:
    answer = gateway.ask("{ customers { edges { node { name sentry { name } } } } }", key="sg_wrong")
    assert [edge["node"] for edge in answer["data"]["customers"]["edges"]] == [
        {"name": "Lumen Labs", "sentry": None},
        {"name": "Corner Bakery", "sentry": None},
    ]
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"UNAUTHENTICATED"}


def test_the_gateway_adds_up_our_costs(gateway: Gateway) -> None:
    dear = "{ users(first: 1000) { nodes { connection { users(first: 1000) { nodes { name } } } } } }"
    (error,) = gateway.ask(dear)["errors"]
    assert error["extensions"]["code"] == "COST_ESTIMATED_TOO_EXPENSIVE"
    assert error["extensions"]["cost"]["estimated"] > 1_000_000


def test_one_graph_is_introspected(gateway: Gateway) -> None:
    fields = gateway.query('{ __type(name: "User") { fields { name } } }')["__type"]["fields"]
    assert {"groups", "profileUrl", "onCallShift"} <= {field["name"] for field in fields}


def test_graphiql_is_served_without_a_cdn(gateway: Gateway) -> None:
    page = httpx.get(gateway.url, headers={"accept": "text/html"}, trust_env=False)
    assert "<title>Supergraph</title>" in page.text
    assert re.findall(r"""<(?:script|link)[^>]+(?:src|href)=["']?https?:""", page.text) == []
    assert gateway.key not in page.text


def test_a_subscription_joins_what_other_subgraphs_know_to_each_event(gateway: Gateway) -> None:
    """The last test: it unlinks what the others ask for."""
    found = gateway.query("{ events(last: 1) { nodes { id } } connections { nodes { id } } }")
    (newest,), (connection,) = found["events"]["nodes"], found["connections"]["nodes"]
    query = """subscription ($after: ID) {
      events(types: ["connection.*"], after: $after) { type connection { status customer { name } } }
    }"""
    with httpx.stream(
        "POST",
        gateway.url,
        json={"query": query, "variables": {"after": newest["id"]}},
        headers={"authorization": f"Bearer {gateway.key}", "accept": "text/event-stream"},
        timeout=30,
        trust_env=False,
    ) as response:
        # The example's key only reads; the demo's own GraphiQL has one that may do this.
        own_page = {"origin": gateway.demo, "sec-fetch-site": "same-origin"}
        key = httpx.post(f"{gateway.demo}/graphql/demo-key", headers=own_page, trust_env=False).json()["key"]
        unlink = 'mutation { unlinkConnection(id: "%s") { status } }' % connection["id"]
        assert gateway.ask(unlink, key=key) == {"data": {"unlinkConnection": {"status": "UNLINKED"}}}
        data = next(line for line in response.iter_lines() if line.startswith("data: {"))
    assert json.loads(data.removeprefix("data: "))["data"]["events"] == {
        "type": "connection.unlinked",
        "connection": {"status": "UNLINKED", "customer": {"name": "Lumen Labs"}},
    }
