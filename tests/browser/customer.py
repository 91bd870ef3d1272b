"""A customer's admin on the link page and at Sentry: finds things by what they are called, as a person does."""

from dataclasses import dataclass

from playwright.async_api import Locator, Page, expect

# Runs in the page. What a screen reader and a keyboard need, and what would make the page scroll sideways.
_FAULTS = """() => {
  const faults = [];
  const add = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  for (const field of document.querySelectorAll("input:not([type=hidden]), textarea, select"))
    if (![...field.labels].some(label => label.innerText.trim())) add("no label", field);
  for (const button of document.querySelectorAll("button, a"))
    if (!button.hidden && !button.innerText.trim()) add("no name", button);
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`id twice: ${id}`);
  for (const element of document.querySelectorAll("[aria-describedby], [for]")) {
    const id = element.getAttribute("aria-describedby") ?? element.htmlFor;
    if (!document.getElementById(id)) add("refers to nothing", element);
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) faults.push("scrolls sideways");

  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const read = color => color.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const color = read(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  for (const element of document.querySelectorAll("main *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(read(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) add("too little contrast", element);
  }
  return faults;
}"""


@dataclass(frozen=True)
class Customer:
    """One window of one browser."""

    page: Page

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    async def see(self, title: str) -> None:
        """Wait for the page with this heading, and look it over."""
        await expect(self.page.get_by_role("heading", level=1, name=title)).to_be_visible()
        assert await self.page.evaluate(_FAULTS) == []

    # --- on the link page ---

    async def start(self, url: str) -> None:
        await self.page.goto(url)
        await self.see("asks you to link Sentry")
        await self.button("Start").click()

    async def begin_oauth(self) -> None:
        await self.see("How do you want to link Sentry?")
        await self.button("Sign in at").click()

    async def begin_install(self) -> None:
        await self.see("How do you want to link Sentry?")
        await self.button("Install the app").click()

    async def paste(self, token: str) -> None:
        if await self.page.get_by_role("link", name="Paste a token").count():
            await self.page.get_by_role("link", name="Paste a token").click()
        await self.see("Paste a token")
        await self.page.get_by_label("Token", exact=True).fill(token)
        await self.button("Check the token").click()

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
