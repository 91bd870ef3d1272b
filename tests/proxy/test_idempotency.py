import asyncio
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from sqlmodel import select

from service.columns import now
from service.connections.models import IdempotencyRecord
from service.db import Database
from service.errors import (
    BadInput,
    EgressRefused,
    Forbidden,
    IdempotencyKeyReused,
    InProgress,
    OutcomeUnknown,
    UpstreamError,
)
from service.proxy.engine import ProxyAnswer, ProxyRequest
from service.proxy.idempotency import BODY_DROPPED, KEPT_FOR, LONGEST_KEPT_BODY, REPLAYED, hash_request
from service.sandbox.faults import Fail, Garble, Reset, Truncate
from service.tenants.caller import Role
from tests.databases import database_url
from tests.proxy.conftest import RUNNING, Linked
from tests.proxy.recording import Recorder, json_response

__all__ = ["database_url"]  # both engines here

PATH = "organizations/{organization}/releases/"


async def write(
    linked: Linked, key: str | None = "key", body: bytes = b'{"version": "1"}', path: str = PATH
) -> ProxyAnswer:
    request = ProxyRequest("POST", path, body=body, idempotency_key=key)
    return await linked.engine.call(linked.caller, linked.connection.id, request)


async def rows(database: Database) -> list[IdempotencyRecord]:
    async with database.session() as session:
        return list(await session.exec(select(IdempotencyRecord)))


async def age(database: Database, by: timedelta) -> None:
    async def work(session) -> None:
        await session.exec(update(IdempotencyRecord).values(started_at=now() - by))

    await database.run_transaction(work)


async def created(_: httpx.Request) -> httpx.Response:
    await asyncio.sleep(0.01)
    return json_response(201, b'{"id": "1"}', x_request_id="abc")


async def test_of_fifty_writes_at_once_one_is_sent(link):
    recorder = Recorder(created)
    linked = await link(recorder)
    results = await asyncio.gather(*(write(linked) for _ in range(50)), return_exceptions=True)
    assert len(recorder.requests) == 1
    answers = [result for result in results if isinstance(result, ProxyAnswer)]
    assert {answer.result for answer in answers} == {b'{"id": "1"}'}
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert all(isinstance(result, ProxyAnswer | InProgress) for result in results)


async def test_the_answer_is_given_again(link):
    recorder = Recorder(created)
    linked = await link(recorder)
    first, second = await write(linked), await write(linked)
    assert len(recorder.requests) == 1
    assert (second.status_code, second.result) == (201, b'{"id": "1"}')
    assert REPLAYED not in first.headers
    assert second.headers == {"content-type": "application/json", REPLAYED: "true"}


@pytest.mark.parametrize(
    "changes", [{"body": b'{"version": "2"}'}, {"path": "organizations/{organization}/teams/"}, {"body": None}]
)
async def test_a_key_is_for_one_request(link, changes):
    linked = await link(Recorder(created))
    await write(linked)
    with pytest.raises(IdempotencyKeyReused):
        await write(linked, **changes)


async def test_a_key_belongs_to_one_connection(link):
    recorder = Recorder(created)
    for external_id in ("a", "b"):
        await write(await link(recorder, external_id=external_id))
    assert len(recorder.requests) == 2


async def test_a_refusal_that_will_not_pass_is_kept(link):
    async def refuse(_: httpx.Request) -> httpx.Response:
        return json_response(400, b'{"version": ["This field may not be blank."]}')

    recorder = Recorder(refuse)
    linked = await link(recorder)
    assert [(await write(linked)).status_code for _ in range(2)] == [400, 400]
    assert len(recorder.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 408, 425])
async def test_a_refusal_that_may_pass_gives_the_key_back(link, status):
    statuses = iter([status, 201])

    async def answer(_: httpx.Request) -> httpx.Response:
        return json_response(next(statuses), b"{}")

    linked = await link(Recorder(answer))
    assert [(await write(linked)).status_code for _ in range(2)] == [status, 201]


async def test_what_was_never_sent_gives_the_key_back(link):
    async def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    recorder = Recorder(fail)
    linked = await link(recorder)
    with pytest.raises(UpstreamError) as caught:
        await write(linked)
    assert not isinstance(caught.value, OutcomeUnknown)
    recorder.answer = created
    assert (await write(linked)).status_code == 201


@pytest.mark.parametrize(
    "fault",
    [Reset(commits=True), Truncate(), Truncate(chunked=True), Fail(status=500), Fail(status=502), Fail(status=503)],
)
async def test_a_write_whose_outcome_is_unknown_is_never_sent_again(linked, sandbox, fault):
    sandbox.faults.add(fault)
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            await write(linked, path="organizations/{organization}/teams/", body=b'{"name": "Once"}')
    sandbox.faults.clear()
    with pytest.raises(OutcomeUnknown):
        await write(linked, path="organizations/{organization}/teams/", body=b'{"name": "Once"}')
    assert sandbox.count("POST") == 1


async def test_an_answer_too_large_to_read_leaves_the_outcome_unknown(link):
    async def answer(_: httpx.Request) -> httpx.Response:
        return json_response(200, b"1" * (2**25 + 1))

    recorder = Recorder(answer)
    linked = await link(recorder)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await write(linked)
    assert len(recorder.requests) == 1


async def test_an_answer_that_cannot_be_shown_is_kept_all_the_same(linked, sandbox):
    sandbox.faults.add(Garble())
    first = await write(linked)
    second = await write(linked)
    assert [(answer.status_code, answer.result) for answer in (first, second)] == [(200, None)] * 2
    assert sandbox.count() == 1


async def test_of_a_long_answer_the_status_is_kept(link):
    async def answer(_: httpx.Request) -> httpx.Response:
        return json_response(201, b'"%b"' % (b"x" * LONGEST_KEPT_BODY))

    linked = await link(Recorder(answer))
    assert (await write(linked)).result is not None
    again = await write(linked)
    assert (again.status_code, again.result) == (201, None)
    assert again.headers[BODY_DROPPED] == "true"


async def test_a_write_that_a_crash_broke_off_runs_for_a_while_and_then_is_unknown(link, database):
    recorder = Recorder(created)
    linked = await link(recorder)
    await write(linked)

    async def forget_the_answer(session) -> None:  # as if the process had ended before it came
        await session.exec(update(IdempotencyRecord).values(finished_at=None, status=None, answer=None, key_id=None))

    await database.run_transaction(forget_the_answer)
    with pytest.raises(InProgress):
        await write(linked)
    await age(database, RUNNING + timedelta(seconds=1))
    with pytest.raises(OutcomeUnknown):
        await write(linked)
    assert len(recorder.requests) == 1


async def test_answers_are_sealed(link, database):
    linked = await link(Recorder(created))
    await write(linked)
    [row] = await rows(database)
    assert row.answer is not None
    assert b"id" not in row.answer


async def test_after_a_day_a_key_is_new(link, database):
    recorder = Recorder(created)
    linked = await link(recorder)
    await write(linked)
    await age(database, KEPT_FOR + timedelta(seconds=1))
    assert REPLAYED not in (await write(linked, body=b"{}")).headers
    assert len(recorder.requests) == 2


async def test_old_answers_are_purged(link, database):
    linked = await link(Recorder(created))
    await write(linked, "old")
    await age(database, KEPT_FOR + timedelta(seconds=1))
    await write(linked, "new")
    assert await linked.idempotency.purge() == 1
    assert [row.key for row in await rows(database)] == ["new"]


async def test_a_caller_who_leaves_does_not_break_the_write_off(link):
    begun, answer_now = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        begun.set()
        await answer_now.wait()
        return await created(request)

    recorder = Recorder(answer)
    linked = await link(recorder)
    leaving = asyncio.create_task(write(linked))
    await begun.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(InProgress):
        await write(linked)
    answer_now.set()
    await linked.idempotency.aclose()
    assert (await write(linked)).headers[REPLAYED] == "true"
    assert len(recorder.requests) == 1


async def test_the_error_of_a_write_nobody_waits_for_is_remembered(link):
    begun, fail_now = asyncio.Event(), asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        begun.set()
        await fail_now.wait()
        raise httpx.ReadError("lost")

    linked = await link(Recorder(answer))
    leaving = asyncio.create_task(write(linked))
    await begun.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    fail_now.set()
    await linked.idempotency.aclose()
    with pytest.raises(OutcomeUnknown):
        await write(linked)


async def test_a_write_that_is_broken_off_here_has_an_unknown_outcome(link):
    begun = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        begun.set()
        await asyncio.Future()
        raise AssertionError

    recorder = Recorder(answer)
    linked = await link(recorder)
    waiting = asyncio.create_task(write(linked))
    await begun.wait()
    for task in asyncio.all_tasks() - {waiting, asyncio.current_task()}:
        task.cancel()  # as the end of the event loop does
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(OutcomeUnknown):
        await write(linked)
    assert len(recorder.requests) == 1


@pytest.mark.parametrize("database_url", ["postgres_url"], indirect=True)
async def test_an_answer_is_given_also_where_it_cannot_be_remembered(link, postgres):
    async def answer(request: httpx.Request) -> httpx.Response:
        postgres.stop()
        return await created(request)

    linked = await link(Recorder(answer))
    try:
        assert (await write(linked)).status_code == 201
    finally:
        postgres.start()
    with pytest.raises(InProgress):
        await write(linked)


async def test_what_we_refuse_ourselves_gives_the_key_back(link):
    async def refuse(_: httpx.Request) -> httpx.Response:
        raise EgressRefused("The address is private.")

    recorder = Recorder(refuse)
    linked = await link(recorder)
    with pytest.raises(EgressRefused):
        await write(linked)
    recorder.answer = created
    assert (await write(linked)).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "a\0b", "\ud800"])
async def test_keys_that_cannot_be_stored_are_refused(link, key):
    recorder = Recorder(created)
    linked = await link(recorder)
    with pytest.raises(BadInput, match="idempotencyKey"):
        await write(linked, key)
    assert recorder.requests == []


async def test_keys_are_for_writes_of_callers_who_may_write(link):
    linked = await link(Recorder(created))
    with pytest.raises(BadInput, match="writes"):
        await linked.engine.call(linked.caller, linked.connection.id, ProxyRequest("GET", PATH, idempotency_key="key"))
    with pytest.raises(Forbidden):
        await write(replace(linked, caller=replace(linked.caller, role=Role.READ)))


PARTS = st.lists(st.none() | st.text(max_size=3) | st.binary(max_size=3), max_size=4)


@given(PARTS, PARTS)
def test_different_requests_have_different_hashes(one, other):
    def normal(parts: list[str | bytes | None]) -> list[bytes | None]:
        return [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]

    assert (hash_request(*one) == hash_request(*other)) is (normal(one) == normal(other))
