"""A connection that used to speak and stopped is told of once, and so is that it speaks again."""

from datetime import timedelta

from service.repair.silence import MISSED_IN_A_ROW
from tests.repair.yard import A_WHILE, Yard

SILENT, RESUMED = "webhooks.silent", "webhooks.resumed"


async def speak(yard: Yard, times: int = 6, apart: timedelta = timedelta(minutes=30)) -> None:
    """Webhooks that come: an issue is resolved and unresolved again."""
    issue = yard.issue("unresolved")
    for number in range(times):
        await yard.change(issue, status="resolved" if number % 2 == 0 else "unresolved")
        await yard.receive()
        await yard.pass_time(apart)


async def miss(yard: Yard) -> list[str]:
    """A change that no webhook tells of, repaired."""
    await yard.change(yard.issue("unresolved"), status="resolved")
    yard.take_webhooks()
    return await yard.look_twice()


async def heard(yard: Yard) -> list[str]:
    return [event.type for event in await yard.events(SILENT, RESUMED)]


async def test_changes_in_a_row_that_no_webhook_told_of_are_a_silence(yard: Yard):
    await yard.look()
    await speak(yard)
    for number in range(MISSED_IN_A_ROW):
        assert await heard(yard) == []
        assert await miss(yard) == ["issue.resolved"], number
    [event] = await yard.events(SILENT)
    last = (await yard.repair()).heard_at
    assert last is not None
    assert event.data["lastReceivedAt"] == last.isoformat()
    assert 1700 < event.data["usualSeconds"] < 1900
    assert event.data["repaired"] == {"issue.resolved": MISSED_IN_A_ROW}
    assert event.body is None
    assert (await yard.repair()).silent_since is not None
    await miss(yard)
    assert await heard(yard) == [SILENT]


async def test_many_changes_at_once_are_one_miss(quick_yard: Yard):
    await quick_yard.look()
    await speak(quick_yard)
    for issue in [issue for issue in quick_yard.issues if issue.status == "unresolved"][:8]:
        await quick_yard.change(issue, status="resolved")
    quick_yard.take_webhooks()
    assert len(await quick_yard.look_twice()) == 8
    assert await heard(quick_yard) == []


async def test_a_webhook_between_them_begins_the_count_anew(quick_yard: Yard):
    await quick_yard.look()
    await speak(quick_yard)
    for _ in range(2):
        for _ in range(MISSED_IN_A_ROW - 1):
            await miss(quick_yard)
        await speak(quick_yard, times=1)
        await quick_yard.look()
    assert await heard(quick_yard) == []


async def test_it_speaks_again(yard: Yard):
    await yard.look()
    await speak(yard)
    for _ in range(MISSED_IN_A_ROW):
        await miss(yard)
    await yard.pass_time(A_WHILE)
    silent_since = (await yard.repair()).silent_since
    await speak(yard, times=1, apart=timedelta(0))
    await yard.look()
    assert await heard(yard) == [SILENT, RESUMED]
    [event] = await yard.events(RESUMED)
    assert silent_since is not None
    assert event.data["silentSince"] == silent_since.isoformat()
    repair = await yard.repair()
    assert (repair.silent_since, repair.missed) == (None, 0)
    await yard.look()
    assert await heard(yard) == [SILENT, RESUMED]


async def test_a_long_silence_counts_without_any_change(quick_yard: Yard):
    await quick_yard.look()
    await speak(quick_yard)
    await quick_yard.look()
    repair = await quick_yard.repair()
    await quick_yard.pass_time(timedelta(hours=30))
    await quick_yard.edit(polled_at=repair.polled_at)  # looked at all the time: somebody was there to hear
    await quick_yard.look()
    await quick_yard.look()
    assert await heard(quick_yard) == [SILENT]


async def test_a_downtime_is_no_silence(quick_yard: Yard):
    await quick_yard.look()
    await speak(quick_yard)
    await quick_yard.pass_time(timedelta(days=5))
    await quick_yard.look()
    await quick_yard.pass_time(timedelta(minutes=5))
    await quick_yard.look()
    assert await heard(quick_yard) == []


async def test_a_connection_without_webhooks_is_repaired_and_never_silent(quick_yard: Yard):
    await quick_yard.look()
    for _ in range(MISSED_IN_A_ROW + 1):
        assert await miss(quick_yard) == ["issue.resolved"]
    assert await heard(quick_yard) == []


async def test_changes_that_sentry_may_not_tell_of_prove_nothing(quick_yard: Yard):
    await quick_yard.look()
    await speak(quick_yard)
    for _ in range(MISSED_IN_A_ROW + 1):
        await quick_yard.change(quick_yard.issue("resolved"), status="unresolved")
        quick_yard.take_webhooks()
        assert await quick_yard.look_twice() == ["issue.unresolved"]
    assert await heard(quick_yard) == []


async def test_what_was_heard_before_the_first_look_counts(quick_yard: Yard):
    await speak(quick_yard)
    await quick_yard.look()
    for _ in range(MISSED_IN_A_ROW):
        await miss(quick_yard)
    assert await heard(quick_yard) == [SILENT]
