"""Notes what happens in a browser's windows: what they complain of, and what they ask for."""

import asyncio
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request


class Watch:
    """All windows of one browser profile, from the moment that it is made.

    ``problems`` collects what the console, the pages' errors and their security policies complain of; ``requests``
    every request that a window made, of whatever kind, redirects too.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.problems: list[str] = []
        self.requests: list[Request] = []
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        context.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - Playwright marks it

    @property
    def urls(self) -> list[str]:
        """The address of every request."""
        return [request.url for request in self.requests]

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.problems.append(f"{message.text} {message.location.get('url', '')}")


async def wait_for(page: Page, expression: str, seconds: float = 20) -> Any:
    """Wait until a JavaScript expression is truthy, and return its value.

    Playwright's own wait_for_function evaluates it inside the page, where a strict content security policy forbids it.
    """
    async with asyncio.timeout(seconds):
        while not (value := await page.evaluate(expression)):  # noqa: ASYNC110 - the page raises no event for it
            await asyncio.sleep(0.05)
    return value
