"""Invitations, bindings, modes, the status, and what other sites cannot make a browser do (rows 26 and 29)."""

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, update
from starlette.requests import Request
from structlog.testing import capture_logs

from service.columns import now
from service.connections.link_models import LinkAttemptRecord, LinkSessionRecord, LinkSessionStatus
from service.db import Database
from service.errors import BadInput
from service.journal import Journal
from service.link.browser import read_form as read_body
from service.link.pace import Pace
from service.link.routes import create_link_routes
from service.link.rules import LinkSessionRequest
from service.sandbox.world import DEMO_TOKENS
from service.tenants.models import TenantRecord
from tests.link.conftest import PUBLIC_URL, LinkSite, going_to, read_form

APP = "https://app.example"
OTHER = "https://other.example"


async def change(site: LinkSite, record: LinkSessionRecord, **columns) -> None:
    async def work(session):
        await session.exec(update(LinkSessionRecord).where(col(LinkSessionRecord.id) == record.id).values(**columns))

    await site.database.run_transaction(work)


def address(site: LinkSite, record: LinkSessionRecord) -> str:
    return f"/link/start/{site.sessions.token(record.id)}"


async def complete(site: LinkSite, record: LinkSessionRecord, **view: str):
    """Link it; the browser, and the page that it ends on."""
    ann = site.person()
    await ann.start(record, **view)
    await ann.act("token", {"token": DEMO_TOKENS.admin})
    await ann.act("organization", {"organization": "paper-boat"})
    await ann.act("projects", {"choice": "all"})
    return ann, await ann.confirm()


async def test_row_29_reading_an_invitation_never_uses_it(site: LinkSite):
    record = await site.invite(name="Contoso", external_id="cust")
    scanner = site.person()
    for headers in ({}, {"sec-purpose": "prefetch"}, {"purpose": "prefetch"}, {"user-agent": "mail scanner"}):
        for mode in ("", "?mode=iframe", "?mode=nonsense"):
            page = await scanner.get(address(site, record) + mode, headers=headers)
            assert page.status_code == 200
            assert "set-cookie" not in page.headers
            assert (await scanner.http.head(address(site, record) + mode, headers=headers)).status_code == 200
    assert await site.reload(record) == record
    assert [entry.action for entry in await Journal(site.database).page_audit("ten_1", limit=9)] == [
        "link_session.create"
    ]
    page = await site.person().start(record)  # and a person can still start it
    assert page.status_code == 200


async def test_row_29_the_page_names_who_asks_and_for_whom(lite: LinkSite):
    async def rename(session):
        await session.exec(update(TenantRecord).values(name="Acme Analytics"))

    await lite.database.run_transaction(rename)
    page = await lite.person().get(address(lite, await lite.invite(name="Contoso", customer_id="c-1")))
    assert "Acme Analytics asks you to link Sentry" in page.text
    assert "Contoso" in page.text
    page = await lite.person().get(address(lite, await lite.invite(customer_id="c-1")))
    assert "c-1" in page.text
    ann = lite.person()
    page = await ann.start(await lite.invite(name="Contoso"))
    assert "Acme Analytics" in page.text  # on every step
    assert "Contoso" in page.text


async def test_starting_binds_the_browser_at_an_address_without_the_token(site: LinkSite):
    record = await site.invite()
    ann = site.person()
    page = await ann.get(address(site, record))
    answer = await ann.post("/link/start", read_form(page.text, "start"))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/link/{record.id}")
    cookie = answer.headers["set-cookie"]
    name, _, rest = cookie.partition("=")
    assert name == f"__Host-{record.id}"
    assert re.match(r"[A-Za-z0-9_-]{43}\.redirect; ", rest)
    assert {part.strip().lower() for part in rest.split(";")[1:] if "max-age" not in part.lower()} == {
        "httponly",
        "path=/",
        "samesite=lax",
        "secure",
    }
    stored = await site.reload(record)
    assert stored.status is LinkSessionStatus.STARTED
    assert rest[:43].encode() not in (stored.browser_hash or b"")
    shown = await ann.get(f"/link/{record.id}")
    assert shown.status_code == 200
    assert site.sessions.token(record.id) not in shown.text
    for stranger in (site.person(), site.person()):
        page = await stranger.get(f"/link/{record.id}")
        assert page.status_code == 403
        assert (await stranger.post(f"/link/{record.id}/restart")).status_code == 403
    missing = await site.person().get("/link/lks_" + "0" * 26)
    assert (missing.status_code, missing.text) == (403, page.text)  # foreign and missing look alike


async def test_starting_again_goes_on_here_and_takes_over_from_elsewhere(site: LinkSite):
    record = await site.invite()
    ann, bob = site.person(), site.person()
    await ann.start(record)
    await ann.act("token", {"token": DEMO_TOKENS.admin})
    page = await ann.get(address(site, record))
    assert "Go on" in page.text
    assert 'data-page="organization"' in (await ann.start(record)).text  # where it was
    page = await bob.get(address(site, record))
    assert "another browser" in page.text
    assert 'data-page="ways"' in (await bob.start(record)).text  # without what Ann received
    assert (await site.reload(record)).pending is None
    assert (await ann.show()).status_code == 403
    assert 'data-problem="other_browser"' in (await ann.show()).text


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"expires_at": now() - timedelta(seconds=1)}, "expired"),
        ({"status": LinkSessionStatus.CANCELED}, "canceled"),
        ({"status": LinkSessionStatus.COMPLETED}, "completed"),
    ],
)
async def test_what_is_over_says_so_with_the_next_step(lite: LinkSite, columns: dict, problem: str):
    record = await lite.invite(redirect_uri=f"{APP}/back")
    ann = lite.person()
    form = read_form((await ann.get(address(lite, record))).text, "start")
    await ann.start(record)
    await change(lite, record, **columns)
    for page in (await ann.get(address(lite, record)), await ann.post("/link/start", form)):
        assert page.status_code == 410
        assert f'data-problem="{problem}"' in page.text
        assert f'data-status="{problem}"' in page.text
        assert f"{APP}/back?link_session={record.id}&amp;status={problem}" in page.text
        assert "set-cookie" not in page.headers
    if problem != "completed":
        page = await ann.show()
        assert (page.status_code, f'data-problem="{problem}"' in page.text) == (410, True)
        page = await ann.act("token", {"token": DEMO_TOKENS.admin})
        assert page.status_code == 410
    assert lite.sandbox.count() == 0


@pytest.mark.parametrize("token", ["x", "A" * 43, "A" * 42 + "%00", "..%2f..", "é" * 43])
async def test_an_unknown_invitation_is_not_found(lite: LinkSite, token: str):
    ann = lite.person()
    page = await ann.get(f"/link/start/{token}")
    assert page.status_code == 404
    assert (await ann.post("/link/start", {"token": token})).status_code == 404
    status = await ann.get(f"/link/start/{token}/status")
    assert (status.status_code, status.headers.get("access-control-allow-origin", "*")) == (404, "*")


CROSS_SITE = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": OTHER},
    {"origin": "null"},
    {"origin": "http://graph.test"},
    {"origin": "https://graph.test.evil.example"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
async def test_forms_of_other_sites_are_refused(lite: LinkSite, headers: dict):
    record = await lite.invite()
    ann = lite.person()
    await ann.start(record)
    before = await lite.reload(record)
    token = lite.sessions.token(record.id)
    for path, form in (("/link/start", {"token": token}), (f"/link/{record.id}/token", {"token": DEMO_TOKENS.admin})):
        answer = await ann.http.post(path, data=form, headers=headers)
        assert answer.status_code == 403
        assert 'data-problem="cross_site"' in answer.text
        assert "set-cookie" not in answer.headers
    assert await lite.reload(record) == before
    assert lite.sandbox.count() == 0


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "same-origin", "origin": "null"}, {"origin": PUBLIC_URL}, {}])
async def test_our_own_forms_pass(lite: LinkSite, headers: dict):
    answer = await lite.person().http.post(
        "/link/start", data={"token": lite.sessions.token((await lite.invite()).id)}, headers=headers
    )
    assert answer.status_code == 303


async def test_other_bodies_are_refused(lite: LinkSite):
    record = await lite.invite()
    ann = lite.person()
    await ann.start(record)
    path = f"/link/{record.id}/token"
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body, headers, status in (
        (b"{}", {"content-type": "application/json"}, 400),
        (b"token=x", {"content-type": "text/plain"}, 400),
        (b"token=" + b"x" * 300_000, form, 413),
        (b"a=1&" * 3000, form, 400),
        (b"token=\xff", form, 400),
    ):
        answer = await ann.http.post(path, content=body, headers=headers)
        assert answer.status_code == status
        assert 'data-problem="bad_request"' in answer.text
    assert (await ann.post(f"/link/{record.id}/nonsense")).status_code == 404


async def test_whoever_has_an_address_cannot_fill_the_log_or_call_sentry_without_end(lite: LinkSite):
    record = await lite.invite()
    ann = lite.person()
    await ann.start(record)
    answers = [await ann.post(f"/link/{record.id}/leave") for _ in range(150)]
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = answers[-1]
    assert (refused.status_code, 'data-problem="too_often"' in refused.text) == (429, True)
    assert 1 <= int(refused.headers["retry-after"]) <= 15
    for path, form in (("/link/start", {"token": lite.sessions.token(record.id)}), (f"/link/{record.id}/oauth", {})):
        assert (await lite.person().post(path, form)).status_code in {403, 429}
    assert (await ann.show()).status_code == 429
    assert len(await Journal(lite.database).page_audit("ten_1", limit=999)) < 125
    await lite.person().start(await lite.invite())  # other sessions go on


def test_a_pace_is_made_up_for_by_waiting():
    time = 100.0
    pace = Pace(clock=lambda: time)
    assert [pace.wait("a") for _ in range(120)] == [0.0] * 120
    assert pace.wait("a") == 15.0
    assert pace.wait("b") == 0.0
    time += 10.0
    assert pace.wait("a") == pytest.approx(5.0)
    time += 5.1
    assert [pace.wait("a"), pace.wait("a")] == [0.0, pytest.approx(14.9)]
    time += 1e6
    assert [pace.wait("a") for _ in range(121)][-2:] == [0.0, pytest.approx(15.0)]


def form_request(*messages: dict[str, Any]) -> Request:
    """A form of which no more comes than that."""
    waiting = [{"type": "http.request", **message} for message in messages]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else await asyncio.Future()

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


async def test_a_form_that_never_ends_is_given_up():
    with pytest.raises(BadInput, match="too slowly"):
        await read_body(form_request({"body": b"a=1&", "more_body": True}), seconds=0.05)
    whole = form_request({"body": b"a=1&", "more_body": True}, {"body": b"b=2"})
    assert dict(await read_body(whole, seconds=5)) == {"a": "1", "b": "2"}


async def test_a_browser_that_leaves_amid_a_form_is_no_error(lite: LinkSite):
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/link/start", "query_string": b"", "headers": []}
    await lite.app(scope | {"root_path": "", "scheme": "https", "server": ("graph.test", 443)}, receive, send)
    assert sent[0]["status"] == 408


# --- modes ---


async def test_a_popup_tells_the_allowed_origin_and_no_other(lite: LinkSite):
    record = await lite.invite(allowed_origins=[OTHER, APP], redirect_uri=f"{APP}/back")
    for origin in ("https://evil.example", "", f"{APP}/", "*", "null"):
        page = await lite.person().get(address(lite, record), params={"mode": "popup", "origin": origin})
        assert page.status_code == 400
        assert "evil.example" not in page.text
        assert "data-origin=" not in page.text
        form = {"token": lite.sessions.token(record.id), "mode": "popup", "origin": origin}
        assert (await lite.person().post("/link/start", form)).status_code == 400
    ann, page = await complete(lite, record, mode="popup", origin=APP)
    assert f'data-mode="popup" data-origin="{APP}"' in page.text
    done = await lite.reload(record)
    assert f'data-connection="{done.connection_id}" data-status="completed"' in page.text
    assert "http-equiv" not in page.text  # a popup goes nowhere
    again = await ann.show()
    assert (again.status_code, f'data-origin="{APP}"' in again.text) == (200, True)
    assert all(f'data-origin="{APP}"' in page for page in ann.pages if "data-page" in page)


async def test_a_forged_place_in_the_cookie_is_no_origin(lite: LinkSite):
    record = await lite.invite(allowed_origins=[APP])
    ann = lite.person()
    await ann.start(record, mode="popup", origin=APP)
    name = f"__Host-{record.id}"
    secret = ann.http.cookies[name].partition(".")[0]
    ann.http.cookies.clear()
    for value, mode in ((f"{secret}.popup.7", "popup"), (f"{secret}.popup", "popup"), (f"{secret}.evil", "redirect")):
        ann.http.cookies.set(name, value, domain="graph.test", path="/")
        page = await ann.show()
        assert f'data-mode="{mode}"' in page.text
        assert "data-origin" not in page.text


async def test_a_window_of_the_iframe_ends_with_a_page(lite: LinkSite):
    record = await lite.invite(redirect_uri=f"{APP}/back")
    ann, page = await complete(lite, record, mode="window")
    assert "You can close this window." in page.text
    assert "http-equiv" not in page.text
    assert (await ann.show()).status_code == 200


async def test_an_iframe_is_for_allowed_origins_alone(lite: LinkSite):
    record = await lite.invite(allowed_origins=[APP, OTHER])
    page = await lite.person().get(address(lite, record), params={"mode": "iframe", "origin": APP})
    assert f"frame-ancestors {APP} {OTHER}" in page.headers["content-security-policy"]
    assert "set-cookie" not in page.headers
    assert "<form" not in page.text
    assert f'href="{address(lite, record)}?mode=window"' in page.text
    assert f'data-status-url="{address(lite, record)}/status"' in page.text
    for params in ({}, {"mode": "popup", "origin": APP}, {"mode": "window"}):
        page = await lite.person().get(address(lite, record), params=params)
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    none = await lite.person().get(address(lite, await lite.invite()), params={"mode": "iframe"})
    assert "frame-ancestors 'none'" in none.headers["content-security-policy"]


async def test_without_a_redirect_the_end_is_a_page(lite: LinkSite):
    ann, page = await complete(lite, await lite.invite())
    assert "http-equiv" not in page.text
    assert "Paper Boat" in page.text
    assert (await ann.show()).status_code == 200


# --- the status ---


async def test_the_status_is_for_allowed_origins_and_holds_nothing_else(site: LinkSite):
    record = await site.invite(allowed_origins=[APP])
    path = f"{address(site, record)}/status"

    async def status() -> dict:
        found: dict = (await site.person().get(path)).json()
        return found

    assert await status() == {"status": "created", "problem": None, "connectionId": None}
    answer = await site.person().get(path, headers={"origin": APP})
    assert answer.headers["access-control-allow-origin"] == APP
    assert "access-control-allow-credentials" not in answer.headers
    assert (answer.headers["vary"], answer.headers["cache-control"]) == ("origin", "no-store")
    for origin in (OTHER, "null", APP.upper(), f"{APP}.evil.example"):
        answer = await site.person().get(path, headers={"origin": origin})
        assert "access-control-allow-origin" not in answer.headers
    ann, _ = await complete(site, record)
    assert await status() == {
        "status": "completed",
        "problem": None,
        "connectionId": (await site.reload(record)).connection_id,
    }
    for columns, word in (
        ({"expires_at": now() - timedelta(1)}, "expired"),
        ({"status": LinkSessionStatus.CANCELED}, "canceled"),
    ):
        other = await site.invite()
        await change(site, other, **columns)
        assert (await ann.get(f"{address(site, other)}/status")).json()["status"] == word


async def test_somebody_is_away_only_while_an_answer_may_come(lite: LinkSite):
    record = await lite.invite()
    ann = lite.person()
    await ann.start(record)
    path = f"{address(lite, record)}/status"
    assert (await ann.get(path)).json()["status"] == "started"
    await ann.act("install", {"client": lite.runtime.settings.sentry_apps[0].client_id})
    assert (await ann.get(path)).json()["status"] == "away"

    async def age(session):
        await session.exec(update(LinkAttemptRecord).values(expires_at=now()))

    await lite.database.run_transaction(age)
    assert (await ann.get(path)).json()["status"] == "started"


async def test_a_cancelled_session_links_nothing(lite: LinkSite):
    record = await lite.invite()
    ann = lite.person()
    await ann.start(record)
    await lite.sessions.cancel(lite.caller, record.id)
    page = await ann.act("token", {"token": DEMO_TOKENS.admin})
    assert page.status_code == 410
    assert lite.sandbox.count() == 0


async def test_below_a_path_every_address_begins_with_it(tmp_path, sandbox, sqlite_url, lite: LinkSite):
    services = lite.runtime.services
    routes = create_link_routes(
        database=lite.database,
        keyring=lite.runtime.keyring,
        vault=lite.vault,
        linker=services.linker,
        accounts=services.accounts,
        client=services.client,
        clients=lite.clients,
        public_url="https://graph.test/sub/",
    )
    lite.app.router.routes = list(routes)  # a proxy in front takes /sub off
    record = await lite.invite()
    ann = lite.person()
    page = await ann.get(address(lite, record))
    assert 'action="/sub/link/start"' in page.text
    assert re.search(r'href="/sub/link/static/[0-9a-f]{16}/link.css"', page.text)
    answer = await ann.post("/link/start", read_form(page.text, "start"))
    assert answer.headers["location"] == f"/sub/link/{record.id}"
    page = await ann.get(f"/link/{record.id}")
    assert f'action="/sub/link/{record.id}/leave"' in page.text
    page = await ann.post(f"/link/{record.id}/oauth", {"client": lite.clients.oauth[0].client_id})
    assert "redirect_uri=https%3A%2F%2Fgraph.test%2Fsub%2Flink%2Foauth" in going_to(page)


@pytest.mark.parametrize(
    ("public_url", "is_warned"),
    [
        ("https://graph.test/sub", False),
        ("http://127.0.0.1:8000", False),
        ("http://localhost", False),
        ("http://graph.test", True),
        ("http://0.0.0.0:8000", True),
    ],
)
async def test_an_operator_is_warned_of_an_address_at_which_no_browser_keeps_the_cookies(
    lite: LinkSite, public_url: str, is_warned: bool
):
    services = lite.runtime.services
    with capture_logs() as lines:
        create_link_routes(
            database=lite.database,
            keyring=lite.runtime.keyring,
            vault=lite.vault,
            linker=services.linker,
            accounts=services.accounts,
            client=services.client,
            clients=lite.clients,
            public_url=public_url,
        )
    assert [line["event"] for line in lines] == ["link_page_needs_https"] * is_warned


async def test_a_database_that_is_gone_is_a_page(tmp_path, lite: LinkSite):
    services = lite.runtime.services
    gone = Database(f"sqlite:///{tmp_path / 'gone' / 'graph.db'}")
    routes = create_link_routes(
        database=gone,
        keyring=lite.runtime.keyring,
        vault=lite.vault,
        linker=services.linker,
        accounts=services.accounts,
        client=services.client,
        clients=lite.clients,
        public_url=PUBLIC_URL,
    )
    lite.app.router.routes = list(routes)
    page = await lite.person().get(f"/link/start/{'A' * 43}")
    assert page.status_code == 503
    assert 'data-problem="unavailable"' in page.text
    await gone.dispose()


async def test_a_session_of_a_tenant_shows_nothing_of_another(lite: LinkSite):
    """Two sessions in one browser stay apart."""
    one, two = await lite.invite(name="One"), await lite.sessions.create(lite.caller, LinkSessionRequest(name="Two"))
    ann = lite.person()
    await ann.start(one)
    await ann.act("token", {"token": DEMO_TOKENS.admin})
    page = await ann.start(two)
    assert 'data-page="ways"' in page.text
    assert 'data-page="organization"' in (await ann.get(f"/link/{one.id}")).text


async def test_no_form_is_answered_by_a_redirect_to_another_site(lite: LinkSite):
    """Browsers hold all that a form's navigation leads to against `form-action 'self'`."""
    record = await lite.invite(redirect_uri=f"{APP}/back")
    ann, page = await complete(lite, record)
    going = going_to(page)
    assert going.startswith(f"{APP}/back?")
    for action in ("confirm", "leave", "back", "token"):
        answer = await ann.post(f"/link/{record.id}/{action}", {"seen": "x", "token": "x"})
        assert answer.status_code == 200
        assert going_to(answer) == going
    assert (await ann.show()).headers["location"] == going  # a plain visit is led there at once
