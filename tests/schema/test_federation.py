"""``_entities``, as a gateway asks it: over HTTP, with the stand-in Sentry behind."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.connections.models import ConnectionRecord
from service.ids import build_user_id, new_id
from service.sandbox.app import Sandbox
from service.tenants.caller import Role
from tests.graph_fixture import BIG, MIDDLE, Graph, serve_graph
from tests.scale import scaled

ENTITIES = """
query Entities($of: [_Any!]!) {
  _entities(representations: $of) {
    __typename
    ... on Connection { id externalId name }
    ... on User { id connectionId email }
  }
}
"""
FIRST_MEMBER, FIRST_ADDRESS = "1", "mara.quill@lumen-labs.example"


def connection(**key: Any) -> dict[str, Any]:
    return {"__typename": "Connection", **key}


def user(**key: Any) -> dict[str, Any]:
    return {"__typename": "User", **key}


async def load(graph: Graph, *representations: Any) -> list[Any]:
    """The entities, none of which may fail."""
    found: list[Any] = (await graph.query(ENTITIES, of=representations))["_entities"]
    return found


async def load_one_failing(graph: Graph, *representations: Any) -> tuple[list[Any], dict[str, Any]]:
    """The entities, and the error of the one that fails: exactly where it is null and nowhere else."""
    answer = await graph.ask(ENTITIES, of=representations)
    (error,) = answer["errors"]
    found = answer["data"]["_entities"]
    assert error["path"] == ["_entities", found.index(None)]
    return found, {"message": error["message"], **error["extensions"]}


async def test_a_connection_by_either_key(graph: Graph) -> None:
    linked = await graph.link(BIG, external_id="customer-7")
    expected = {"__typename": "Connection", "id": linked.id, "externalId": "customer-7", "name": "Lumen Labs"}
    keys = [connection(id=linked.id), connection(externalId="customer-7")]
    assert await load(graph, *keys) == [expected, expected]
    assert graph.calls() == 0


async def test_a_user_by_either_key(graph: Graph) -> None:
    linked = await graph.link(BIG)
    user_id = build_user_id(linked.id, FIRST_MEMBER)
    expected = {"__typename": "User", "id": user_id, "connectionId": linked.id, "email": FIRST_ADDRESS}
    keys = [user(id=user_id), user(connectionId=linked.id, email=FIRST_ADDRESS)]
    assert await load(graph, *keys) == [expected, expected]


@pytest.mark.parametrize("typed", [FIRST_ADDRESS.upper(), FIRST_ADDRESS.title(), f" {FIRST_ADDRESS}\t"])
async def test_an_address_matches_in_any_case(graph: Graph, typed: str) -> None:
    linked = await graph.link(BIG)
    (found,) = await load(graph, user(connectionId=linked.id, email=typed))
    assert found["email"] == FIRST_ADDRESS


async def test_a_stored_address_with_capitals_is_found(graph: Graph) -> None:
    linked = await graph.link(BIG)
    (found,) = await load(graph, user(connectionId=linked.id, email="big.letters@lumen-labs.example"))
    assert found["email"] == "Big.Letters@Lumen-Labs.example"


async def test_a_secondary_address_is_no_key(graph: Graph) -> None:
    linked = await graph.link(BIG)
    assert await load(graph, user(connectionId=linked.id, email="mara@quill.example")) == [None]


async def test_several_users_of_an_address_are_null_with_an_error(graph: Graph) -> None:
    linked = await graph.link(BIG)
    organization = graph.sandbox.world.organizations[0]
    first, second, third = [member.user for member in organization.members if member.user][1:4]
    assert first is not None
    assert second is not None
    assert third is not None
    second.email = first.email.upper()
    graph.sandbox.world.changed()
    keys = [
        user(connectionId=linked.id, email=third.email),
        user(connectionId=linked.id, email=first.email),
    ]
    found, error = await load_one_failing(graph, *keys)
    assert found[0]["email"] == third.email
    assert error["code"] == "BAD_USER_INPUT"
    assert error["cure"] == "Ask for the user by id."


@pytest.mark.parametrize(
    "odd",
    ["o'brien@lumen-labs.example", ":x", "x:", '"', "\\", "(x", "x)", "or", "x y", "a\n", "\x00", "\u2028", "", " ",
     "\u00df@lumen-labs.example", "a" * 255, "a" * 40_000],
)  # fmt: skip
async def test_an_odd_address_leaves_its_neighbours_alone(graph: Graph, odd: str) -> None:
    linked = await graph.link(BIG)
    found = await load(
        graph,
        user(connectionId=linked.id, email=odd),
        user(connectionId=linked.id, email=FIRST_ADDRESS),
        user(connectionId=linked.id, email=odd + "x"),
    )
    assert [each and each["email"] for each in found] == [None, FIRST_ADDRESS, None]
    assert graph.calls() == 1


async def test_a_member_id_beyond_sentrys_reach_leaves_its_neighbours_alone(graph: Graph) -> None:
    linked = await graph.link(BIG)
    keys = [user(id=build_user_id(linked.id, each)) for each in ("9" * 19, FIRST_MEMBER, "0", "007")]
    found = await load(graph, *keys)
    assert [each and each["email"] for each in found] == [None, FIRST_ADDRESS, None, None]


async def test_a_hundred_of_two_connections_cost_a_call_for_each_connection_and_key(graph: Graph) -> None:
    big, middle = await graph.link(BIG), await graph.link(MIDDLE, external_id="middle")
    organizations = {each.slug: each for each in graph.sandbox.world.organizations}
    keys: list[Any] = []
    expected: list[Any] = []
    for linked, slug in ((big, BIG), (middle, MIDDLE)):
        joined = [member for member in organizations[slug].members if member.user and member.user.is_active][:24]
        for member in joined[:12]:
            keys.append(user(id=build_user_id(linked.id, str(member.id))))
            expected.append(keys[-1]["id"])
        for member in joined[12:]:
            keys.append(user(connectionId=linked.id, email=member.email))
            expected.append(build_user_id(linked.id, str(member.id)))
        keys += [connection(id=linked.id), connection(externalId=linked.external_id)]
        expected += [linked.id, linked.id]
    keys, expected = keys[::2] + keys[1::2], expected[::2] + expected[1::2]
    keys += keys[: 100 - len(keys)]
    expected += expected[: 100 - len(expected)]
    found = await load(graph, *keys)
    assert [each["id"] for each in found] == expected
    assert len(found) == 100
    assert graph.calls(f"organizations/{BIG}/members/") == graph.calls(f"organizations/{MIDDLE}/members/") == 2
    assert graph.calls() == 4


async def test_more_than_a_hundred_are_refused(graph: Graph) -> None:
    linked = await graph.link(BIG)
    error = await graph.error(ENTITIES, of=[user(id=build_user_id(linked.id, str(each))) for each in range(101)])
    assert error["code"] == "LIMIT_EXCEEDED"
    assert graph.calls() == 0


@pytest.mark.parametrize(
    ("representation", "said"),
    [
        ({"__typename": "Proxy", "id": "1"}, "`Connection`, `User`"),
        ({"__typename": "Query"}, "`Connection`, `User`"),
        ({"__typename": ""}, "`Connection`, `User`"),
        ({"__typename": None, "id": "1"}, "`Connection`, `User`"),
        ({"__typename": ["User"], "id": "1"}, "`Connection`, `User`"),
        ({"__typename": {"User": 1}, "id": "1"}, "`Connection`, `User`"),
        ({"id": "1"}, "`Connection`, `User`"),
        ({}, "`Connection`, `User`"),
        ("User", "object"),
        (7, "object"),
        (True, "object"),
        (["User"], "object"),
        (connection(), "all fields of a key"),
        (user(email="a@b.example"), "all fields of a key"),
        (user(connectionId="con_x"), "all fields of a key"),
        (user(external_id="1", ID="1"), "all fields of a key"),
        (connection(id=7), "strings"),
        (connection(id=None), "strings"),
        (connection(externalId={"in": ["a", "b"]}), "strings"),
        (user(id=["usr_x_1"]), "strings"),
        (user(connectionId="con_x", email=None), "strings"),
        (user(connectionId=True, email="a@b.example"), "strings"),
    ],
)
async def test_a_malformed_representation_is_an_error_of_its_own(graph: Graph, representation: Any, said: str) -> None:
    linked = await graph.link(BIG)
    found, error = await load_one_failing(graph, connection(id=linked.id), representation, connection(id=linked.id))
    assert [each and each["id"] for each in found] == [linked.id, None, linked.id]
    assert error["code"] == "BAD_USER_INPUT"
    assert said in error["message"]


async def test_what_is_not_the_key_is_left_alone(graph: Graph) -> None:
    linked = await graph.link(BIG)
    found = await load(
        graph,
        connection(id=linked.id, name="Forged", externalId="forged", tenantId="other", self="x", info="x"),
        user(id=build_user_id(linked.id, FIRST_MEMBER), email="forged@x.example", connectionId=7, remoteData={}),
    )
    assert found[0]["name"] == "Lumen Labs"
    assert found[1]["email"] == FIRST_ADDRESS


async def test_users_by_id_are_the_same_alone_and_among_others(graph: Graph) -> None:
    linked = await graph.link(BIG)
    members = (FIRST_MEMBER, "0", FIRST_MEMBER, "x", "2")
    keys = [
        user(id=each)
        for each in (*(build_user_id(linked.id, member) for member in members), "", "con_1", new_id("usr"))
    ]
    alone = await load(graph, *keys)
    assert [each and each["id"] for each in alone] == [
        keys[0]["id"],
        None,
        keys[2]["id"],
        None,
        keys[4]["id"],
        *3 * [None],
    ]
    for index in (0, 3, len(keys)):
        for other in (connection(id=new_id("con")), user(connectionId=linked.id, email="nobody@x.example")):
            assert await load(graph, *keys[:index], other, *keys[index:]) == [*alone[:index], None, *alone[index:]]
        for wrong in (7, user(id=7), user(), {"__typename": "Team", "id": keys[0]["id"]}):
            answer = await graph.ask(ENTITIES, of=[*keys[:index], wrong, *keys[index:]])
            assert answer["data"]["_entities"] == [*alone[:index], None, *alone[index:]]
            assert [error["path"] for error in answer["errors"]] == [["_entities", index]]


async def test_a_failing_connection_fails_its_own_entities_only(graph: Graph) -> None:
    big, middle = await graph.link(BIG), await graph.link(MIDDLE)
    await graph.runtime.services.connections.unlink(graph.caller, middle.id)
    keys = [user(id=build_user_id(each.id, FIRST_MEMBER)) for each in (big, middle)]
    found, error = await load_one_failing(graph, *keys)
    assert found[0]["email"] == FIRST_ADDRESS
    assert error["code"] == "NEEDS_REAUTH"


async def test_foreign_and_missing_are_alike_to_the_byte(graph: Graph) -> None:
    mine = await graph.link(BIG, external_id="mine")
    stranger = await graph.as_tenant("Stranger")
    theirs = await stranger.link(BIG, external_id="theirs")
    narrowed = await graph.as_role(Role.READ, external_ids=["another"])
    for asking, hidden, external_id in ((graph, theirs, "theirs"), (stranger, mine, "mine"), (narrowed, mine, "mine")):
        missing = new_id("con")
        answers = [
            await asking.send(
                ENTITIES,
                of=[
                    connection(id=each),
                    connection(externalId=its_external_id),
                    user(id=build_user_id(each, FIRST_MEMBER)),
                    user(connectionId=each, email=FIRST_ADDRESS),
                ],
            )
            for each, its_external_id in ((hidden.id, external_id), (missing, "nothing has this"))
        ]
        assert answers[0].content == answers[1].content
        assert answers[0].status_code == answers[1].status_code == 200
        assert answers[0].json() == {"data": {"_entities": [None] * 4}}
    assert graph.calls() == 0


async def test_the_role_read_is_enough(graph: Graph) -> None:
    linked = await graph.link(BIG)
    reader = await graph.as_role(Role.READ)
    (found,) = await load(reader, user(id=build_user_id(linked.id, FIRST_MEMBER)))
    assert found["email"] == FIRST_ADDRESS


async def test_without_a_caller_there_are_no_entities(graph: Graph) -> None:
    answer = await graph.http.post("/graphql", json={"query": ENTITIES, "variables": {"of": []}})
    assert answer.status_code == 401


ECHO = "zq9echo"  # in every text that is sent, and in nothing that may come back
TEXT = (st.text(max_size=20) | st.just("\ud800")).map(lambda text: text + ECHO) | st.sampled_from(
    [f"usr_{ECHO}_1", f"'{ECHO}", f":{ECHO}", f"{ECHO}:", f'"{ECHO}', f"{ECHO}@lumen-labs.example", f"\x00{ECHO}\n"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def representations(linked: ConnectionRecord) -> st.SearchStrategy[list[Any]]:
    """Anything at all, and much that is nearly right, of a connection that exists."""
    value = ANY_JSON | TEXT | TEXT | st.just(linked.id)
    user_ids = (st.text("0123456789", max_size=22) | TEXT).map(lambda member: build_user_id(linked.id, member))
    fields = {
        "__typename": st.sampled_from(["Connection", "User"]) | value,
        "id": value | user_ids,
        "externalId": value,
        "connectionId": value,
        "email": value,
        "self": value,
        "info": value,
        "representations": value,
    }
    return st.lists(ANY_JSON | st.fixed_dictionaries({}, optional=fields), max_size=8)


def test_whatever_is_sent_is_neither_answered_back_nor_an_unforeseen_error(tmp_path: Path, sandbox: Sandbox) -> None:
    with asyncio.Runner() as runner, _closing(runner) as stack:
        graph = runner.run(stack.enter_async_context(serve_graph(tmp_path, sandbox)))
        linked = runner.run(graph.link(BIG))

        @settings(max_examples=scaled(test=200, soak=5000), deadline=None)
        @given(representations(linked))
        def send(sent: list[Any]) -> None:
            body = json.dumps({"query": ENTITIES, "variables": {"of": sent}})
            headers = {"authorization": f"Bearer {graph.key}", "content-type": "application/json"}
            response = runner.run(graph.http.post("/graphql", content=body, headers=headers))
            assert ECHO not in response.text
            answer = response.json()
            codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
            if "\\ud800" in body:  # half a character: no text, and so no JSON that anybody has to read
                assert (response.status_code, codes) == (400, {"BAD_REQUEST"})
            elif None in sent:  # against the schema, before anything is resolved
                assert (response.status_code, codes) == (200, {"BAD_USER_INPUT"})
                assert "data" not in answer
            else:
                assert codes <= {"BAD_USER_INPUT"}
                found = answer["data"]["_entities"]
                assert len(found) == len(sent)
                assert {each["id"] for each in found if each and each["__typename"] == "Connection"} <= {linked.id}

        send()


@contextmanager
def _closing(runner: asyncio.Runner) -> Iterator[AsyncExitStack]:
    stack = AsyncExitStack()
    try:
        yield stack
    finally:
        runner.run(stack.aclose())
