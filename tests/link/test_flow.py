"""The steps, from a pasted token to a linked account, on both databases."""

import asyncio
from dataclasses import replace

import pytest
from sqlmodel import col, select, update

from service.connections.link_models import LinkMethod, LinkSessionRecord, LinkSessionStatus
from service.connections.linking import LinkRequest
from service.connections.models import ConnectionRecord, ConnectionStatus
from service.connections.vault import bind_pending
from service.journal import Journal
from service.sandbox.faults import Delay
from service.sandbox.world import DEMO_TOKENS
from service.sentry.profiles import Profile
from tests.link.conftest import LinkSite, Person, going_to, read_form


async def connections(site: LinkSite) -> list[ConnectionRecord]:
    return await site.runtime.services.connections.every(site.caller)


async def audited(site: LinkSite) -> list[tuple[str, str, str]]:
    entries = await Journal(site.database).page_audit("ten_1", limit=99)
    return [(entry.action, entry.actor, entry.outcome.value) for entry in entries][::-1]


async def at_summary(site: LinkSite, record: LinkSessionRecord, token: str = DEMO_TOKENS.admin) -> Person:
    """Somebody who has come as far as the summary."""
    ann = site.person()
    await ann.start(record)
    page = await ann.act("token", {"token": token})
    if 'data-page="organization"' in page.text:
        page = await ann.act("organization", {"organization": "paper-boat"})
    if 'data-page="projects"' in page.text:
        page = await ann.act("projects", {"choice": "all"})
    assert 'data-page="confirm"' in page.text, page.text
    return ann


async def test_a_pasted_token_is_linked(site: LinkSite):
    record = await site.invite(
        customer_id="c-1", name="Contoso", redirect_uri="https://app.example/back?x=1", profile=Profile.TRIAGE
    )
    ann = site.person()
    page = await ann.start(record)
    assert 'data-page="ways"' in page.text
    page = await ann.get(f"/link/{record.id}?way=token")
    assert 'data-page="token"' in page.text
    page = await ann.act("token", {"token": f"  Bearer {DEMO_TOKENS.admin}\n"})
    assert 'data-page="organization"' in page.text, page.text
    assert page.text.count('name="organization"') == 3
    page = await ann.act("organization", {"organization": "paper-boat"})
    assert 'data-page="projects"' in page.text, page.text
    (one, two) = site.sandbox.world.find_organization("paper-boat", "23.7").projects  # type: ignore[union-attr]
    page = await ann.act("projects", {"choice": "some", "project": [str(two.id)]})
    assert 'data-page="confirm"' in page.text, page.text
    assert "Paper Boat" in page.text
    assert two.slug in page.text
    assert one.slug not in page.text
    assert await connections(site) == []
    page = await ann.confirm()
    assert 'data-page="done"' in page.text, page.text
    done = await site.reload(record)
    assert (done.status, done.pending, done.problem) == (LinkSessionStatus.COMPLETED, None, None)
    (connection,) = await connections(site)
    assert done.connection_id == connection.id
    assert (connection.organization_slug, connection.customer_id) == ("paper-boat", "c-1")
    assert (connection.name, connection.profile) == ("Contoso", Profile.TRIAGE)
    assert [each["slug"] for each in connection.projects or []] == [two.slug]
    assert connection.external_id == connection.id
    assert going_to(page) == (
        f"https://app.example/back?x=1&link_session={record.id}&connection={connection.id}&status=completed"
    )
    again = await ann.show()
    assert again.status_code == 303
    assert again.headers["location"] == going_to(page)
    visitor = f"link session {record.id}"
    assert await audited(site) == [
        ("link_session.create", "test", "succeeded"),
        ("link_session.start", visitor, "succeeded"),
        ("connection.link", visitor, "succeeded"),
        ("link_session.complete", visitor, "succeeded"),
    ]


async def test_presets_are_not_asked_for(site: LinkSite):
    project = site.sandbox.world.find_organization("paper-boat", "23.7").projects[0]  # type: ignore[union-attr]
    record = await site.invite(organization="paper-boat", projects=[project.slug])
    ann = site.person()
    await ann.start(record)
    page = await ann.act("token", {"token": DEMO_TOKENS.admin})
    assert 'data-page="confirm"' in page.text
    await ann.confirm()
    (connection,) = await connections(site)
    assert (connection.organization_slug, connection.projects) == (
        "paper-boat",
        [{"id": str(project.id), "slug": project.slug}],
    )


async def test_an_organization_that_is_not_listed_is_asked_for_by_its_slug(lite: LinkSite):
    record = await lite.invite()
    ann = lite.person()
    await ann.start(record)
    page = await ann.act("token", {"token": DEMO_TOKENS.internal})
    assert 'id="organization"' in page.text, page.text
    page = await ann.act("organization", {"organization": "paper-boat"})
    assert page.status_code == 422
    assert 'data-problem="invalid_input"' in page.text
    page = await ann.act("organization", {"organization": "lumen-labs"})
    assert 'data-page="projects"' in page.text
    await ann.act("projects", {"choice": "all"})
    await ann.confirm()
    (connection,) = await connections(lite)
    assert connection.organization_slug == "lumen-labs"


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("sntryu_" + "9f" * 32, "token_refused"),
        (DEMO_TOKENS.expired, "token_refused"),
        ("9f" * 16, "token_refused"),
        ("", "token_refused"),
        ("SECRET pasted by mistake", "token_refused"),
        ("organization token", "missing_scopes"),
    ],
)
async def test_a_bad_token_is_explained_and_never_repeated(lite: LinkSite, token: str, problem: str):
    if token == "organization token":
        token = DEMO_TOKENS.organization_token(lite.sandbox.url)
    record = await lite.invite()
    ann = lite.person()
    await ann.start(record)
    page = await ann.act("token", {"token": token})
    assert page.status_code == 422
    assert 'data-page="token"' in page.text
    assert f'role="alert" tabindex="-1" autofocus data-focus data-problem="{problem}"' in page.text
    assert not token or token not in page.text
    stored = await lite.reload(record)
    assert (stored.pending, stored.problem) == (None, problem)
    assert (await audited(lite))[-1] == ("link_session.fail", f"link session {record.id}", "failed")
    entries = await Journal(lite.database).page_audit("ten_1", limit=9)
    assert not token or token not in repr(entries)


async def test_some_missing_scopes_are_said_and_can_be_accepted(lite: LinkSite):
    ann = await at_summary(lite, await lite.invite(), DEMO_TOKENS.limited)
    page = await ann.show()
    assert 'id="cannot"' in page.text
    for line in ("Members: read", "Teams: read", "Issues and events: read"):
        assert line in page.text
    await ann.confirm()
    assert len(await connections(lite)) == 1


async def test_a_token_goes_to_the_address_that_was_named(lite: LinkSite):
    record = await lite.invite(origin=None)
    ann = lite.person()
    await ann.start(record)
    page = await ann.act("token", {"token": DEMO_TOKENS.admin, "origin": "other", "address": lite.sandbox.url + "/"})
    assert 'data-page="organization"' in page.text
    await ann.act("restart")
    for address, problem in (
        ("http://10.0.0.7", "address_refused"),
        ("nonsense", "invalid_input"),
        ("", "invalid_input"),
    ):
        page = await ann.act("token", {"token": DEMO_TOKENS.admin, "origin": "other", "address": address})
        assert f'data-problem="{problem}"' in page.text
        assert f'value="{address}"' in page.text  # what was typed is kept; the token is not
        assert DEMO_TOKENS.admin not in page.text


async def test_back_leads_through_the_choices_and_out(lite: LinkSite):
    record = await lite.invite()
    ann = await at_summary(lite, record)
    for step in ("projects", "organization", "ways"):
        page = await ann.act("back")
        assert f'data-page="{step}"' in page.text
    assert (await lite.reload(record)).pending is None
    ann = await at_summary(lite, record)
    assert 'data-page="ways"' in (await ann.act("restart")).text


async def test_no_projects_is_no_choice(lite: LinkSite):
    ann = await at_summary(lite, await lite.invite())
    await ann.act("back")
    for form in ({"choice": "some"}, {"choice": "none"}, {}):
        page = await ann.act("projects", form)
        assert page.status_code == 422
        assert 'data-page="projects"' in page.text
    page = await ann.act("projects", {"choice": "some", "project": ["999999"]})
    assert 'data-page="confirm"' in page.text
    page = await ann.confirm()
    assert 'data-problem="invalid_input"' in page.text  # Sentry has no such project
    assert await connections(lite) == []


async def test_confirming_many_times_at_once_links_once(site: LinkSite):
    record = await site.invite()  # without an externalId, which would make the links one by itself
    ann = await at_summary(site, record)
    form = read_form((await ann.show()).text, "confirm")
    answers = await asyncio.gather(*(ann.post(f"/link/{record.id}/confirm", form) for _ in range(5)))
    (connection,) = await connections(site)
    assert (await site.reload(record)).connection_id == connection.id
    for answer in answers:
        assert 'data-page="done"' in (await ann.follow(answer)).text
    late = await ann.follow(await ann.post(f"/link/{record.id}/confirm", form))
    assert 'data-page="done"' in late.text
    completed = [action for action, _, _ in await audited(site) if action == "link_session.complete"]
    assert len(completed) == 1


async def test_the_link_and_the_end_of_its_session_are_one_transaction(site: LinkSite):
    """A crash between the two cannot strand either: neither is stored without the other."""
    record = await site.invite()
    ann = await at_summary(site, record)
    form = read_form((await ann.show()).text, "confirm")

    async def cancel(session):
        statement = update(LinkSessionRecord).where(col(LinkSessionRecord.id) == record.id)
        await session.exec(statement.values(status=LinkSessionStatus.CANCELED))

    # The session ends after the form was taken, and before the link is stored: Sentry's answer is waited for meanwhile.
    site.sandbox.faults.add(Delay(commits=True, seconds=0.4, path="/organizations/paper-boat/"))
    sent = asyncio.create_task(ann.post(f"/link/{record.id}/confirm", form))
    await asyncio.sleep(0.2)
    await site.database.run_transaction(cancel)
    page = await ann.follow(await sent)
    assert page.status_code == 410
    assert 'data-problem="canceled"' in page.text
    assert await connections(site) == []


@pytest.mark.parametrize("columns", [{"pending": b"x" * 60}, {"pending_key_id": "key_gone"}, {"pending": b"newer"}])
async def test_what_cannot_be_read_any_more_is_asked_for_again(lite: LinkSite, columns: dict):
    """A key that was lost, or a row that another version of this service wrote while both were running."""
    record = await lite.invite()
    ann = await at_summary(lite, record)
    if columns.get("pending") == b"newer":
        sealed = lite.vault.seal(b'{"method": "telepathy"}', binding=bind_pending(record))
        columns = {"pending": sealed.data, "pending_key_id": sealed.key_id}

    async def spoil(session):
        statement = update(LinkSessionRecord).where(col(LinkSessionRecord.id) == record.id)
        await session.exec(statement.values(**columns))

    await lite.database.run_transaction(spoil)
    page = await ann.show()
    assert (page.status_code, 'data-page="ways"' in page.text) == (200, True)
    assert 'data-problem="changed"' in (await ann.act("projects", {"choice": "all"})).text
    assert 'data-page="organization"' in (await ann.act("token", {"token": DEMO_TOKENS.admin})).text


async def test_what_was_shown_is_what_is_linked(lite: LinkSite):
    """Another tab chose another organization after this tab's summary was read."""
    record = await lite.invite()
    ann = await at_summary(lite, record)
    seen = read_form((await ann.show()).text, "confirm")
    for _ in range(2):
        await ann.act("back")
    await ann.act("organization", {"organization": "northwind-rail"})
    await ann.act("projects", {"choice": "all"})
    page = await ann.act("confirm", seen)
    assert page.status_code == 422
    assert 'data-problem="changed"' in page.text
    assert "Northwind Rail" in page.text
    assert await connections(lite) == []
    assert (await lite.reload(record)).problem is None


async def link(site: LinkSite, external_id: str, **options) -> ConnectionRecord:
    request = LinkRequest(
        DEMO_TOKENS.admin, origin=site.sandbox.url, organization="paper-boat", external_id=external_id, **options
    )
    return await site.runtime.services.linker.link(site.caller, request)


async def test_linking_again_keeps_the_connection_and_asks_only_what_is_open(site: LinkSite):
    project = site.sandbox.world.find_organization("paper-boat", "23.7").projects[0]  # type: ignore[union-attr]
    before = await link(site, "cust", projects=[project.slug])
    record = await site.invite(external_id="cust")
    ann = site.person()
    page = await ann.get(f"/link/start/{site.sessions.token(record.id)}")
    assert "Paper Boat" in page.text
    await ann.start(record)
    page = await ann.act("token", {"token": DEMO_TOKENS.admin})
    assert 'data-page="projects"' in page.text  # of three organizations, one is meant
    assert f'name="project" value="{project.id}" checked' in page.text
    await ann.act("projects", {"choice": "all"})
    await ann.confirm()
    (after,) = await connections(site)
    assert after.id == before.id
    assert after.projects is None  # all were chosen


async def test_another_organization_is_refused_at_once(lite: LinkSite):
    await link(lite, "cust")
    record = await lite.invite(external_id="cust")
    ann = lite.person()
    await ann.start(record)
    page = await ann.act("token", {"token": DEMO_TOKENS.member})
    assert 'data-problem="other_organization"' in page.text
    assert (await lite.reload(record)).pending is None


async def test_a_narrowed_callers_session_makes_no_new_connection(lite: LinkSite):
    await link(lite, "cust")
    record = await lite.invite(replace(lite.caller, external_ids=frozenset({"cust"})), external_id="cust")
    ann = await at_summary(lite, record)

    async def remove(session):
        found = (await session.exec(select(ConnectionRecord))).first()
        await session.delete(found)

    await lite.database.run_transaction(remove)
    page = await ann.confirm()
    assert 'data-problem="connection_gone"' in page.text
    assert await connections(lite) == []


async def test_an_unlinked_connection_is_revived(lite: LinkSite):
    before = await link(lite, "cust")
    await lite.runtime.services.connections.unlink(lite.caller, before.id)
    ann = await at_summary(lite, await lite.invite(external_id="cust"))
    await ann.confirm()
    (after,) = await connections(lite)
    assert (after.id, after.status) == (before.id, ConnectionStatus.ACTIVE)


async def test_leaving_links_nothing_and_can_be_taken_back(lite: LinkSite):
    record = await lite.invite(redirect_uri="https://app.example/back")
    ann = await at_summary(lite, record)
    page = await ann.act("leave")
    assert 'data-status="denied"' in page.text
    assert going_to(page) == f"https://app.example/back?link_session={record.id}&status=denied"
    stored = await lite.reload(record)
    assert (stored.status, stored.problem, stored.pending) == (LinkSessionStatus.STARTED, "denied", None)
    assert 'data-page="ways"' in (await ann.show()).text


async def test_a_way_that_is_not_offered_is_refused(lite: LinkSite):
    record = await lite.invite(methods=[LinkMethod.OAUTH])
    ann = lite.person()
    page = await ann.start(record)
    assert 'id="paste"' not in page.text
    page = await ann.act("token", {"token": DEMO_TOKENS.admin})
    assert page.status_code == 422
    assert (await lite.reload(record)).pending is None
    other = await lite.invite(methods=[LinkMethod.TOKEN])
    ann = lite.person()
    assert 'data-page="token"' in (await ann.start(other)).text  # the only way is not asked for
    for action in ("oauth", "install", "installed", "held", "check", "organization", "projects", "confirm"):
        page = await ann.act(action, {"client": "x", "choice": "all"})
        assert page.status_code == 422, action
    assert lite.sandbox.count("POST") == 0
