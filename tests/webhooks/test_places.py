"""How much is sent at once, and to whom."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.answers import Answer, Problem
from service.webhooks.claiming import Queue
from service.webhooks.places import AT_ONCE, OF_ENDPOINT, OF_FAILING, OF_TENANT, OF_UNKNOWN, Places

OK, BROKEN = Answer(status=200), Answer(status=500)


def queue(endpoint: str = "whe_1", tenant: str = "ten_1", *, due: int = 32, is_failing: bool = False) -> Queue:
    return Queue(endpoint, tenant, is_enabled=True, is_failing=is_failing, due=due, wait=0)


def earned(places: Places) -> int:
    """What an endpoint with much that is due gets."""
    return places.allot([queue()]).get("whe_1", 0)


def test_places_are_earned_and_lost() -> None:
    places = Places()
    assert earned(places) == OF_UNKNOWN
    for _ in range(3):
        places.judge("whe_1", OK, 10)
    assert earned(places) == OF_UNKNOWN + 3
    places.judge("whe_1", BROKEN, 10)
    assert earned(places) == OF_FAILING
    places.judge("whe_1", OK, 10)
    assert earned(places) == OF_FAILING + 1
    for _ in range(100):
        places.judge("whe_1", OK, 10)
    assert earned(places) == OF_ENDPOINT
    places.judge("whe_1", OK, 14_900)
    assert earned(places) == OF_UNKNOWN
    places.judge("whe_1", Answer(problem=Problem.INTERRUPTED), 10)
    assert earned(places) == OF_UNKNOWN
    places.judge("whe_1", Answer(problem=Problem.TIMEOUT), 15_000)
    places.judge("whe_1", OK, 14_900)
    assert earned(places) == OF_FAILING + 1


def test_one_that_failed_before_this_process_began_has_one_place() -> None:
    assert Places().allot([queue(is_failing=True)]) == {"whe_1": OF_FAILING}


def test_a_place_that_is_taken_is_not_given_again() -> None:
    places = Places()
    for _ in range(OF_UNKNOWN):
        places.take("whe_1", "ten_1")
    assert places.allot([queue()]) == {}
    assert places.is_short
    places.leave("whe_1", "ten_1")
    assert places.allot([queue()]) == {"whe_1": 1}


def test_it_is_short_only_where_something_is_left() -> None:
    places = Places()
    assert places.allot([queue(due=2)]) == {"whe_1": 2}
    assert not places.is_short
    places.allot([queue(due=OF_UNKNOWN + 1)])
    assert places.is_short


QUEUES = st.lists(
    st.builds(
        queue,
        st.integers(0, 200).map(lambda number: f"whe_{number}"),
        st.integers(0, 8).map(lambda number: f"ten_{number}"),
        due=st.integers(0, 32),
        is_failing=st.booleans(),
    ),
    unique_by=lambda each: each.endpoint_id,
    max_size=150,
)


@given(rounds=st.lists(QUEUES, min_size=1, max_size=4))
def test_nobody_has_more_than_may_be(rounds: list[list[Queue]]) -> None:
    places, of_tenant, of_endpoint = Places(), Counter[str](), Counter[str]()
    for due in rounds:
        tenants = {each.endpoint_id: each.tenant_id for each in due}
        amounts = {each.endpoint_id: each.due for each in due}
        for endpoint_id, count in places.allot(due).items():
            assert 0 < count <= amounts[endpoint_id]
            for _ in range(count):
                places.take(endpoint_id, tenants[endpoint_id])
            of_tenant[tenants[endpoint_id]] += count
            of_endpoint[endpoint_id] += count
        assert of_tenant.total() <= AT_ONCE
        assert max(of_tenant.values(), default=0) <= OF_TENANT
        assert max(of_endpoint.values(), default=0) <= OF_UNKNOWN
