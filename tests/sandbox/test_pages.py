import re

import httpx
import pytest

from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.faults import Fail
from service.sandbox.world import DEMO_PASSWORD
from tests.sandbox.linking import AUTHORIZE, INSTALL, OWNER, REDIRECT, approve, browser_of, hidden, linker_of, sign_in


async def test_somebody_who_knows_nothing_links_with_two_clicks(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        page = await browser.get(AUTHORIZE)
        filled = dict(re.findall(r'id="id_\w+" name="(\w+)" value="([^"]*)"', page.text))
        assert filled == {"username": OWNER, "password": DEMO_PASSWORD}
        inside = await browser.post(AUTHORIZE, data=hidden(page) | filled)
        consent = await browser.get(inside.headers["location"])
        done = await browser.post("/oauth/authorize/", data=hidden(consent) | {"op": "approve"})
    assert done.headers["location"].startswith(f"{REDIRECT}?code=")
    assert done.headers["location"].endswith("&state=st")


async def test_the_sign_in_page_offers_an_owner_and_a_member(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        page = (await browser.get("/auth/login/")).text
    offered = re.findall(r'name="username" value="([^"]*)"', page)
    roles = [app.world.organizations[0].role_of(app.world.find_user(email)) for email in offered]
    assert sorted(str(role) for role in roles) == ["member", "owner"]
    assert "Mara Quill, owner" in page


async def test_every_input_that_is_seen_has_a_label_and_the_page_a_language(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        pages = [await browser.get("/auth/login/")]
        await sign_in(browser)
        pages.append(await browser.get(INSTALL))
    for page in pages:
        seen = re.findall(r'<(?:input type="(?:text|password)"|select) id="(\w+)"', page.text)
        assert seen
        assert set(seen) <= set(re.findall(r'<label for="(\w+)"', page.text))
        assert '<html lang="en">' in page.text


async def test_signing_in_makes_a_new_session_and_signing_out_ends_it(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        await browser.get("/auth/login/")
        before = browser.cookies["sentrysid"]
        assert (await sign_in(browser)).status_code == 302
        assert browser.cookies["sentrysid"] != before
        page = await browser.get("/auth/logout/")
        assert (await browser.post("/auth/logout/", data=hidden(page))).status_code == 302
        assert "password" in (await browser.get(AUTHORIZE)).text


@pytest.mark.parametrize("next_", ["//evil.example/", "https://evil.example/", "/\\evil.example"])
async def test_signing_in_leads_nowhere_else(app: Sandbox, next_: str) -> None:
    async with browser_of(app) as browser:
        page = await browser.get("/auth/login/", params={"next": next_})
        fields = hidden(page) | {"username": OWNER, "password": DEMO_PASSWORD}
        done = await browser.post("/auth/login/", params={"next": next_}, data=fields)
    assert done.headers["location"] == "/"


async def test_forms_from_elsewhere_are_refused(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        await sign_in(browser)
        await browser.get(AUTHORIZE)
        for forged in ({}, {"csrfmiddlewaretoken": "é"}):
            assert (await browser.post("/oauth/authorize/", data={"op": "approve", **forged})).status_code == 403
        assert (await browser.post(INSTALL, data={"organization": "lumen-labs"})).status_code == 403
        assert (await browser.put(AUTHORIZE)).status_code == 405


async def test_consent_that_nobody_asked_for_is_no_consent(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        await sign_in(browser)
        page = await browser.get("/auth/logout/")
        answer = await browser.post("/oauth/authorize/", data=hidden(page) | {"op": "approve"})
    assert "location" not in answer.headers


async def test_what_is_asked_is_escaped(app: Sandbox) -> None:
    app.world.oauth_applications[0].name = "<script>x</script>"
    async with browser_of(app) as browser:
        assert "<script>" not in (await browser.get(AUTHORIZE)).text
        await sign_in(browser)
        assert "<script>" not in (await browser.get(AUTHORIZE)).text


async def test_the_pages_stand_while_the_api_is_limited_or_broken() -> None:
    app = create_sandbox(SandboxConfig(rate_limit=1))
    async with browser_of(app) as browser:
        app.faults.add(Fail())
        assert (await sign_in(browser)).status_code == 302
        assert [(await browser.get(AUTHORIZE)).status_code for _ in range(5)] == [200] * 5
        app.faults.add(Fail(path="^/oauth/authorize/", status=502))
        assert (await browser.get(AUTHORIZE)).status_code == 502


async def test_an_owner_installs_and_is_sent_back_with_the_code(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        first = await browser.get(INSTALL)
        assert first.headers["location"] == "/auth/login/?next=%2Fsentry-apps%2Fgraph-linker%2Fexternal-install%2F"
        login = await browser.get(first.headers["location"])
        fields = hidden(login) | {"username": OWNER, "password": DEMO_PASSWORD}
        inside = await browser.post(first.headers["location"], data=fields)
        page = await browser.get(inside.headers["location"])
        assert 'value="northwind-rail"' in page.text
        done = await browser.post(INSTALL, data=hidden(page) | {"organization": "northwind-rail"})
        again = await browser.post(INSTALL, data=hidden(page) | {"organization": "northwind-rail"})
    made = linker_of(app).installations[0]
    assert dict(httpx.URL(done.headers["location"]).params) == {
        "kept": "1",
        "code": made.code,
        "installationId": made.uuid,
        "orgSlug": "northwind-rail",
    }
    assert (again.status_code, "already has Graph Linker installed" in again.text) == (200, True)
    assert len(linker_of(app).installations) == 1


async def test_who_may_not_install_is_told_whom_to_ask(app: Sandbox) -> None:
    member = next(m.user.email for m in app.world.organizations[0].members if m.role == "member" and m.user)
    async with browser_of(app) as browser:
        await sign_in(browser, member)
        page = await browser.get(INSTALL)
        assert 'value="paper-boat"' not in page.text
        refused = await browser.post(INSTALL, data=hidden(page) | {"organization": "lumen-labs"})
        elsewhere = await browser.post(INSTALL, data=hidden(page) | {"organization": "paper-boat"})
        assert (await browser.get("/sentry-apps/no-such/external-install/")).status_code == 404
    assert (refused.status_code, "Ask an owner" in refused.text) == (403, True)
    assert elsewhere.status_code == 404
    assert linker_of(app).installations == []


async def test_a_deactivated_person_is_signed_out(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        await sign_in(browser)
        assert await approve(browser)
        app.deactivate_user(OWNER)
        assert "password" in (await browser.get(AUTHORIZE)).text
        assert (await browser.get(INSTALL)).status_code == 302
        assert (await sign_in(browser)).status_code == 200
