import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Route

from service.schema.graphiql.install import install
from service.schema.graphiql.page import PreparedQuery, create_graphiql
from tests.browser.graphiql import RESULT, RUN, run_first_query, turn_to
from tests.browser.launch import EVIL
from tests.browser.watch import Watch, wait_for
from tests.graphql_http.small_graph import make_app
from tests.serving import free_port, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "demo-tenant"
QUERIES = [
    PreparedQuery("# Say hello.\nquery Hello {\n  hello\n}\n"),
    PreparedQuery("query People($first: Int) {\n  people(first: $first) { nodes { name } }\n}\n", {"first": 3}),
    PreparedQuery("subscription Count {\n  count(to: 3, ends: false)\n}\n"),
    PreparedQuery("subscription Ending {\n  count(to: 5)\n}\n"),
]


@pytest.fixture(scope="module")
def log() -> list[str]:
    """What happened in the graph."""
    return []


@pytest.fixture(scope="module")
def port(log: list[str]) -> Iterator[int]:
    install()
    chosen = free_port()
    app = make_app(events=log, graphiql=True, introspection=True, queries=QUERIES, demo_key=KEY, port=chosen)
    with serve(app, port=chosen):
        yield chosen


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_graphiql_runs_a_prepared_query_on_the_first_click(
    page: Page, watch: Watch, port: int, scheme: Literal["light", "dark"]
) -> None:
    await page.emulate_media(color_scheme=scheme)
    result = await run_first_query(page, f"http://127.0.0.1:{port}/graphql")
    assert '"hello": "world"' in result
    assert [title.strip() for title in await page.locator(".graphiql-tab").all_inner_texts()] == [
        "Hello",
        "People",
        "Count",
        "Ending",
    ]
    background = await page.evaluate("getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    # Open what GraphiQL opens: its documentation, its menus and dialogs bring their own styles.
    for label in ("Show Documentation Explorer", "Show History", "Open settings dialog"):
        await page.get_by_label(label).click()
    await page.locator(".graphiql-dialog").wait_for()
    stored = await page.evaluate("JSON.stringify({...localStorage})")
    assert KEY not in stored
    assert [problem for problem in watch.problems if "aria-describedby" not in problem] == []
    async with page.expect_console_message():
        await page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert "Content Security Policy" in watch.problems[-1], "the policy is in force, and what breaks it is noticed"
    assert [url for url in watch.urls if not url.startswith((f"http://127.0.0.1:{port}/", "data:"))] == []


async def test_a_subscription_shows_each_result_until_it_ends_or_is_stopped(
    page: Page, watch: Watch, port: int, log: list[str]
) -> None:
    await page.goto(f"http://127.0.0.1:{port}/graphql")
    await turn_to(page, "Ending")
    await page.locator(RUN).click()
    await wait_for(page, f"{RESULT}.includes('\"count\": 5')")
    await turn_to(page, "Count")
    log.clear()
    await page.locator(RUN).click()
    await wait_for(page, f"{RESULT}.includes('\"count\": 3')")
    assert log == []
    await page.get_by_label("Stop query").click()
    async with asyncio.timeout(20):
        while log != ["count ended"]:  # noqa: ASYNC110 - it happens in another thread
            await asyncio.sleep(0.01)
    assert '"count": 3' in await page.evaluate(RESULT)  # what came stays, without an error
    assert [problem for problem in watch.problems if "aria-describedby" not in problem] == []


async def test_a_page_whose_name_was_rebound_to_loopback_gets_no_key(page: Page, port: int) -> None:
    await page.goto(f"http://{EVIL}:{port}/graphql")
    await expect(page.locator(".note")).to_contain_text("403")
    assert "demo-key answered 403" in await page.inner_text("body")
    stolen = await page.evaluate("fetch('/graphql/demo-key', {method: 'POST'}).then(response => response.text())")
    assert KEY not in stolen


async def test_a_page_of_another_origin_gets_no_key(page: Page, port: int) -> None:
    await page.goto(f"http://{EVIL}:{port}/graphql/ui/page.css")
    attack = f"fetch('http://127.0.0.1:{port}/graphql/demo-key', {{method: 'POST', mode: 'MODE'}})"
    opaque = attack.replace("MODE", "no-cors") + ".then(response => response.text(), error => 'refused')"
    readable = attack.replace("MODE", "cors") + ".then(response => response.text(), error => 'refused')"
    assert KEY not in await page.evaluate(opaque)
    assert await page.evaluate(readable) == "refused"


async def test_without_its_files_the_page_says_what_to_run(page: Page, watch: Watch, tmp_path: Path) -> None:
    installed, files = create_graphiql(QUERIES, assets=tmp_path)
    with serve(Starlette(routes=[Route("/graphql", lambda _: installed()), *files])) as port:
        await page.goto(f"http://127.0.0.1:{port}/graphql")
        text = await page.inner_text("body")
    assert "python -m service.schema.graphiql.install" in text
    assert watch.problems == []
