"""The SDK on a product's page, in a real browser, against a link page and a Sentry that do as they are told."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import BrowserContext, Page, expect
from playwright.async_api import Error as PlaywrightError

from tests.browser.sdk_stub import CONNECTION, STATIC, TOKEN, Stub, serve_stub
from tests.browser.watch import Watch, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def served() -> Iterator[Stub]:
    with serve_stub() as stub:
        yield stub


@pytest.fixture
def stub(served: Stub) -> Stub:
    """As new."""
    vars(served).update(vars(replace(Stub(), service=served.service, product=served.product, sentry=served.sentry)))
    return served


async def click(page: Page, stub: Stub, **options: Any) -> None:
    """Open the product's page, and click its button. Its clock runs as usual, and can be put forward."""
    stub.options |= options
    await page.clock.install()
    await page.goto(stub.product)
    await page.get_by_role("button", name="Link Sentry").click()


async def click_for_popup(page: Page, stub: Stub, **options: Any) -> Page:
    async with page.expect_popup() as opened:
        await click(page, stub, **options)
    popup = await opened.value
    await popup.wait_for_load_state()
    return popup


async def go(page: Page, url: str) -> None:
    """As by a link; Playwright's goto, like the address bar, would cut the page off from its opener."""
    async with page.expect_navigation(url=url):
        await page.evaluate(f"setTimeout(() => location = {json.dumps(url)})")


async def outcome(page: Page) -> str:
    """What ``open`` came to, however long it takes."""
    async with asyncio.timeout(20):
        while not (text := await page.inner_text("output")):
            await put_forward(page, 2)
    return text


async def is_pending(page: Page, seconds: int) -> bool:
    """Whether ``open`` is still not settled after a while."""
    for _ in range(0, seconds, 5):
        await put_forward(page, 5)
    return await page.inner_text("output") == ""


async def put_forward(page: Page, seconds: int) -> None:
    with contextlib.suppress(PlaywrightError):  # a popup that closes meanwhile has a clock no more
        await page.clock.fast_forward(seconds * 1000)
    await asyncio.sleep(0.03)  # for the answer to what is asked then


# --- popup ---


async def test_a_popup_resolves_with_the_connections_id_and_is_closed(page: Page, stub: Stub, watch: Watch) -> None:
    popup = await click_for_popup(page, stub)
    query = urlencode({"mode": "popup", "origin": stub.product})
    assert popup.url == f"{stub.service}/link/start/{TOKEN}?{query}"
    async with popup.expect_event("close"):
        await popup.get_by_role("link", name="Finish").click(no_wait_after=True)
    assert await outcome(page) == CONNECTION
    asked = stub.asked
    await put_forward(page, 10)
    assert stub.asked == asked, "nothing is left that asks"
    assert watch.problems == []


async def test_the_address_may_be_given_instead_of_the_token(page: Page, stub: Stub) -> None:
    stub.options = {}
    popup = await click_for_popup(page, stub, url=f"{stub.service}/link/start/{TOKEN}")
    assert popup.url.startswith(f"{stub.service}/link/start/{TOKEN}?")


async def test_a_closed_popup_rejects(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    await popup.close()
    assert await outcome(page) == "LinkError closed null"


async def test_a_popup_that_no_click_opened_is_blocked(page: Page, stub: Stub) -> None:
    stub.by_itself = True
    await page.goto(stub.product)
    assert await outcome(page) == "LinkError blocked null"


async def test_who_leaves_the_page_declined(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    await popup.get_by_role("link", name="Leave").click(no_wait_after=True)
    assert await outcome(page) == "LinkError denied null"
    await wait_for(page, "popup.closed")


async def test_a_failure_is_left_to_the_page_until_it_is_closed(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    await popup.get_by_role("link", name="Fail").click()
    assert await is_pending(page, 100)
    await popup.close()
    assert await outcome(page) == "LinkError error null"


@pytest.mark.parametrize(("status", "code"), [("expired", 200), ("unknown", 404), ("unknown", 410)])
async def test_an_expired_session_rejects(page: Page, stub: Stub, status: str, code: int) -> None:
    popup = await click_for_popup(page, stub)
    async with popup.expect_event("close"):
        stub.status, stub.code = status, code
    assert await outcome(page) == "LinkError expired null"


async def test_a_canceled_session_rejects(page: Page, stub: Stub) -> None:
    await click_for_popup(page, stub)
    stub.status = "canceled"
    assert await outcome(page) == "LinkError denied null"


async def test_abort_takes_everything_away(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    async with popup.expect_event("close"):
        await page.evaluate("ending.abort()")
    assert (await outcome(page)).startswith("AbortError")
    asked = stub.asked
    await put_forward(page, 10)
    assert stub.asked == asked


async def test_nothing_is_opened_for_who_aborted_before(page: Page, stub: Stub, context: BrowserContext) -> None:
    await page.goto(stub.product)
    await page.evaluate("ending.abort(), begin()")
    assert (await outcome(page)).startswith("AbortError")
    assert context.pages == [page]


# --- a Sentry that cuts the popup off from the product's page ---


async def go_to_sentry(page: Page, popup: Page, stub: Stub) -> None:
    stub.status = "away"
    await go(popup, stub.sentry)
    await wait_for(page, "popup.closed")
    assert not popup.is_closed(), "it only seems closed"


async def test_a_popup_that_sentry_cut_off_is_waited_for(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    await go_to_sentry(page, popup, stub)
    assert await is_pending(page, 55)
    stub.status = "started"
    await go(popup, f"{stub.service}/link/start/{TOKEN}?mode=popup&origin={stub.product}")
    assert await is_pending(page, 300), "the customer is choosing a project"
    await popup.get_by_role("link", name="Finish").click(no_wait_after=True)
    assert await outcome(page) == CONNECTION


async def test_a_popup_that_was_cut_off_and_back_before_anybody_asked_is_waited_for(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    start = f"{stub.service}/link/start/{TOKEN}?mode=popup&origin={stub.product}"
    stub.status = "started"
    await go(popup, f"{start}&page=away")
    await go(popup, stub.sentry)
    await go(popup, start)
    assert await page.evaluate("popup.closed")
    assert await is_pending(page, 300)
    await popup.get_by_role("link", name="Finish").click(no_wait_after=True)
    assert await outcome(page) == CONNECTION


async def test_a_popup_that_came_back_from_sentry_whole_and_was_closed_rejects(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    start = f"{stub.service}/link/start/{TOKEN}?mode=popup&origin={stub.product}"
    stub.status = "started"
    await go(popup, f"{start}&page=away")
    await go(popup, f"{stub.sentry}/plain")
    await go(popup, start)
    await popup.close()
    await put_forward(page, 5)
    assert await outcome(page) == "LinkError closed null"


async def test_a_popup_that_was_closed_at_sentry_is_given_up(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    await go_to_sentry(page, popup, stub)
    await popup.close()
    assert await is_pending(page, 55)
    assert await outcome(page) == "LinkError closed null"


async def test_who_declined_at_sentry_and_left_declined(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    await go_to_sentry(page, popup, stub)
    await put_forward(page, 5)
    stub.status, stub.problem = "started", "denied"
    await popup.close()
    assert await outcome(page) == "LinkError denied denied"


# --- who is listened to, and who is told ---


async def test_nobody_but_the_opened_window_is_listened_to(page: Page, stub: Stub) -> None:
    popup = await click_for_popup(page, stub)
    lie = json.dumps({"type": "sentry-graph:link", "status": "completed", "connectionId": "con_evil"})
    await page.evaluate(f"window.postMessage({lie}, '*')")
    # A frame of the service's own origin, but not the window that was opened.
    await page.evaluate(
        f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{stub.service}/link/end/x'}}))"
    )
    frame = await wait_for_frame(page, "/link/end/x")
    await frame.evaluate(f"parent.postMessage({lie}, '*')")
    # The opened window, but on another origin.
    await go(popup, stub.sentry.replace("127.0.0.1", "localhost") + "/plain")
    await popup.evaluate(f"opener.postMessage({lie}, '*')")
    # The opened window on the right origin, with something else to say.
    await go(popup, f"{stub.service}/link/end/x")
    for other in ('"completed"', "null", '{"status": "completed", "connectionId": "con_evil"}'):
        await popup.evaluate(f"opener.postMessage({other}, '*')")
    assert await is_pending(page, 5)
    await popup.evaluate(f"opener.postMessage({lie}, '*')")
    assert await outcome(page) == "con_evil", "the same from the right window on the right origin counts"


async def wait_for_frame(page: Page, part: str) -> Any:
    async with asyncio.timeout(10):
        while not (found := [frame for frame in page.frames if part in frame.url]):  # noqa: ASYNC110 - its event is past
            await asyncio.sleep(0.05)
    await found[0].wait_for_load_state()
    return found[0]


async def test_the_page_tells_the_allowed_origin_only(page: Page, stub: Stub) -> None:
    await page.add_init_script("window.heard = []; addEventListener('message', event => heard.push(event.data.status))")
    popup = await click_for_popup(page, stub)
    await page.wait_for_function("heard.length === 1")  # what the first page has to say, which is for this origin
    for other in ("https://other.example", ""):
        await go(popup, f"{stub.service}/link/end/denied?mode=popup&origin={other}")
    await go(popup, f"{stub.service}/link/end/error?mode=popup&origin={stub.product}")
    await page.wait_for_function("heard.length > 1")  # the last word has come, so those before it have or never will
    assert await page.evaluate("heard") == ["", "error"]


# --- iframe ---


async def test_an_iframe_follows_the_session_and_goes_away(page: Page, stub: Stub, context: BrowserContext) -> None:
    await click(page, stub, mode="iframe", container="#box")
    element = page.locator("#box iframe")
    await expect(element).to_have_attribute("title", "Link a Sentry account")
    await expect(element).to_have_css("height", "700px")
    inside = page.frame_locator("#box iframe")
    await expect(inside.get_by_text("Not begun")).to_be_visible()
    async with context.expect_page() as opened:
        await inside.get_by_role("link", name="Start").click()
    steps = await opened.value
    assert steps.url == f"{stub.service}/link/start/{TOKEN}?mode=window"
    await inside.get_by_role("button", name="Open again").click()
    assert len(context.pages) == 2, "it comes to the front, and is not opened twice"
    stub.status = "started"
    await expect(inside.get_by_text("Go on there")).to_be_visible()
    await expect(inside.get_by_text("Not begun")).to_be_hidden()
    async with steps.expect_event("close"):
        await steps.evaluate("setTimeout(() => location = '/link/end/completed?mode=window')")
    assert await outcome(page) == CONNECTION
    await expect(element).to_have_count(0)


async def test_an_iframe_says_that_the_service_does_not_answer(page: Page, stub: Stub) -> None:
    await click(page, stub, mode="iframe", container="#box")
    inside = page.frame_locator("#box iframe")
    await expect(inside.get_by_text("Not begun")).to_be_visible()
    stub.code = 503
    assert await is_pending(page, 20)
    await expect(inside.get_by_text("No answer")).to_be_visible()
    stub.code = 200
    await put_forward(page, 5)
    await expect(inside.get_by_text("Not begun")).to_be_visible()


async def test_an_iframe_that_the_product_removed_rejects(page: Page, stub: Stub) -> None:
    await click(page, stub, mode="iframe", container="#box")
    stub.status = "away"
    await page.locator("#box iframe").wait_for()
    await page.evaluate("document.querySelector('#box').replaceChildren()")
    assert await outcome(page) == "LinkError closed null"


# --- the rest ---


async def test_redirect_goes_there(page: Page, stub: Stub) -> None:
    await click(page, stub, mode="redirect")
    await page.wait_for_url(f"{stub.service}/link/start/{TOKEN}")


async def test_a_service_that_does_not_answer_this_origin_is_given_up(page: Page, stub: Stub) -> None:
    stub.allowed = False
    await click_for_popup(page, stub)
    assert await is_pending(page, 55)
    assert await outcome(page) == "LinkError error null"


async def test_a_service_that_fails_for_a_moment_is_asked_again(page: Page, stub: Stub) -> None:
    stub.code = 503
    await click_for_popup(page, stub)
    assert await is_pending(page, 30)
    stub.code, stub.status = 200, "completed"
    assert await outcome(page) == CONNECTION


@pytest.mark.parametrize(
    "options",
    [
        {"token": None},
        {"token": ""},
        {"token": "../evil"},
        {"token": "a?b"},
        {"url": "https://evil.example/link/start/x"},
        {"url": "javascript:alert(1)"},
        {"mode": "tab"},
        {"mode": "iframe"},
    ],
    ids=str,
)
async def test_wrong_options_are_a_type_error(page: Page, stub: Stub, options: Any, context: BrowserContext) -> None:
    await click(page, stub, **options)
    assert (await outcome(page)).startswith("TypeError")
    assert context.pages == [page]


async def test_the_scripts_are_small_and_need_nothing() -> None:
    for name in ("sdk.js", "link.js"):
        text = (STATIC / name).read_text()
        assert len(text.encode()) < 10_000
        assert "\nimport " not in text
        assert "innerHTML" not in text
        assert "eval(" not in text
