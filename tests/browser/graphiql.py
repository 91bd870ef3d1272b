"""GraphiQL as its visitor meets it."""

from tests.browser.chromium import Tab

EVIL = "evil.example"  # a name of somebody else's, which leads to this machine
RUN = "document.querySelector('.graphiql-execute-button')"
RESULT = "document.querySelector('.result-window .CodeMirror').CodeMirror.getValue()"


async def run_first_query(tab: Tab, url: str) -> str:
    """Open GraphiQL and click its run button, as a newcomer does; the result's text."""
    await tab.open(url)
    await tab.wait_for(f"{RUN} !== null")
    await tab.evaluate(f"{RUN}.click()")
    result: str = await tab.wait_for(RESULT)
    return result
