"""The demo as a newcomer meets it: a process of its own, and a browser that clicks."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page

from service.settings import PREFIX
from tests.browser.graphiql import RESULT, RUN, click_run, run_first_query, turn_to
from tests.browser.watch import Watch, wait_for
from tests.serving import NO_TLS, free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")


RESOLVE = """async (issue) => {
  const send = (path, body, headers) => fetch(path, {
    method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body),
  }).then((response) => response.json());
  const { key } = await send("graphql/demo-key", {});
  const ask = (query) => send("graphql", { query }, { authorization: `Bearer ${key}` });
  const { data } = await ask("{ connections { nodes { id } } }");
  return ask(`mutation { proxy(
    connectionId: "${data.connections.nodes[0].id}" method: "PUT"
    path: "organizations/{organization}/issues/${issue}/" body: { status: "resolved" }
  ) { statusCode } }`);
}"""
"""Resolves an issue of the stand-in Sentry through the proxy, which then sends a webhook."""


@asynccontextmanager
async def run_demo(folder: Path, port: int) -> AsyncIterator[Process]:
    """`python -m service demo` on data of its own, from the moment that it answers."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    ours = {"DATABASE_URL": f"sqlite:///{folder}/demo.db", "KEYRING_FILE": f"{folder}/keyring.json"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "demo", "--port", str(port)),
        env=inherited | {PREFIX + name: value for name, value in ours.items()},
        stdout=PIPE,
        stderr=DEVNULL,
    )
    try:
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http, asyncio.timeout(30):
            while True:
                try:
                    await http.get(f"http://127.0.0.1:{port}/health")
                    break
                except httpx.TransportError:
                    assert process.returncode is None, "the demo has ended"
                    await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def run_tab(page: Page, title: str) -> Any:
    """Turn to one of GraphiQL's tabs and click its run button; the answer's data."""
    await turn_to(page, title)
    return data_of(await click_run(page))


def data_of(answer: str) -> Any:
    document = json.loads(answer)
    assert "errors" not in document, answer
    return document["data"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_prepared_queries_work_on_the_first_click(
    page: Page, watch: Watch, tmp_path: Path, host: str
) -> None:
    port = free_port()
    async with run_demo(tmp_path, port) as demo:
        users = data_of(await run_first_query(page, f"http://{host}:{port}/graphql"))["users"]
        assert len(users["edges"]) == 10
        assert users["failures"] == []
        [connection] = (await run_tab(page, "Issues"))["connections"]["nodes"]
        assert connection["proxy"]["statusCode"] == 200
        assert len(connection["proxy"]["result"]) == connection["proxy"]["resultCount"] == 5
        assert (await run_tab(page, "Connections"))["connections"]["totalCount"] == 1
        assert [node["type"] for node in (await run_tab(page, "Events"))["events"]["nodes"]][:1] == [
            "connection.linked"
        ]

        await turn_to(page, "Watch")
        async with page.expect_response("**/graphql"):  # it is subscribed once an answer begins
            await page.locator(RUN).click()
        [issue, *_] = connection["proxy"]["result"]
        await page.evaluate(RESOLVE, issue["id"])
        await wait_for(page, f"{RESULT}.includes('issue.resolved') && {RESULT}.includes('{issue['shortId']}')")
        assert watch.problems == []

        demo.send_signal(signal.SIGINT)
        output, _ = await demo.communicate()
        assert f"http://127.0.0.1:{port}/graphql" in output.decode()
        assert demo.returncode == 0
