"""A real Chromium, the machine's own, driven by Playwright (which brings no browser here)."""

import contextlib
import shutil
from collections.abc import AsyncIterator

from playwright.async_api import Browser, async_playwright

EVIL = "evil.example"  # a name of somebody else's, which leads to this machine

_FLAGS = (
    "--no-sandbox",  # the tests may run as root, in a container
    "--disable-gpu",
    "--disable-quic",
    f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def find_chromium() -> str | None:
    """The browser of this machine, if it has one."""
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


@contextlib.asynccontextmanager
async def launch(program: str) -> AsyncIterator[Browser]:
    """A browser without a window, which finds no host but this machine, and ends with the block.

    It blocks popups that no click asked for, as people's browsers do; Playwright's own default allows them.
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=_FLAGS, ignore_default_args=["--disable-popup-blocking"]
        )
        try:
            yield browser
        finally:
            await browser.close()
