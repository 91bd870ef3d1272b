"""How webhooks are sent: how patiently, how often, and how they are steered into trouble."""

from collections.abc import Iterator

import pytest

from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.steering import Delay, Drop, Duplicate, Reorder
from service.sandbox.world import DEMO_APP
from tests.sandbox.conftest import client_of
from tests.sandbox.hearing import Ear, listening
from tests.sandbox.linking import linker_of

CONTROL = "http://sandbox/__sandbox__/"


@pytest.fixture
def ear() -> Iterator[Ear]:
    with listening() as found:
        yield found


@pytest.fixture
def patient(ear: Ear) -> Sandbox:
    """A sandbox whose public app is told, with hardly a wait between attempts."""
    app = create_sandbox(SandboxConfig(rate_limit=None, control=True, webhook_retry_wait=0.01))
    app.grant_installation()
    app.register_redirects(oauth=[], install="http://service.example/", webhook=ear.url)
    return app


def happen(app: Sandbox, *, times: int = 1) -> None:
    """Something of which one webhook tells."""
    for _ in range(times):
        app.fire_metric_alert("critical")


def attempts(app: Sandbox) -> list[list[int | None]]:
    assert app.webhooks.wait()
    return [[attempt.status for attempt in delivery.attempts] for delivery in app.deliveries]


@pytest.mark.parametrize("status", [500, 503, 504])
def test_a_published_app_is_tried_four_times(patient: Sandbox, ear: Ear, status: int) -> None:
    ear.answers = [status] * 5
    happen(patient)
    assert attempts(patient) == [[status] * 4]
    heard = [ear.next() for _ in range(4)]
    assert len({one.body for one in heard}) == 1
    assert len({one.headers["Request-ID"] for one in heard}) == 4
    assert all(one.is_signed_by(DEMO_APP.client_secret) for one in heard)
    assert patient.deliveries[0].state == "failed"


def test_trying_again_ends_with_the_first_success(patient: Sandbox, ear: Ear) -> None:
    ear.answers = [502, 200]
    happen(patient)
    assert attempts(patient) == [[502, 200]]
    assert patient.deliveries[0].state == "delivered"


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429])
def test_what_the_receiver_refuses_is_not_sent_again(patient: Sandbox, ear: Ear, status: int) -> None:
    patient.manner = "23.7"  # waits longer: a busy machine is not what is looked at
    ear.answers = [status]
    happen(patient)
    assert attempts(patient) == [[status]]


def test_a_time_out_is_an_attempt_and_comes_after_a_second(patient: Sandbox, ear: Ear) -> None:
    ear.answers = [None]
    happen(patient)
    assert attempts(patient) == [[None, 204]]
    first, _ = patient.deliveries[0].attempts
    assert first.error == "TimeoutError: no answer within 1 s"


def test_an_old_server_waits_longer(patient: Sandbox) -> None:
    patient.manner = "23.7"
    happen(patient)
    assert patient.deliveries[0].policy.timeout == 5


def test_a_receiver_that_is_away_is_tried_again(patient: Sandbox) -> None:
    patient.register_redirects(oauth=[], install="http://service.example/", webhook="http://127.0.0.1:9/")
    happen(patient)
    assert attempts(patient) == [[None] * 4]
    assert "ClientConnectorError" in patient.deliveries[0].error


@pytest.mark.parametrize("status", [503, 404, None])
def test_errors_of_an_unpublished_app_are_swallowed(patient: Sandbox, ear: Ear, status: int | None) -> None:
    linker_of(patient).is_published = False
    ear.answers = [status]
    happen(patient)
    assert attempts(patient) == [[status]]


def test_five_minutes_lie_between_attempts_unless_told_otherwise(app: Sandbox, ear: Ear) -> None:
    app.grant_installation()
    app.register_redirects(oauth=[], install="http://service.example/", webhook=ear.url)
    ear.answers = [503]
    happen(app)
    ear.next()
    assert app.webhooks.wait()
    assert app.deliveries[0].state == "resting"
    app.reset()
    assert app.deliveries == []


async def test_nobody_waits_for_a_receiver_that_hangs(patient: Sandbox, ear: Ear) -> None:
    ear.answers = [None] * 4
    async with client_of(patient) as client:
        assert (await client.put("issues/1/", json={"status": "resolved"})).status_code == 200
    ear.next()
    assert patient.deliveries[0].state == "sending"


def test_dropped_is_never_sent(patient: Sandbox, ear: Ear) -> None:
    patient.webhooks.steering.add(Drop(resource="metric_alert", action="critical", times=2))
    happen(patient, times=3)
    patient.fire_metric_alert("resolved")
    assert attempts(patient) == [[204], [204]]
    assert [(d.action, d.state) for d in patient.webhooks.missed] == [("critical", "missed")] * 2


def test_told_twice_with_the_same_body(patient: Sandbox, ear: Ear) -> None:
    patient.webhooks.steering.add(Duplicate(times=1))
    happen(patient)
    assert attempts(patient) == [[204], [204]]
    assert ear.next().body == ear.next().body


def test_turned_around(patient: Sandbox, ear: Ear) -> None:
    patient.webhooks.steering.add(Reorder(resource="metric_alert", size=3, times=3))
    for action in ("warning", "critical", "resolved"):
        assert patient.deliveries == []
        patient.fire_metric_alert(action)
    assert ear.names(3) == ["metric_alert.resolved", "metric_alert.critical", "metric_alert.warning"]
    happen(patient)
    assert ear.names(1) == ["metric_alert.critical"]


def test_what_a_reordering_holds_is_released(patient: Sandbox, ear: Ear) -> None:
    patient.webhooks.steering.add(Reorder(size=5))
    happen(patient, times=2)
    patient.webhooks.release()
    assert attempts(patient) == [[204], [204]]
    assert patient.webhooks.steering.listed() == []


def test_late(patient: Sandbox, ear: Ear) -> None:
    patient.webhooks.steering.add(Delay(seconds=0.05, action="critical"))
    happen(patient)
    assert attempts(patient) == [[204]]
    patient.webhooks.steering.add(Delay(seconds=60, times=1))
    happen(patient)
    assert patient.webhooks.wait()
    assert patient.deliveries[1].state == "resting"
    patient.reset()


async def test_another_process_steers(patient: Sandbox, ear: Ear) -> None:
    async with client_of(patient) as client:
        body = {"kind": "drop", "resource": "metric_alert", "times": 1}
        assert (await client.post(f"{CONTROL}steering/", json=body)).status_code == 204
        listed = (await client.get(f"{CONTROL}steering/")).json()
        assert listed == [{"kind": "drop", "resource": "metric_alert", "action": None, "times": 1}]
        happen(patient)
        assert [row["state"] for row in (await client.get(f"{CONTROL}deliveries/")).json()] == ["missed"]
        assert (await client.post(f"{CONTROL}steering/", json={"kind": "lose"})).status_code == 400
        assert (await client.delete(f"{CONTROL}steering/")).status_code == 204
    happen(patient)
    assert attempts(patient) == [[204]]


def test_many_go_over_kept_connections(patient: Sandbox, ear: Ear) -> None:
    happen(patient, times=300)
    assert patient.webhooks.wait(30)
    assert {delivery.state for delivery in patient.deliveries} == {"delivered"}
    assert len(patient.deliveries) == 300


def test_the_thread_ends_and_begins_again(patient: Sandbox, ear: Ear) -> None:
    happen(patient)
    assert attempts(patient) == [[204]]
    patient.reset()
    patient.grant_installation()
    patient.register_redirects(oauth=[], install="http://service.example/", webhook=ear.url)
    happen(patient)
    assert attempts(patient) == [[204]]


def test_redirects_are_not_followed(patient: Sandbox, ear: Ear) -> None:
    ear.answers = [302]
    happen(patient)
    assert attempts(patient) == [[302]]
