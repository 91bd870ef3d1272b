"""`python -m tests.browser.screenshots`: takes the pictures of the link page that are kept in docs/link."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page

from service.sandbox.app import SandboxConfig, create_sandbox
from service.sandbox.server import serve_in_thread
from service.sandbox.world import DEMO_TOKENS
from tests.browser.customer import Customer
from tests.browser.example import DOCS, serve_example
from tests.browser.launch import find_chromium, launch
from tests.browser.png import shrink
from tests.browser.site import Site, register, serve_site

_LARGEST = 60 * 1024


async def open_page(browser: Browser, width: int = 720, scheme: Literal["light", "dark"] = "light") -> Page:
    context = await browser.new_context(viewport={"width": width, "height": 480}, color_scheme=scheme)
    return await context.new_page()


async def take(page: Page, name: str) -> None:
    await page.mouse.move(0, 0)
    taken = await page.screenshot(full_page=True, animations="disabled")
    decoder = await page.context.new_page()
    small = await shrink(taken, decoder)
    await decoder.close()
    assert len(small) <= _LARGEST, f"{name} is too large"
    (DOCS / f"{name}.png").write_bytes(small)


async def take_oauth(site: Site, browser: Browser) -> None:
    customer = Customer(await open_page(browser))
    await customer.page.goto((await site.invite(profile="TRIAGE")).url)
    await customer.see("asks you to link Sentry")
    await take(customer.page, "1-start")
    await customer.button("Start").click()
    await customer.see("How do you want to link Sentry?")
    await take(customer.page, "2-ways")
    await customer.begin_oauth()
    await customer.deny()
    await customer.see("How do you want to link Sentry?")
    await take(customer.page, "2-ways-after-denial")
    await customer.begin_oauth()
    await customer.button("Approve").click()
    await customer.see("Which organization?")
    await take(customer.page, "3-organization")
    await customer.choose_organization()
    await customer.see("Which projects?")
    await customer.page.get_by_role("radio", name="Only these projects").check()
    await customer.page.get_by_role("checkbox").first.check()
    await take(customer.page, "4-projects")
    await customer.button("Go on").click()
    await customer.see("Link this?")
    await take(customer.page, "5-summary")
    await customer.confirm()
    await customer.see("Linked")
    await take(customer.page, "6-linked")


async def take_token(site: Site, browser: Browser) -> None:
    customer = Customer(await open_page(browser))
    await customer.start((await site.invite(origin=None)).url)
    await customer.page.get_by_role("link", name="Paste a token").click()
    await customer.see("Paste a token")
    await take(customer.page, "2-token")


async def take_variants(site: Site, browser: Browser) -> None:
    """Dark, and as small as a phone."""
    customer = Customer(await open_page(browser, scheme="dark"))
    await customer.start((await site.invite()).url)
    await customer.paste(DEMO_TOKENS.limited)
    await customer.choose_organization()
    await customer.choose_projects()
    await customer.see("Link this?")
    await take(customer.page, "5-summary-dark")
    customer = Customer(await open_page(browser, width=320))
    await customer.start((await site.invite()).url)
    await customer.see("How do you want to link Sentry?")
    await take(customer.page, "2-ways-320px")
    invitation = await site.invite()
    site.expire(invitation)
    customer = Customer(await open_page(browser))
    await customer.page.goto(invitation.url)
    await customer.see("The invitation has expired")
    await take(customer.page, "expired")


async def take_iframe(site: Site, browser: Browser) -> None:
    with serve_example(site.url) as product:
        page = await open_page(browser)
        await page.goto(f"{product}/example.html")
        invitation = await site.invite(allowedOrigins=[product])
        await page.get_by_label("Address that createLinkSession gave").fill(invitation.url)
        await page.get_by_role("button", name="Link Sentry on this page").click()
        await page.frame_locator("iframe").get_by_text("Not started yet.").wait_for()
        await page.evaluate("document.querySelector('#url').value = ''")  # a token has no place in a picture
        await take(page, "iframe")


async def main() -> None:
    program = find_chromium()
    if program is None:
        sys.exit("there is no Chromium here")
    sandbox = create_sandbox(SandboxConfig(rate_limit=10_000, concurrency=10_000, endpoint_limits=False))
    with serve_in_thread(sandbox, 8001), tempfile.TemporaryDirectory() as folder:
        async with serve_site(Path(folder), sandbox) as site, launch(program) as browser:
            register(site)
            for part in (take_oauth, take_token, take_variants, take_iframe):
                await part(site, browser)


if __name__ == "__main__":
    asyncio.run(main())
