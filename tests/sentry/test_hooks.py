import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadInput
from service.sentry.hooks import InstallationHook, OtherHook, decode_hook

UUID = "7a485448-a9e2-4c85-8a3c-4f44175783c9"
CREATED: dict[str, Any] = {
    "action": "created",
    "installation": {"uuid": UUID},
    "data": {
        "installation": {
            "uuid": UUID,
            "status": "pending",
            "organization": {"slug": "acme", "id": 1},
            "app": {"uuid": "219e579a-38bc-4df9-ac7e-697a90d6948f", "slug": "sentry-graph"},
            "code": "c0de" * 8,
        }
    },
    "actor": {"type": "user", "id": 17, "name": "Ada"},
}


def hook_of(**changes: Any) -> InstallationHook | OtherHook:
    return decode_hook(json.dumps(CREATED | changes).encode())


def test_an_installation() -> None:
    hook = hook_of()
    assert isinstance(hook, InstallationHook)
    assert hook.action == "created"
    assert (hook.installation.uuid, hook.installation.status) == (UUID, "pending")
    assert hook.installation.organization
    assert hook.installation.organization.slug == "acme"
    assert hook.installation.app
    assert hook.installation.app.slug == "sentry-graph"
    assert hook.installation.code == "c0de" * 8
    assert hook.actor
    assert (hook.actor.type, hook.actor.id, hook.actor.name) == ("user", 17, "Ada")


def test_a_deletion_has_no_code_and_may_be_of_nobody() -> None:
    hook = hook_of(action="deleted", data={"installation": {"uuid": UUID}}, actor=None)
    assert isinstance(hook, InstallationHook)
    assert (hook.action, hook.installation.code, hook.actor) == ("deleted", None, None)


def test_the_code_does_not_show_itself() -> None:
    assert "c0de" not in repr(hook_of())


@pytest.mark.parametrize("actor", ["Sentry", 7, [], {"type": 5}, {"id": {}}])
def test_an_odd_actor_is_left_out(actor: Any) -> None:
    hook = hook_of(actor=actor)
    assert isinstance(hook, InstallationHook)
    assert hook.actor is None


@pytest.mark.parametrize(
    ("changes", "action", "installation_id"),
    [
        ({"action": "resolved", "data": {"issue": {"id": "7"}}}, "resolved", UUID),
        ({"data": None}, "created", UUID),
        ({"data": [1, 2]}, "created", UUID),
        ({"data": {"installation": {"status": "installed"}}}, "created", UUID),
        ({"data": {"installation": UUID}, "installation": None}, "created", None),
        ({"data": {}, "installation": {"uuid": 7}}, "created", None),
        ({"action": 5}, None, UUID),
        ({"action": None}, None, UUID),
    ],
)
def test_anything_else_is_left_alone(changes: dict[str, Any], action: str | None, installation_id: str | None) -> None:
    assert hook_of(**changes) == OtherHook(action=action, installation_id=installation_id)


def test_two_installations_in_one_body_are_refused() -> None:
    with pytest.raises(BadInput, match="two installations"):
        hook_of(installation={"uuid": "07981384-8020-46b6-8f77-c11ef3db04c7"})


def test_an_envelope_need_not_name_the_installation_again() -> None:
    assert isinstance(hook_of(installation=None), InstallationHook)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"7", b"{", b"\xff", b'{"action":"\xff"}', b"[" * 100_000]
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        decode_hook(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(action=JSON, installation=JSON, data=JSON | st.fixed_dictionaries({"installation": JSON}), actor=JSON)
def test_any_object_is_read(action: Any, installation: Any, data: Any, actor: Any) -> None:
    hook = hook_of(action=action, installation=installation, data=data, actor=actor)
    assert isinstance(hook, OtherHook)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(BadInput):
        decode_hook(body)  # anything else would be a fault of ours
