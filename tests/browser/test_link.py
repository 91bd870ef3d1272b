"""Customers link Sentry in a real browser: a `serve` process, the stand-in Sentry, and the documented example page."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, Route, expect

from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from tests.browser.customer import Customer
from tests.browser.example import serve_example
from tests.browser.site import HOSTILE, Invitation, Site, register, serve_site
from tests.browser.watch import Watch
from tests.canary import find_canary
from tests.conformance import npm
from tests.serving import NO_TLS

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = Path(__file__).parent / "axe"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(sandbox_server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with serve_site(tmp_path_factory.mktemp("site"), sandbox_server) as site:
        yield site


@pytest.fixture
def site(served: Site, sandbox: Sandbox) -> Site:
    register(served)
    return served


@pytest.fixture(scope="module")
def product(served: Site) -> Iterator[str]:
    """The origin of the example page."""
    with serve_example(served.url) as origin:
        yield origin


@pytest.fixture
def customer(page: Page) -> Customer:
    return Customer(page)


def complaints(site: Site, watch: Watch) -> list[str]:
    """What the browser complained of, but for pages of the stand-in Sentry, and refusals that are shown."""
    answers = ("the server responded with a status of 4", site.sandbox.url)
    return [problem for problem in watch.problems if not any(answer in problem for answer in answers)]


# --- the three ways ---


async def test_oauth_links_and_goes_back_to_the_product(
    site: Site, customer: Customer, watch: Watch, product: str
) -> None:
    invitation = await site.invite(redirectUri=f"{product}/example.html?tab=links", profile="TRIAGE")
    await customer.start(invitation.url)
    await customer.begin_oauth()
    await customer.approve()
    await customer.finish()
    await expect(customer.page.get_by_role("status")).to_contain_text("Linked as con_")
    session = await site.session(invitation)
    connection = session["connection"]
    query = parse_qs(urlsplit(customer.page.url).query)
    assert query == {
        "tab": ["links"],
        "link_session": [invitation.id],
        "connection": [connection["id"]],
        "status": ["completed"],
    }
    assert session["status"] == "COMPLETED"
    assert connection["status"] == "ACTIVE"
    assert connection["profile"] == "TRIAGE"
    assert connection["organization"]["slug"] == "lumen-labs"
    assert connection["projects"] is None
    assert complaints(site, watch) == []


async def test_an_app_is_installed_and_limited_to_projects(site: Site, customer: Customer, watch: Watch) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    await customer.begin_install()
    await customer.sign_in()
    await customer.install_in("Northwind Rail")
    slug = site.sandbox.world.organizations[1].projects[0].slug
    await customer.choose_projects(slug)
    await customer.see("Link this?")
    await expect(customer.page.locator("dl")).to_contain_text(slug)
    await customer.confirm()
    await customer.see("Linked")
    connection = (await site.session(invitation))["connection"]
    assert connection["organization"]["slug"] == "northwind-rail"
    assert [project["slug"] for project in connection["projects"]] == [slug]
    assert complaints(site, watch) == []


async def test_a_token_with_too_few_scopes_is_told_before_it_is_linked(
    site: Site, customer: Customer, watch: Watch
) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    alert = customer.page.get_by_role("alert")
    await customer.paste(DEMO_TOKENS.expired)
    await expect(alert).to_contain_text("This token cannot be used")
    await customer.paste(DEMO_TOKENS.organization_token(site.sandbox.url))
    await expect(alert).to_be_visible()
    await expect(alert).to_be_focused()
    await customer.paste(DEMO_TOKENS.limited)
    await customer.choose_organization()
    await customer.choose_projects()
    await customer.see("Link this?")
    await expect(customer.page.get_by_text("These will not work")).to_be_visible()
    await expect(customer.page.locator("#cannot")).to_contain_text("Members")
    for _ in range(3):
        await customer.leave_by(customer.button("Back"))
    await customer.paste(DEMO_TOKENS.admin)
    await customer.choose_organization()
    await customer.choose_projects()
    await expect(customer.page.get_by_text("These will not work")).to_have_count(0)
    await expect(customer.page.get_by_text("The token could do more than that")).to_be_visible()
    await customer.confirm()
    await customer.see("Linked")
    assert complaints(site, watch) == []


async def test_the_token_can_be_looked_at(site: Site, customer: Customer) -> None:
    await customer.start((await site.invite(methods=["TOKEN"])).url)
    field = customer.page.get_by_label("Token", exact=True)
    await expect(field).to_have_attribute("type", "password")
    await customer.button("Show").click()
    await expect(field).to_have_attribute("type", "text")
    await expect(customer.button("Hide")).to_have_attribute("aria-pressed", "true")
    await customer.button("Hide").click()
    await expect(field).to_have_attribute("type", "password")


async def test_a_long_list_of_projects_is_narrowed_by_typing(site: Site, customer: Customer) -> None:
    await customer.start((await site.invite(organization="lumen-labs")).url)
    await customer.paste(DEMO_TOKENS.admin)
    await customer.see("Which projects?")
    boxes = customer.page.get_by_role("checkbox")
    await expect(boxes).to_have_count(0)  # all of them are shared, so there is nothing to choose
    await customer.page.get_by_role("radio", name="Only these projects").check()
    names = await boxes.evaluate_all("boxes => boxes.map(box => box.labels[0].innerText.trim())")
    assert len(names) >= 8
    await customer.page.get_by_label("Find a project").fill(names[-1].upper())
    shown = [name for name in names if names[-1] in name]
    await expect(boxes).to_have_count(len(shown))
    await expect(customer.page.get_by_text(f"{len(shown)} of {len(names)} shown")).to_be_visible()
    await boxes.last.check()
    await customer.page.get_by_label("Find a project").fill("")
    await customer.button("Go on").click()
    await expect(customer.page.locator("dl")).to_contain_text(names[-1])


# --- declined, expired, cancelled ---


async def test_who_denies_in_sentry_may_choose_another_way(site: Site, customer: Customer, watch: Watch) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    await customer.begin_oauth()
    await customer.deny()
    await customer.see("How do you want to link Sentry?")
    await expect(customer.page.get_by_role("alert")).to_contain_text("You did not approve it")
    assert (await site.session(invitation))["problem"] == "denied"
    await customer.paste(DEMO_TOKENS.admin)
    await customer.finish()
    await customer.see("Linked")
    assert (await site.session(invitation))["problem"] is None
    assert complaints(site, watch) == []


async def test_who_cancels_goes_back_and_may_come_again(site: Site, customer: Customer, product: str) -> None:
    invitation = await site.invite(redirectUri=f"{product}/example.html")
    await customer.start(invitation.url)
    await customer.button("Cancel and go back to localhost").click()
    await expect(customer.page.get_by_role("status")).to_have_text("Not linked: denied.")
    assert (await site.session(invitation))["status"] == "STARTED"
    await customer.page.goto(invitation.url)
    await customer.button("Go on").click()
    await customer.see("How do you want to link Sentry?")


async def test_an_expired_session_says_so_at_every_step(site: Site, customer: Customer, watch: Watch) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    await customer.paste(DEMO_TOKENS.admin)
    await customer.see("Which organization?")
    site.expire(invitation)
    await customer.page.get_by_role("radio", name="Lumen Labs").check()
    await customer.button("Go on").click()
    await customer.see("The invitation has expired")
    await customer.page.reload()
    await customer.see("The invitation has expired")
    await customer.page.goto(invitation.url)
    await customer.see("The invitation has expired")
    assert (await site.session(invitation))["connection"] is None
    assert complaints(site, watch) == []


async def test_a_callback_of_an_expired_session_links_nothing(site: Site, customer: Customer) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    await customer.begin_oauth()
    await customer.sign_in()
    site.expire(invitation)
    await customer.button("Approve").click()
    await customer.see("The invitation has expired")
    assert site.sandbox.count("POST", "/oauth/token/") == 0, "the code was not even exchanged"


async def test_a_sentry_behind_the_sign_on_of_another_host_is_reached(
    site: Site, customer: Customer, watch: Watch
) -> None:
    """Browsers hold all redirects that follow a form to the page's policy, and nobody foresees where these lead."""
    elsewhere = f"http://localhost:{urlsplit(site.sandbox.url).port}/auth/login/"

    async def redirect(route: Route) -> None:
        await route.fulfill(status=302, headers={"location": elsewhere})

    await customer.page.route(f"{site.sandbox.url}/oauth/authorize/**", redirect)
    await customer.start((await site.invite()).url)
    await customer.begin_oauth()
    await customer.page.wait_for_url(elsewhere)
    assert complaints(site, watch) == []


# --- popup and iframe, from the documented page ---


@dataclass(frozen=True)
class Product:
    """The example page."""

    page: Page

    async def begin(self, button: str, invitation: Invitation) -> None:
        await self.page.get_by_label("Address that createLinkSession gave").fill(invitation.url)
        await self.page.get_by_role("button", name=button).click()

    async def begin_popup(self, invitation: Invitation) -> Customer:
        async with self.page.expect_popup() as opened:
            await self.begin("Link Sentry in a popup", invitation)
        return Customer(await opened.value)

    async def outcome(self, text: str) -> None:
        await expect(self.page.get_by_role("status")).to_contain_text(text)


@pytest_asyncio.fixture(loop_scope="session")
async def example(page: Page, product: str) -> Product:
    await page.goto(f"{product}/example.html")
    return Product(page)


async def start_here(customer: Customer) -> None:
    await customer.see("asks you to link Sentry")
    await customer.button("Start").click()


async def test_a_popup_links_tells_and_closes(site: Site, example: Product, product: str, watch: Watch) -> None:
    invitation = await site.invite(allowedOrigins=["https://other.example", product])
    customer = await example.begin_popup(invitation)
    await start_here(customer)
    await customer.begin_oauth()
    await customer.approve()
    await customer.choose_organization()
    await customer.choose_projects()
    async with customer.page.expect_event("close"):
        await customer.confirm()
    await example.outcome("Linked as con_")
    assert (await site.session(invitation))["connection"]["id"] in await example.page.inner_text("#outcome")
    assert complaints(site, watch) == []


async def test_a_popup_that_sentry_cuts_off_links_all_the_same(
    site: Site, example: Product, product: str, context: BrowserContext
) -> None:
    async def cut_off(route: Route) -> None:
        answer = await route.fetch(max_redirects=0)
        headers = {**answer.headers, "cross-origin-opener-policy": "same-origin"}
        await route.fulfill(response=answer, headers=headers)

    await context.route(f"{site.sandbox.url}/**", cut_off)
    invitation = await site.invite(allowedOrigins=[product])
    customer = await example.begin_popup(invitation)
    await start_here(customer)
    await customer.begin_oauth()
    await customer.sign_in()
    await expect(customer.button("Approve")).to_be_visible()
    assert await customer.page.evaluate("window.opener") is None
    await customer.button("Approve").click()
    await customer.finish()
    await example.outcome("Linked as con_")


async def test_a_closed_popup_rejects(site: Site, example: Product, product: str) -> None:
    customer = await example.begin_popup(await site.invite(allowedOrigins=[product]))
    await start_here(customer)
    await customer.see("How do you want to link Sentry?")
    await customer.page.close()
    await example.outcome("Not linked: closed.")


async def test_a_popup_whose_customer_cancels_rejects(site: Site, example: Product, product: str) -> None:
    customer = await example.begin_popup(await site.invite(allowedOrigins=[product]))
    await start_here(customer)
    await customer.button("Cancel").click(no_wait_after=True)
    await example.outcome("Not linked: denied.")


async def test_a_popup_for_an_origin_that_is_not_allowed_says_so(site: Site, example: Product) -> None:
    customer = await example.begin_popup(await site.invite(allowedOrigins=["https://other.example"]))
    await customer.see("This page was opened from a site that may not")
    await expect(customer.button("Start")).to_have_count(0)


async def test_an_iframe_follows_the_steps_in_a_window_of_ours(
    site: Site, example: Product, product: str, context: BrowserContext, watch: Watch
) -> None:
    invitation = await site.invite(allowedOrigins=[product])
    await example.begin("Link Sentry on this page", invitation)
    frame = example.page.frame_locator("iframe[title='Link a Sentry account']")
    await expect(frame.get_by_text("Not started yet.")).to_be_visible()
    async with context.expect_page() as opened:
        await frame.get_by_role("link", name="Open the link page").click()
    customer = Customer(await opened.value)
    assert f"__Host-{invitation.id}" not in [cookie["name"] for cookie in await context.cookies()]
    await start_here(customer)
    await expect(frame.get_by_text("Go on in the window that was opened.")).to_be_visible()
    await customer.begin_oauth()
    await expect(frame.get_by_text("You are at Sentry")).to_be_visible()
    await expect(frame.get_by_role("button", name="Open the window again")).to_be_visible()
    await customer.approve()
    await customer.choose_organization()
    await customer.choose_projects()
    async with customer.page.expect_event("close"):
        await customer.confirm()
    await example.outcome("Linked as con_")
    await expect(example.page.locator("iframe")).to_have_count(0)
    assert complaints(site, watch) == []


async def test_nobody_else_may_embed_the_page(site: Site, example: Product, product: str) -> None:
    """Clickjacking: neither other origins, nor allowed ones the pages that have buttons."""
    foreign = await site.invite(allowedOrigins=["https://other.example"])
    own = await site.invite(allowedOrigins=[product])
    for url in (f"{foreign.url}?mode=iframe", own.url, f"{own.url}?mode=window"):
        await example.page.evaluate(
            "src => document.querySelector('#place').replaceChildren("
            "Object.assign(document.createElement('iframe'), {src}))",
            url,
        )
        frame = example.page.frame_locator("#place iframe")
        await expect(frame.locator("body.neterror")).to_have_count(1)  # Chromium's own page
        await expect(frame.locator("main")).to_have_count(0)


# --- back, twice, two of them ---


async def test_back_works_at_every_step(site: Site, customer: Customer, watch: Watch) -> None:
    invitation = await site.invite()
    page = customer.page
    await customer.start(invitation.url)
    await customer.begin_oauth()
    await page.get_by_role("button", name="Continue", exact=True).wait_for()
    await page.go_back()
    await customer.begin_oauth()
    await customer.approve()
    await customer.see("Which organization?")
    await page.go_back()
    await page.go_back()
    await page.goto(f"{site.url}/link/{invitation.id}")
    await customer.choose_organization("Northwind Rail")
    await customer.see("Which projects?")
    await page.go_back()
    await customer.see("Which projects?")  # the session has one present step, at one address
    await customer.button("Back").click()
    await customer.choose_organization()
    await customer.choose_projects()
    await customer.see("Link this?")
    await page.go_back()
    await customer.confirm()
    await customer.see("Linked")
    await page.go_back()
    await customer.see("Linked")
    session = await site.session(invitation)
    assert session["connection"]["organization"]["slug"] == "lumen-labs"
    assert complaints(site, watch) == []


@pytest.mark.parametrize("script", [True, False])
async def test_a_double_click_on_the_last_button_links_once(site: Site, browser: Browser, script: bool) -> None:
    context = await browser.new_context(java_script_enabled=script)
    sent = []
    context.on("request", lambda request: sent.append(request.url) if request.url.endswith("/confirm") else None)
    customer = Customer(await context.new_page())
    invitation = await site.invite()
    await customer.page.goto(invitation.url)
    await customer.button("Start").click()
    await customer.page.get_by_role("link", name="Paste a token").click()
    await customer.page.get_by_label("Token", exact=True).fill(DEMO_TOKENS.admin)
    await customer.button("Check the token").click()
    await customer.page.get_by_role("radio", name="Lumen Labs").check()
    await customer.leave_by(customer.button("Go on"))
    await customer.button("Go on").click()
    await customer.page.get_by_role("button", name="Link", exact=True).dblclick()
    await expect(customer.page.get_by_role("heading", name="Linked")).to_be_visible()
    connection = (await site.session(invitation))["connection"]
    assert connection["status"] == "ACTIVE"
    if script:
        assert len(sent) == 1
    everything = await site.query("{ connections(first: 100) { nodes { id externalId } } }")
    assert [one["id"] for one in everything["connections"]["nodes"]].count(connection["id"]) == 1
    await context.close()


async def test_a_button_that_was_pressed_is_busy_until_the_page_is_shown_again(site: Site, customer: Customer) -> None:
    sent: list[str] = []

    async def stay(route: Route) -> None:
        sent.append(route.request.url)
        await route.fulfill(status=204)  # the browser stays where it is

    await customer.page.route("**/oauth", stay)
    await customer.start((await site.invite()).url)
    await customer.begin_oauth()
    busy, button = customer.button("One moment…"), customer.button("Sign in at")
    await expect(busy).to_have_attribute("aria-disabled", "true")
    await busy.click(force=True)
    # As when Back finds the page in the browser's memory.
    await customer.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    await expect(button).not_to_have_attribute("aria-disabled", "true")
    assert len(sent) == 1
    await button.click()
    await expect(busy).to_be_visible()
    assert len(sent) == 2


async def test_two_tabs_of_one_browser_go_on_with_the_same(
    site: Site, customer: Customer, context: BrowserContext
) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    other = Customer(await context.new_page())
    await other.page.goto(invitation.url)
    await other.see("asks you to link Sentry")
    await other.leave_by(other.button("Go on"))
    await other.paste(DEMO_TOKENS.admin)
    await other.choose_organization()
    await other.choose_projects()
    await other.see("Link this?")
    await customer.page.reload()
    await customer.confirm()
    await customer.see("Linked")
    await other.confirm()
    await expect(other.page.get_by_role("heading", level=1)).to_have_text("Linked")


async def test_what_was_chosen_in_another_tab_is_not_confirmed_unseen(
    site: Site, customer: Customer, context: BrowserContext
) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    await customer.paste(DEMO_TOKENS.admin)
    await customer.choose_organization()
    await customer.choose_projects()
    await customer.see("Link this?")
    other = Customer(await context.new_page())
    await other.page.goto(f"{site.url}/link/{invitation.id}")
    await other.leave_by(other.button("Back"))
    await other.leave_by(other.button("Back"))
    await other.choose_organization("Paper Boat")
    await other.choose_projects()
    await other.see("Link this?")
    await customer.confirm()
    await expect(customer.page.get_by_role("alert")).to_contain_text("Something was changed in another window")
    assert (await site.session(invitation))["connection"] is None
    await expect(customer.page.locator("dl")).to_contain_text("Paper Boat")


async def test_another_browser_takes_over_by_starting_and_not_otherwise(
    site: Site, customer: Customer, browser: Browser
) -> None:
    invitation = await site.invite()
    await customer.start(invitation.url)
    await customer.paste(DEMO_TOKENS.admin)
    await customer.see("Which organization?")
    stranger = await browser.new_context()
    other = Customer(await stranger.new_page())
    await other.page.goto(f"{site.url}/link/{invitation.id}")
    await other.see("This page belongs to another browser")
    await other.page.goto(invitation.url)
    await expect(other.page.get_by_text("Somebody has started this already in another browser")).to_be_visible()
    await other.button("Start").click()
    await other.see("How do you want to link Sentry?")  # what the first had received is not handed over
    await customer.page.get_by_role("radio", name="Lumen Labs").check()
    await customer.button("Go on").click()
    await customer.see("This page belongs to another browser")
    await stranger.close()


async def test_a_callback_in_another_browser_links_nothing(site: Site, customer: Customer, browser: Browser) -> None:
    """Login CSRF: the address that Sentry sends somebody to, opened by somebody else."""
    invitation = await site.invite()
    await customer.start(invitation.url)
    await customer.begin_oauth()
    await customer.sign_in()
    kept: list[str] = []

    async def keep(route: Route) -> None:
        answer = await route.fetch(max_redirects=0)
        kept.append(answer.headers["location"])
        await route.fulfill(body="intercepted")

    await customer.page.route("**/oauth/authorize/", keep)
    await customer.button("Approve").click()
    await expect(customer.page.get_by_text("intercepted")).to_be_visible()
    victim = await browser.new_context()
    other = Customer(await victim.new_page())
    await other.page.goto(kept[0])
    await other.see("This page belongs to another browser")
    assert site.sandbox.count("POST", "/oauth/token/") == 0
    await victim.close()


# --- without a mouse, without a script, on a small screen, in the dark ---


async def press_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus is called so."""
    seen = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        focused: str = await page.evaluate(
            "(one => one.labels?.[0]?.innerText.trim() || one.innerText?.trim() || one.tagName)(document.activeElement)"
        )
        seen.append(focused)
        if focused.startswith(name):
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"{name} does not show that it has the focus"
            return
    raise AssertionError(f"no {name} among {seen}")


async def press(page: Page, name: str, key: str = "Enter") -> None:
    await press_to(page, name)
    await page.keyboard.press(key)


async def test_the_whole_way_by_keyboard(site: Site, customer: Customer, watch: Watch) -> None:
    invitation = await site.invite()
    page = customer.page
    await page.goto(invitation.url)
    await press(page, "Start", "Space")
    await customer.see("How do you want to link Sentry?")
    await press(page, "Sign in at")
    await page.get_by_role("button", name="Continue", exact=True).wait_for()
    await press(page, "Continue")
    await customer.button("Approve").wait_for()
    await press(page, "Approve")
    await customer.see("Which organization?")
    await press_to(page, "Lumen Labs")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name="Northwind Rail")).to_be_checked()
    await press(page, "Go on")
    await customer.see("Which projects?")
    await press_to(page, "All projects")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await expect(page.get_by_role("checkbox").first).to_be_checked()
    await press(page, "Go on")
    await customer.see("Link this?")
    await press(page, "Link")
    await customer.see("Linked")
    assert len((await site.session(invitation))["connection"]["projects"]) == 1
    assert complaints(site, watch) == []


async def test_it_works_with_scripts_off(site: Site, browser: Browser, product: str) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()

    def button(name: str) -> Locator:
        return page.get_by_role("button", name=name, exact=True)

    invitation = await site.invite(redirectUri=f"{product}/example.html")
    await page.goto(invitation.url)
    await button("Start").click()
    await page.get_by_role("button", name="Sign in at").click()
    await button("Continue").click()
    await button("Approve").click()
    await page.get_by_role("radio", name="Lumen Labs").check()
    async with page.expect_navigation():
        await button("Go on").click()
    await button("Go on").click()
    await button("Link").click()
    await page.wait_for_url(f"{product}/**")
    assert "status=completed" in page.url
    assert (await site.session(invitation))["status"] == "COMPLETED"
    await context.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """https://github.com/dequelabs/axe-core: labels, names, contrast, landmarks, headings."""
    npm.install(AXE)
    return (AXE / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible_and_fits_a_small_screen(
    site: Site, browser: Browser, axe: str, product: str, scheme: Literal["light", "dark"]
) -> None:
    """At 320 pixels, with names that are long."""
    context = await browser.new_context(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    customer = Customer(await context.new_page(), axe)
    organization = site.sandbox.world.organizations[0]
    organization.name, organization.projects[0].slug = "Donaudampfschifffahrtsgesellschaft" * 3, "x" * 50
    site.sandbox.world.changed()
    invitation = await site.invite(name="W" * 80, redirectUri=f"{product}/{'w' * 99}")
    await customer.start(invitation.url)
    background = await customer.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    await customer.begin_oauth()
    await customer.deny()
    await customer.see("How do you want to link Sentry?")
    await customer.paste(DEMO_TOKENS.expired)
    await expect(customer.page.get_by_role("alert")).to_be_visible()
    await customer.paste(DEMO_TOKENS.limited)
    await customer.choose_organization("Donau")
    await customer.choose_projects("x" * 50)
    await customer.see("Link this?")
    await customer.page.goto(f"{invitation.url}?mode=iframe")
    await customer.see("Link Sentry")
    await customer.page.goto(f"{site.url}/link/start/nothing")
    await customer.see("There is no such invitation")
    await context.close()


# --- what others may do ---


async def test_names_are_text_whatever_they_hold(site: Site, customer: Customer, watch: Watch) -> None:
    organization = site.sandbox.world.organizations[0]
    organization.name = HOSTILE
    organization.projects[0].slug = organization.projects[0].name = HOSTILE
    site.sandbox.world.changed()
    invitation = await site.invite(key=site.hostile_key, name=HOSTILE, customerId=HOSTILE)
    page = customer.page
    await page.goto(invitation.url)
    await expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
    await expect(page.get_by_text(f"It is for {HOSTILE}.")).to_be_visible()
    await customer.leave_by(customer.button("Start"))
    await customer.paste(DEMO_TOKENS.admin)
    await expect(page.locator("fieldset")).to_contain_text(HOSTILE)
    await page.get_by_role("radio").first.check()
    await customer.leave_by(customer.button("Go on"))
    await page.get_by_role("radio", name="Only these projects").check()
    await page.get_by_role("checkbox").first.check()
    await customer.button("Go on").click()
    await expect(page.locator("#summary-organization")).to_contain_text(HOSTILE)
    await customer.page.get_by_role("button", name="Link", exact=True).click()
    await customer.see("Linked")
    await expect(page.get_by_text(f"{HOSTILE} can now use {HOSTILE}.")).to_be_visible()
    assert await page.title() == "Linked"
    assert await page.locator("main img, main script").count() == 0
    assert complaints(site, watch) == [], "not one violation of the policy"


async def test_the_policy_is_in_force(site: Site, customer: Customer, watch: Watch) -> None:
    """So that "no violation" above means something."""
    await customer.page.goto((await site.invite()).url)
    async with customer.page.expect_console_message():
        await customer.page.evaluate(
            "document.body.append(Object.assign(document.createElement('img'), {src: '//x.y/'}))"
        )
    assert any("Content Security Policy" in problem for problem in watch.problems)


async def test_mail_scanners_and_prefetching_browsers_use_nothing_up(
    site: Site, customer: Customer, browser: Browser
) -> None:
    invitation = await site.invite()
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as scanner:
        for method in ("GET", "HEAD", "GET"):
            for headers in ({}, {"sec-purpose": "prefetch"}, {"user-agent": "MailScanner"}):
                answer = await scanner.request(method, invitation.url, headers=headers)
                assert answer.status_code in {200, 405}
                assert "set-cookie" not in answer.headers
    # One that runs scripts, and follows every link of the page, but sends no form.
    context = await browser.new_context()
    robot = await context.new_page()
    await robot.goto(invitation.url)
    for url in await robot.eval_on_selector_all("a, link, script", "all => all.map(one => one.href || one.src)"):
        await robot.request.get(url)
    await context.close()
    assert (await site.session(invitation))["status"] == "CREATED"
    await customer.start(invitation.url)
    await customer.see("How do you want to link Sentry?")


@dataclass(frozen=True)
class Observed(Customer):
    """Keeps the markup of every page that is seen."""

    pages: list[str] = field(default_factory=list)

    async def see(self, title: str) -> None:
        await super().see(title)
        self.pages.append(await self.page.content())

    async def link(self, way: str) -> None:
        """By one of the ways, from its choice to the end; what does not work is tried before."""
        if way == "oauth":
            await self.begin_oauth()
            await self.approve()
        elif way == "install":
            await self.begin_install()
            await self.install_in("Northwind Rail")
        else:
            await self.paste(DEMO_TOKENS.expired)
            await self.paste(DEMO_TOKENS.admin)
        if way != "install":
            await self.choose_organization()
        await self.choose_projects()
        await self.confirm()


async def test_no_secret_is_in_any_address_page_history_referrer_or_log(
    site: Site, browser: Browser, product: str
) -> None:
    context = await browser.new_context()
    watch = Watch(context)
    page = await context.new_page()
    customer = Observed(page)
    passing: list[str] = []  # what has to be in addresses for a moment
    for way in ("oauth", "install", "token"):
        invitation = await site.invite(redirectUri=f"{product}/example.html")
        passing.append(invitation.token)
        await customer.start(invitation.url)
        await customer.link(way)
        await page.wait_for_url(f"{product}/**")
    assert len(customer.pages) >= 3 * 4
    devtools = await context.new_cdp_session(page)
    history = (await devtools.send("Page.getNavigationHistory"))["entries"]
    assert len(history) > 10
    urls = [*watch.urls, *(entry[name] for entry in history for name in ("url", "userTypedURL"))]
    referrers = [await request.header_value("referer") or "" for request in watch.requests]
    assert [one for one in referrers if one.startswith(site.url)] == [], "our pages name themselves to nobody"
    stored = json.dumps(await context.storage_state())
    written = "\n".join([*customer.pages, *urls, *referrers, *watch.problems, stored, await page.content()]).encode()
    logs = site.read_logs()
    secrets = site.read_secrets()
    assert len(secrets) > 8
    for secret in secrets:
        assert find_canary(secret, written + logs) == []
    queries = [parse_qs(urlsplit(url).query) for url in watch.urls]
    passing += [query[name][0] for query in queries for name in ("state", "code") if name in query]
    assert len(set(passing)) == 3 + 3  # an invitation each; OAuth's state and code, and the install's code
    for secret in passing:
        assert find_canary(secret, logs) == []
    await context.close()
