"""GraphiQL as its visitor meets it."""

from playwright.async_api import Page

from tests.browser.watch import wait_for

RUN = ".graphiql-execute-button"
RESULT = "document.querySelector('.result-window .CodeMirror').CodeMirror.getValue()"


async def click_run(page: Page) -> str:
    """Click GraphiQL's run button; the result's text."""
    await page.locator(RUN).click()
    result: str = await wait_for(page, RESULT)
    return result


async def run_first_query(page: Page, url: str) -> str:
    """Open GraphiQL and click its run button, as a newcomer does; the result's text."""
    await page.goto(url)
    return await click_run(page)


async def turn_to(page: Page, title: str) -> None:
    """Turn to one of GraphiQL's tabs."""
    await page.get_by_role("tab", name=title, exact=True).click()
    await wait_for(page, f"localStorage.getItem('graphiql:operationName') === '{title}'")  # it takes 0.1 s
