from service.connections.link_models import LinkSessionStatus
from service.sandbox.world import DEMO_TOKENS
from tests.link.conftest import LinkSite, going_to

OWNER = "ana.kovac@example.com"


async def test_a_pasted_token_is_linked(site: LinkSite):
    record = await site.invite(external_id="cust", name="Contoso", redirect_uri="https://app.example/back?x=1")
    ann = site.person()
    page = await ann.start(record)
    assert 'data-page="ways"' in page.text
    page = await ann.get(f"/link/{record.id}?way=token")
    assert 'data-page="token"' in page.text
    page = await ann.act("token", {"token": DEMO_TOKENS.admin})
    assert 'data-page="organization"' in page.text, page.text
    page = await ann.act("organization", {"organization": "paper-boat"})
    assert 'data-page="projects"' in page.text, page.text
    page = await ann.act("projects", {"choice": "all"})
    assert 'data-page="confirm"' in page.text, page.text
    page = await ann.confirm()
    assert 'data-page="done"' in page.text, page.text
    done = await site.reload(record)
    assert done.status is LinkSessionStatus.COMPLETED
    assert going_to(page) == (
        f"https://app.example/back?x=1&link_session={record.id}&connection={done.connection_id}&status=completed"
    )
