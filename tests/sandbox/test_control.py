import httpx
import pytest

from service.sandbox.app import Sandbox, create_sandbox
from service.sandbox.world import DEMO_INTERNAL_APP
from tests.sandbox.conftest import client_of
from tests.sandbox.linking import linker_of

_ROOT = "http://sandbox/__sandbox__/"


async def test_switches_faults_and_starts_anew(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{_ROOT}faults/", json={"kind": "fail", "times": 2})).status_code == 204
    assert (await client.get("")).status_code == 503
    assert [(f["kind"], f["times"]) for f in (await client.get(f"{_ROOT}faults/")).json()] == [("fail", 1)]
    assert (await client.delete(f"{_ROOT}faults/")).status_code == 204
    assert (await client.get("")).status_code == 200
    assert [row["path"] for row in (await client.get(f"{_ROOT}requests/")).json()] == ["/api/0/", "/api/0/"]
    assert (await client.post(f"{_ROOT}reset/")).status_code == 204
    assert (await client.get(f"{_ROOT}requests/")).json() == []


async def test_changes_the_manner(app: Sandbox, client: httpx.AsyncClient) -> None:
    assert (await client.put(f"{_ROOT}manner/", json={"manner": "23.7"})).status_code == 204
    assert app.manner == "23.7"


async def test_sets_clock_and_addresses_and_revokes(app: Sandbox, client: httpx.AsyncClient) -> None:
    assert (await client.put(f"{_ROOT}skew/", json={"seconds": 90})).status_code == 204
    assert app.skew == 90
    addresses = {
        "oauth": ["http://a.example/"],
        "install": "http://b.example/",
        "webhook": "http://c.example/",
        "internal_webhook": "http://d.example/",
    }
    assert (await client.put(f"{_ROOT}redirects/", json=addresses)).status_code == 204
    linker = linker_of(app)
    assert (linker.redirect_url, linker.webhook_url) == ("http://b.example/", "http://c.example/")
    internal = app.world.find_app(DEMO_INTERNAL_APP.slug)
    assert internal
    assert internal.webhook_url == "http://d.example/"
    assert (await client.put(f"{_ROOT}retry-wait/", json={"seconds": 0.5})).status_code == 204
    assert app.webhooks.retry_wait == 0.5
    token = app.grant_oauth(["org:read"])
    assert (await client.post(f"{_ROOT}revoke/", json={"token": token.value})).status_code == 204
    assert (await client.post(f"{_ROOT}revoke/", json={"token": token.value})).status_code == 404


@pytest.mark.parametrize("body", [{"kind": "no such fault"}, {"kind": "fail", "status": "x"}, []])
async def test_says_what_is_wrong(client: httpx.AsyncClient, body: object) -> None:
    response = await client.post(f"{_ROOT}faults/", json=body)
    assert response.status_code == 400
    assert response.json()["detail"]


async def test_knows_only_what_it_knows(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{_ROOT}secrets/")).status_code == 404


async def test_is_absent_unless_switched_on() -> None:
    app = create_sandbox()
    async with client_of(app) as client:
        assert (await client.post(f"{_ROOT}faults/", json={"kind": "fail"})).status_code == 404
        assert (await client.get("")).status_code == 200
