"""A customer's admin on the link page and at Sentry: finds things by what they are called, as a person does."""

from dataclasses import dataclass

from playwright.async_api import Locator, Page, expect

_FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
_RUN_AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(node => node.html).join(" ")}`);
}"""


@dataclass(frozen=True)
class Customer:
    """One window of one browser. With the source of ``axe``, each page that is seen is judged by it."""

    page: Page
    axe: str | None = None

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    async def leave_by(self, way: Locator) -> None:
        """Click what leads to another page, and wait until this one is left: its parts are not the next one's."""
        async with self.page.expect_navigation():
            await way.click()

    async def see(self, title: str) -> None:
        """Wait for the page with this heading, and look it over: nothing has to be scrolled sideways."""
        await expect(self.page.get_by_role("heading", level=1, name=title)).to_be_visible()
        assert await self.page.evaluate(_FITS), "it scrolls sideways"
        if self.axe:
            await self.page.evaluate(self.axe)
            violations = await self.page.evaluate(_RUN_AXE)
            assert violations == [], violations

    # --- on the link page ---

    async def start(self, url: str) -> None:
        await self.page.goto(url)
        await self.see("asks you to link Sentry")
        await self.leave_by(self.button("Start"))

    async def begin_oauth(self) -> None:
        await self.see("How do you want to link Sentry?")
        await self.button("Sign in at").click()

    async def begin_install(self) -> None:
        await self.see("How do you want to link Sentry?")
        await self.button("Install the app").click()

    async def paste(self, token: str) -> None:
        if await self.page.get_by_role("link", name="Paste a token").count():
            await self.leave_by(self.page.get_by_role("link", name="Paste a token"))
        await self.see("Paste a token")
        await self.page.get_by_label("Token", exact=True).fill(token)
        await self.leave_by(self.button("Check the token"))

    async def choose_organization(self, name: str = "Lumen Labs") -> None:
        await self.see("Which organization?")
        await self.page.get_by_role("radio", name=name).check()
        await self.button("Go on").click()

    async def choose_projects(self, *slugs: str) -> None:
        """These, or all."""
        await self.see("Which projects?")
        if slugs:
            await self.page.get_by_role("radio", name="Only these projects").check()
        for slug in slugs:
            await self.page.get_by_role("checkbox", name=slug, exact=True).check()
        await self.button("Go on").click()

    async def confirm(self) -> None:
        await self.see("Link this?")
        await self.page.get_by_role("button", name="Link", exact=True).click()

    async def finish(self, organization: str = "Lumen Labs") -> None:
        """From Sentry's approval to the end."""
        await self.choose_organization(organization)
        await self.choose_projects()
        await self.confirm()

    # --- at Sentry ---

    async def sign_in(self) -> None:
        await self.page.get_by_role("button", name="Continue", exact=True).click()

    async def approve(self) -> None:
        await self.sign_in()
        await self.button("Approve").click()

    async def deny(self) -> None:
        await self.sign_in()
        await self.button("Deny").click()

    async def install_in(self, organization: str) -> None:
        await self.page.get_by_label("Organization").select_option(label=organization)
        await self.button("Accept & Install").click()
