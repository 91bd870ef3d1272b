import httpx
import pytest
from starlette.applications import Starlette

from service.link.assets import Assets


@pytest.fixture
def folder(tmp_path):
    for name in ("link.css", "link.js", "sdk.js", "sdk.d.ts", "secret.txt"):
        (tmp_path / name).write_text(f"/* {name} */")
    return tmp_path


@pytest.fixture
async def http(folder):
    transport = httpx.ASGITransport(Starlette(routes=Assets(folder).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as http:
        yield http


async def test_page_files_are_kept_for_good_under_their_version(http, folder):
    version = Assets(folder).version
    answer = await http.get(f"/link/static/{version}/link.css")
    assert (answer.text, answer.headers["content-type"]) == ("/* link.css */", "text/css; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "access-control-allow-origin" not in answer.headers
    # During a rolling restart a page of the other version may ask here: it gets what there is, and keeps nothing.
    other = await http.get("/link/static/0000/link.css")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")
    (folder / "link.css").write_text("changed")
    assert Assets(folder).version != version


async def test_the_sdk_is_for_everybody_and_kept_shortly(http):
    for name, kind in (("sdk.js", "text/javascript"), ("sdk.d.ts", "text/plain")):
        answer = await http.get(f"/link/{name}", headers={"origin": "https://app.example"})
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["cache-control"] == "public, max-age=300"
        again = await http.get(f"/link/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["static/v/secret.txt", "static/v/sdk.js", "static/v/..%2fassets.py", "static/v/nope.js"]
)
async def test_nothing_else_is_served(http, path):
    assert (await http.get(f"/link/static/{path}")).status_code == 404
