import re
from pathlib import Path

import pytest

from service.schema.graphiql.install import FILES, install, is_installed
from service.schema.graphiql.page import PreparedQuery
from tests.graphql_http.small_graph import connect, make_app

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    install()


async def test_a_browser_gets_the_page_and_all_its_files_from_here() -> None:
    async with connect(make_app(graphiql=True), tenant=None) as client:
        page = await client.get("/graphql", headers=HTML)
        links = re.findall(r'(?:src|href)="(graphql/[^"]+)"', page.text)
        files = [await client.get(f"/{link}") for link in links]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert len(links) == 6
    for link, file in zip(links, files, strict=True):
        assert file.status_code == 200
        assert file.headers["content-type"].startswith("text/css" if ".css" in link else "text/javascript")
        assert "immutable" in file.headers["cache-control"]
        assert file.headers["x-content-type-options"] == "nosniff"
    assert "http" not in page.text.replace("http-equiv", "")


async def test_the_policy_is_strict_and_its_nonce_new_each_time() -> None:
    async with connect(make_app(graphiql=True), tenant=None) as client:
        policies = [(await client.get("/graphql", headers=HTML)).headers["content-security-policy"] for _ in range(2)]
        page = await client.get("/graphql", headers=HTML)
    nonces = [re.findall(r"'nonce-([\w-]{22})'", policy) for policy in policies]
    assert nonces[0] != nonces[1]
    assert policies[0].replace(nonces[0][0], "N") == (
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-N'; connect-src 'self'; img-src 'self' data:; "
        "font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    assert re.findall(r'nonce="([^"]+)"', page.text)[0] in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    # No script and no style in the page itself.
    assert re.findall(r"<script[^>]*>(.*?)</script>", page.text) == [""] * 4
    assert "<style" not in page.text
    assert " style=" not in page.text


async def test_a_file_is_not_sent_twice() -> None:
    async with connect(make_app(graphiql=True), tenant=None) as client:
        first = await client.get("/graphql/ui/page.css")
        again = await client.get("/graphql/ui/page.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["stamp", "page.py", "page.html", "%2e%2e%2fpage.py", "..%2fpage.py", "package.json", "GRAPHIQL.JS", "%00"]
)
async def test_nothing_but_the_listed_files_is_served(name: str) -> None:
    async with connect(make_app(graphiql=True), tenant=None) as client:
        response = await client.get(f"/graphql/ui/{name}")
    assert response.status_code == 404
    assert b"import" not in response.content


async def test_the_tabs_are_the_prepared_queries() -> None:
    queries = [PreparedQuery("query A { hello }"), PreparedQuery("query B { echo }", {"a": 1}, {"x-a": "b"})]
    async with connect(make_app(graphiql=True, queries=queries), tenant=None) as client:
        settings = (await client.get("/graphql/ui/settings.json")).json()
    assert settings == {
        "tabs": [
            {"query": "query A { hello }", "variables": None, "headers": None},
            {"query": "query B { echo }", "variables": '{\n  "a": 1\n}', "headers": '{\n  "x-a": "b"\n}'},
        ],
        "demoKey": False,
    }


@pytest.mark.parametrize(
    ("graphiql", "url", "accept"),
    [(False, "/graphql", HTML["accept"]), (True, "/graphql", "*/*"), (True, "/graphql?query={hello}", HTML["accept"])],
)
async def test_otherwise_a_get_is_a_graphql_request(graphiql: bool, url: str, accept: str) -> None:
    async with connect(make_app(graphiql=graphiql)) as client:
        response = await client.get(url, headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/json")


def test_installing_again_does_nothing(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assert not is_installed(assets)
    install(assets)
    assert is_installed(assets)
    (assets / "react.js").write_text("kept")
    install(assets)
    assert (assets / "react.js").read_text() == "kept"


def test_what_is_missing_or_of_another_version_is_installed_anew(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_text("")
    (tmp_path / "stamp").write_text("another version")
    assert not is_installed(tmp_path)
    install(tmp_path)
    assert all((tmp_path / name).stat().st_size > 1000 for name in FILES)
