"""A person with a browser, who finds the way through the pages of any Sentry: the stand-in's and a real one's."""

import asyncio
from dataclasses import dataclass

from playwright.async_api import Response, expect

from tests.browser.customer import Customer
from tests.contract.linking import Bench


@dataclass(frozen=True, kw_only=True)
class Person(Customer):
    """The customer's admin on our page, and the bench's person at Sentry."""

    bench: Bench

    async def bring_session(self) -> None:
        """Be signed in at Sentry already, by a session that the bench has: servers count how often one signs in."""
        browser = await asyncio.to_thread(self.bench.browser)
        jar, url = browser.http.cookies.jar, self.bench.server.url
        await self.page.context.add_cookies(
            [{"name": each.name, "value": each.value or "", "url": url} for each in jar]
        )

    async def sign_in(self) -> None:
        """Sign in by the page that asks for it; waits where the account was tried too often (five times a minute)."""
        account = self.page.get_by_label("Account")
        await expect(account).to_be_visible()
        url = self.page.url
        for _ in range(8):
            await account.fill(self.bench.login)
            await self.page.get_by_label("Password").first.fill(self.bench.password)
            async with self.page.expect_response(_is_form) as answered:
                await self.page.get_by_role("button", name="Continue", exact=True).click()
            if (await answered.value).status == 302:
                return
            await asyncio.sleep(10)
            await self.page.goto(url)
        raise AssertionError("Sentry signs nobody in")

    async def approve(self) -> None:
        """On the consent page."""
        await self.button("Approve").click()

    async def deny(self) -> None:
        """On the consent page."""
        await self.button("Deny").click()

    async def install_in(self, organization: str) -> None:
        """Install the app, in an organization by its slug."""
        choice = self.page.get_by_role("combobox").or_(self.page.get_by_role("textbox"))
        await expect(choice).to_be_visible()
        if await choice.evaluate("element => element.tagName") == "SELECT":
            await choice.select_option(organization)
        else:
            await choice.fill(organization)
            await self.page.get_by_text(organization, exact=True).last.click()
        await self.button("Accept & Install").click()

    async def finish(self, organization: str = "") -> None:
        """From Sentry's approval to the end; without a name, with the bench's organization."""
        name = (await asyncio.to_thread(self.bench.server.ask, self.bench.server.organization_path())).json()["name"]
        await super().finish(organization or name)


def _is_form(response: Response) -> bool:
    """Whether it answers a form, not what a page's scripts send."""
    return response.request.method == "POST" and response.request.is_navigation_request()
