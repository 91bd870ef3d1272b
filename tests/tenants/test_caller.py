import pytest

from service.errors import Forbidden
from service.tenants.caller import Caller, Role


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("needed", Role)
def test_each_role_includes_the_ones_before_it(role: Role, needed: Role):
    caller = Caller("ten_1", role, "test")
    order = ["read", "write", "admin"]
    if order.index(role) >= order.index(needed):
        caller.require(needed)
    else:
        with pytest.raises(Forbidden, match=f"needs the role `{needed}`"):
            caller.require(needed)


@pytest.mark.parametrize(
    ("connection_ids", "external_ids", "is_narrowed"),
    [(None, None, False), (frozenset(), None, True), (None, frozenset(), True), (frozenset({"con_1"}), None, True)],
)
def test_an_empty_list_of_connections_narrows_too(connection_ids, external_ids, is_narrowed: bool):
    caller = Caller("ten_1", Role.ADMIN, "test", connection_ids, external_ids)
    assert caller.is_narrowed is is_narrowed
    if is_narrowed:
        with pytest.raises(Forbidden):
            caller.require_whole_tenant()
    else:
        caller.require_whole_tenant()
