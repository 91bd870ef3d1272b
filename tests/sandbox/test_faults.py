import gzip
import json
from contextlib import suppress

import httpx
import msgspec
import pytest

from service.sandbox.app import Sandbox
from service.sandbox.faults import (
    AnyFault,
    Bomb,
    Delay,
    Drip,
    Fail,
    Fault,
    Garble,
    Huge,
    Redirect,
    Reset,
    Throttle,
    Truncate,
)
from service.sandbox.world import DEMO_TOKENS
from tests.sandbox.conftest import client_of

_MEMBERS = "organizations/lumen-labs/members/"


def _real(sandbox: Sandbox) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {DEMO_TOKENS.admin}"}
    return httpx.AsyncClient(base_url=f"{sandbox.url}/api/0/", headers=headers)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_fails_with_a_status_for_so_many_calls(app: Sandbox, status: int) -> None:
    app.faults.add(Fail(path="members", status=status, times=2, headers={"retry-after": "1"}))
    async with client_of(app) as client:
        answers = [await client.get(_MEMBERS) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [status, status, 200]
        assert answers[0].headers["retry-after"] == "1"


async def test_strikes_only_the_path_and_method_it_is_for(app: Sandbox) -> None:
    app.faults.add(Fail(path="/members/$", method="POST"))
    async with client_of(app) as client:
        assert (await client.get(_MEMBERS)).status_code == 200
        assert (await client.get("organizations/")).status_code == 200
        assert (await client.post(_MEMBERS, json={})).status_code == 503


async def test_the_latest_fault_plays_and_all_can_be_cleared(app: Sandbox) -> None:
    app.faults.add(Fail(status=500))
    app.faults.add(Fail(status=502, times=1))
    async with client_of(app) as client:
        assert [(await client.get("")).status_code for _ in range(2)] == [502, 500]
        app.faults.clear()
        assert (await client.get("")).status_code == 200


async def test_throttles_with_a_reset_time(app: Sandbox) -> None:
    app.faults.add(Throttle(reset=1_900_000_000, times=1))
    app.faults.add(Throttle(times=1, headers={"retry-after": "2"}))
    async with client_of(app) as client:
        first, second = [await client.get("") for _ in range(2)]
    assert (first.status_code, first.headers["retry-after"]) == (429, "2")
    assert "x-sentry-rate-limit-reset" not in first.headers
    assert second.headers["x-sentry-rate-limit-reset"] == "1900000000"
    assert isinstance(json.loads(second.text), str)


async def test_delays_and_drips_the_true_answer(sandbox: Sandbox) -> None:
    async with _real(sandbox) as client:
        truth = (await client.get("organizations/")).json()
        sandbox.faults.add(Delay(seconds=0.01, times=1))
        assert (await client.get("organizations/")).json() == truth
        sandbox.faults.add(Drip(seconds=0, piece=100, times=1))
        async with client.stream("GET", "organizations/") as response:
            assert json.loads(await response.aread()) == truth


@pytest.mark.parametrize("fault", [Reset(), Truncate(), Truncate(chunked=True)], ids=repr)
async def test_breaks_the_connection(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.faults.add(fault)
    async with _real(sandbox) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(_MEMBERS)
        sandbox.faults.clear()
        assert (await client.get(_MEMBERS)).status_code == 200


async def test_what_is_truncated_begins_as_the_truth(sandbox: Sandbox) -> None:
    sandbox.faults.add(Truncate())
    received = b""
    async with _real(sandbox) as client, client.stream("GET", _MEMBERS) as response:
        with suppress(httpx.TransportError):
            async for piece in response.aiter_raw():
                received += piece
    assert received.startswith(b'[{"id":')
    assert len(received) < int(response.headers["content-length"])


async def test_a_write_can_happen_although_its_answer_is_lost(sandbox: Sandbox) -> None:
    sandbox.faults.add(Reset(method="POST", commits=True, times=1))
    sandbox.faults.add(Reset(method="PUT", times=1))
    async with _real(sandbox) as client:
        with pytest.raises(httpx.TransportError):
            await client.post(_MEMBERS, json={"email": "lost@x.example"})
        found = (await client.get(_MEMBERS, params={"query": "email:lost@x.example"})).json()
        assert len(found) == 1
        with pytest.raises(httpx.TransportError):
            await client.put(f"{_MEMBERS}{found[0]['id']}/", json={"orgRole": "manager"})
        assert (await client.get(f"{_MEMBERS}{found[0]['id']}/")).json()["orgRole"] == "member"


async def test_breaks_off_in_process_by_raising(app: Sandbox) -> None:
    app.faults.add(Reset())
    async with client_of(app) as client:
        with pytest.raises(ConnectionResetError):
            await client.get("")


async def test_garbles_the_body(app: Sandbox) -> None:
    app.faults.add(Garble())
    async with client_of(app) as client:
        response = await client.get("")
    assert response.headers["content-type"] == "application/json"
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_sends_a_huge_body_and_a_bomb(app: Sandbox) -> None:
    app.faults.add(Huge(size=1_000_000, times=1))
    async with client_of(app) as client:
        assert len((await client.get("")).json()) > 10
        app.faults.add(Bomb(size=1_000_000))
        async with client.stream("GET", "") as response:
            packed = b"".join([piece async for piece in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert len(packed) < 5_000
    assert len(json.loads(gzip.decompress(packed))[0]) == 1_000_000


async def test_redirects_wherever_it_is_told(app: Sandbox) -> None:
    app.faults.add(Redirect(location="http://decoy.example/", status=307))
    async with client_of(app) as client:
        response = await client.get("")
    assert (response.status_code, response.headers["location"]) == (307, "http://decoy.example/")


async def test_a_fault_that_needs_the_true_answer_says_so(app: Sandbox) -> None:
    app.faults.add(Truncate(commits=False))
    async with client_of(app) as client:
        with pytest.raises(ValueError, match="leave `commits` true"):
            await client.get("")


def test_faults_come_as_json() -> None:
    found = msgspec.json.decode(b'{"kind": "fail", "status": 502, "times": 3}', type=AnyFault)
    assert found == Fail(status=502, times=3)
