import asyncio

import httpx

from service.sandbox.app import SandboxConfig, create_sandbox
from service.sandbox.faults import Delay
from service.sandbox.limits import Limiter
from service.sandbox.world import DEMO_TOKENS
from tests.sandbox.conftest import client_of


def test_a_window_is_fixed_and_opens_at_reset() -> None:
    now = 1000.9
    limiter = Limiter(lambda: now, limit=2, window=10)
    turns = [limiter.enter(("user", "1"), "GET", "a", None) for _ in range(3)]
    assert [bool(turn and turn.refusal) for turn in turns] == [False, False, True]
    assert {turn.reset for turn in turns if turn} == {1010}
    now = 1010.0
    again = limiter.enter(("user", "1"), "GET", "a", None)
    assert again
    assert again.refusal is None
    assert again.remaining == 1


def test_people_and_methods_are_counted_apart() -> None:
    limiter = Limiter(lambda: 0.0, limit=1)
    for who, method in (("1", "GET"), ("1", "PUT"), ("2", "GET")):
        turn = limiter.enter(("user", who), method, "a", None)
        assert turn
        assert turn.refusal is None
    assert limiter.refused == 0


def test_endpoints_share_a_window_unless_they_have_their_own() -> None:
    limiter = Limiter(lambda: 0.0, limit=1)
    for template, own in (("a", None), ("b", 5)):
        turn = limiter.enter(("user", "1"), "GET", template, own)
        assert turn
        assert turn.refusal is None
    shared = limiter.enter(("user", "1"), "GET", "c", None)
    assert shared
    assert shared.refusal


async def test_a_refused_call_is_not_carried_out() -> None:
    app = create_sandbox(SandboxConfig(rate_limit=1, clock=lambda: 1_900_000_000.0))
    async with client_of(app) as client:
        path = "organizations/lumen-labs/members/"
        answers = [await client.post(path, json={"email": f"new{n}@x.example"}) for n in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429]
    assert answers[1].headers["x-sentry-rate-limit-concurrentremaining"] == "None"
    assert "allow" not in answers[1].headers
    assert app.limiter.refused == 1


async def test_calls_in_flight_are_capped() -> None:
    app = create_sandbox(SandboxConfig(concurrency=2))
    app.faults.add(Delay(seconds=0.05))
    async with client_of(app) as client:
        answers = await asyncio.gather(*(client.get("organizations/") for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert "concurrency" in refused.text
        assert int(refused.headers["x-sentry-rate-limit-remaining"]) > 0
        assert (await client.get("organizations/")).status_code == 200


async def test_tokens_of_one_person_share_a_window_and_an_integration_has_its_organizations() -> None:
    app = create_sandbox(SandboxConfig(rate_limit=1, clock=lambda: 1_900_000_000.0))
    statuses = []
    for token in (DEMO_TOKENS.admin, DEMO_TOKENS.limited, DEMO_TOKENS.internal, "", "nonsense"):
        async with client_of(app, token) as client:
            statuses.append((await client.get("")).status_code)
    assert statuses == [200, 429, 200, 200, 429]


async def test_a_self_hosted_server_limits_nothing_and_says_nothing() -> None:
    app = create_sandbox(SandboxConfig(rate_limit=None))
    async with client_of(app) as client:
        answers: list[httpx.Response] = [await client.get("") for _ in range(60)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("rate-limit" in name for name in answers[0].headers)
