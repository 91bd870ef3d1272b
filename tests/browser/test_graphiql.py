from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from service.schema.graphiql.install import install
from service.schema.graphiql.page import PreparedQuery, create_graphiql
from tests.browser.chromium import Tab
from tests.browser.graphiql import EVIL, run_first_query
from tests.graphql_http.small_graph import make_app
from tests.serving import free_port, serve

KEY = "demo-tenant"
QUERIES = [
    PreparedQuery("# Say hello.\nquery Hello {\n  hello\n}\n"),
    PreparedQuery("query People($first: Int) {\n  people(first: $first) { nodes { name } }\n}\n", {"first": 3}),
]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    install()
    chosen = free_port()
    with serve(make_app(graphiql=True, introspection=True, queries=QUERIES, demo_key=KEY, port=chosen), port=chosen):
        yield chosen


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_graphiql_runs_a_prepared_query_on_the_first_click(tab: Tab, port: int, scheme: str) -> None:
    await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    result = await run_first_query(tab, f"http://127.0.0.1:{port}/graphql")
    assert '"hello": "world"' in result
    titles = await tab.evaluate("[...document.querySelectorAll('.graphiql-tab')].map(one => one.innerText.trim())")
    assert titles == ["Hello", "People"]
    background = await tab.evaluate("getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    # Open what GraphiQL opens: its documentation, its menus and dialogs bring their own styles.
    for label in ("Show Documentation Explorer", "Show History", "Open settings dialog"):
        await tab.evaluate(f"document.querySelector('[aria-label=\"{label}\"]').click()")
    await tab.wait_for("document.querySelector('.graphiql-dialog') !== null")
    stored = await tab.evaluate("JSON.stringify({...localStorage})")
    assert KEY not in stored
    assert [problem for problem in tab.problems if "aria-describedby" not in problem] == []
    await tab.evaluate("document.body.setAttribute('style', 'color: red')")
    await tab.evaluate("new Promise(done => setTimeout(done, 50))")
    assert "Content Security Policy" in tab.problems[-1], "the policy is in force, and what breaks it is noticed"
    assert [url for url in tab.requests if not url.startswith((f"http://127.0.0.1:{port}/", "data:"))] == []


async def test_a_page_whose_name_was_rebound_to_loopback_gets_no_key(tab: Tab, port: int) -> None:
    await tab.open(f"http://{EVIL}:{port}/graphql")
    note = await tab.wait_for("document.querySelector('.note')?.innerText.includes('403') && document.body?.innerText")
    assert "demo-key answered 403" in note
    stolen = await tab.evaluate("fetch('/graphql/demo-key', {method: 'POST'}).then(response => response.text())")
    assert KEY not in stolen


async def test_a_page_of_another_origin_gets_no_key(tab: Tab, port: int) -> None:
    await tab.open(f"http://{EVIL}:{port}/graphql/ui/page.css")
    await tab.wait_for("document.readyState === 'complete'")
    attack = f"fetch('http://127.0.0.1:{port}/graphql/demo-key', {{method: 'POST', mode: 'MODE'}})"
    opaque = attack.replace("MODE", "no-cors") + ".then(response => response.text(), error => 'refused')"
    readable = attack.replace("MODE", "cors") + ".then(response => response.text(), error => 'refused')"
    assert KEY not in await tab.evaluate(opaque)
    assert await tab.evaluate(readable) == "refused"


async def test_without_its_files_the_page_says_what_to_run(tab: Tab, tmp_path: Path) -> None:
    page, files = create_graphiql(QUERIES, assets=tmp_path)
    with serve(Starlette(routes=[Route("/graphql", lambda _: page()), *files])) as port:
        await tab.open(f"http://127.0.0.1:{port}/graphql")
        text = await tab.wait_for("document.body?.innerText")
    assert "python -m service.schema.graphiql.install" in text
    assert tab.problems == []
