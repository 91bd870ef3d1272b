"""One browser a worker, started when a test first asks for it; a profile (Playwright's "context") for every test.

Playwright lives in one event loop, so the tests that use these fixtures run in the session's:
``pytestmark = pytest.mark.asyncio(loop_scope="session")``.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.launch import find_chromium, launch
from tests.browser.skipping import NO_BROWSER
from tests.browser.watch import Watch

_PATIENCE = 20_000  # milliseconds; two cores may have much else to do


@pytest.fixture(scope="session")
def program() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip(NO_BROWSER)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(program: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=_PATIENCE)
    async with launch(program) as launched:
        yield launched


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(viewport={"width": 1400, "height": 900})
    made.set_default_timeout(_PATIENCE)
    yield made
    await made.close()


@pytest.fixture
def watch(context: BrowserContext) -> Watch:
    return Watch(context)


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, watch: Watch) -> Page:
    return await context.new_page()
