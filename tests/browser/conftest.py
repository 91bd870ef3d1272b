from collections.abc import AsyncIterator

import pytest

from tests.browser.chromium import Tab, find_chromium, open_tab
from tests.browser.graphiql import EVIL


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> str:
    found = find_chromium()
    if found is None:
        terminal = request.config.get_terminal_writer()
        terminal.line("\nNO BROWSER TESTS: there is no Chromium here (apt-get install chromium)", red=True)
        pytest.skip("there is no Chromium here")
    return found


@pytest.fixture
async def tab(program: str) -> AsyncIterator[Tab]:
    async with open_tab(
        program, f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    ) as one:
        yield one
