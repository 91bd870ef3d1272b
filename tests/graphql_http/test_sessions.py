"""Places for what stays open: nobody can take them all."""

from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from service.errors import ServiceError, TooManySubscriptions, Unauthenticated
from service.graphql_http.sessions import Sessions
from service.tenants.caller import Caller, Role


@dataclass(eq=False)
class Connected:
    caller: Caller | None
    authorization: str | None = None

    def end(self, why: ServiceError) -> None:
        raise AssertionError(why)


class KnowsNobody:
    async def authenticate(self, authorization: str | None) -> Caller:
        raise Unauthenticated("nobody")


def of(tenant_id: str) -> Caller:
    return Caller(tenant_id, Role.READ, "test")


def open_all(sessions: Sessions, stack: ExitStack, caller: Caller | None) -> int:
    """As many as there is room for."""
    for number in range(100):
        try:
            sessions.require_room(caller)
        except TooManySubscriptions:
            return number
        stack.enter_context(sessions.opened(Connected(caller)))
    raise AssertionError("there is no end of room")


@pytest.mark.parametrize("greedy", [of("ten_1"), None], ids=["a tenant", "whoever says not who it is"])
async def test_nobody_takes_all_places(greedy):
    sessions = Sessions(KnowsNobody(), limit=16)
    with ExitStack() as stack:
        assert open_all(sessions, stack, greedy) == 14
        assert open_all(sessions, stack, of("ten_2")) == 2
        assert open_all(sessions, stack, of("ten_3")) == 0
    assert sessions.count == 0


async def test_a_few_places_are_for_whoever_comes_first():
    sessions = Sessions(KnowsNobody(), limit=2)
    with ExitStack() as stack:
        assert open_all(sessions, stack, of("ten_1")) == 2


async def test_one_that_has_a_place_needs_no_other():
    sessions = Sessions(KnowsNobody(), limit=1)
    mine = Connected(None)
    with sessions.opened(mine):
        sessions.require_room(of("ten_1"), but=mine)
        with pytest.raises(TooManySubscriptions):
            sessions.require_room(of("ten_1"))
