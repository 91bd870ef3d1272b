"""What every page has in common: its policy, its words, its structure, and that nothing in it is anybody's markup."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from sqlmodel import update

from service.connections.link_models import LinkSessionStatus
from service.link.problems import LinkProblem
from service.link.rules import LinkSessionRequest
from service.link.scopes import describe, goes_beyond
from service.link.words import Words
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT, DEMO_TOKENS
from service.sentry.profiles import SCOPES, Profile
from service.tenants.models import TenantRecord
from tests.link.conftest import LinkSite

LINK = Path(__file__).parents[2] / "service" / "link"
WORDS = Words.load()
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7654321*3}}{%x%}&lt;"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Outline(HTMLParser):
    """The elements of a page, checked for being closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


async def every_page(site: LinkSite, name: str) -> list[httpx.Response]:
    """One of each page, for a customer of that name, whose organization is called so, too."""
    organization = site.sandbox.world.find_organization("paper-boat", "23.7")
    assert organization
    organization.name = name
    site.sandbox.world.changed()

    async def rename(session):
        await session.exec(update(TenantRecord).values(name=name))

    await site.database.run_transaction(rename)
    record = await site.invite(
        name=name, redirect_uri="https://app.example/x?a=1&b=2", allowed_origins=["https://app.example"]
    )
    start = f"/link/start/{site.sessions.token(record.id)}"
    ann = site.person()
    pages = [
        await ann.get(start),
        await ann.get(f"{start}?mode=iframe"),
        await ann.get(f"{start}?mode=popup&origin=https://evil.example"),
        await ann.get("/link/start/unknown"),
        await ann.get(f"/link/{record.id}"),
        await ann.get("/link/oauth/x/callback"),
        await ann.get("/link/install/callback"),
        await ann.start(record),
        await ann.act("oauth", {"client": DEMO_OAUTH_CLIENT.client_id}),
        await ann.act("install", {"client": DEMO_APP.client_id}),
        await ann.get(f"/link/{record.id}?way=token"),
        await ann.act("token", {"token": "x" * 8, "origin": "other", "address": name}),
        await ann.act("token", {"token": DEMO_TOKENS.internal}),
        await ann.act("restart"),
        await ann.act("token", {"token": DEMO_TOKENS.limited}),
        await ann.act("organization", {"organization": "paper-boat"}),
        await ann.act("projects", {"choice": "all"}),
        await ann.act("leave"),
    ]
    await ann.act("token", {"token": DEMO_TOKENS.limited})
    await ann.act("organization", {"organization": "paper-boat"})
    await ann.act("projects", {"choice": "all"})
    pages += [await ann.show(), await ann.confirm(), await ann.get(start)]
    done = await site.reload(record)
    again = await site.sessions.create(site.caller, LinkSessionRequest(external_id=done.connection_id))
    return [*pages, await ann.get(f"/link/start/{site.sessions.token(again.id)}")]


def kinds(pages: list[httpx.Response]) -> set[str]:
    return {found[1] for page in pages if (found := re.search(r'data-page="([a-z]+)"', page.text))}


async def test_every_page_is_sent_under_a_strict_policy(lite: LinkSite):
    pages = await every_page(lite, "Contoso")
    assert kinds(pages) == {
        *("start", "iframe", "problem", "held", "ways", "away", "token", "organization", "projects", "confirm"),
        *("left", "done"),
    }
    for page in pages:
        headers = page.headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        ancestors = policy.pop("frame-ancestors")
        assert ancestors == ("https://app.example" if 'data-page="iframe"' in page.text else "'none'")
        assert policy == {
            "default-src": "'none'",
            **dict.fromkeys(("style-src", "script-src", "img-src", "connect-src", "form-action"), "'self'"),
            "base-uri": "'none'",
        }
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert "cross-origin-opener-policy" not in headers  # a popup needs its opener


async def test_every_page_can_be_read_and_used_without_eyes_mouse_and_script(lite: LinkSite):
    for page in await every_page(lite, "Contoso"):
        outline = Outline(page.text)
        assert outline.find("html")[0]["lang"] == "en"
        assert len(outline.find("h1")) == 1
        assert len(outline.find("main")) == 1
        assert re.search(r"<title>[^<]+</title>", page.text)
        ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        labelled = {attributes.get("for") for attributes in outline.find("label")}
        for field in [*outline.find("input"), *outline.find("textarea")]:
            if field.get("type") == "hidden":
                continue
            wrapped = field.get("type") in {"radio", "checkbox"}
            assert wrapped or field["id"] in labelled, field
            for described in (field.get("aria-describedby") or "").split():
                assert described in ids
        for button in outline.find("button"):
            assert button.get("type") != "button" or "hidden" in button  # what needs the script waits for it
        groups = {attributes.get("name") for attributes in outline.find("input") if attributes.get("type") == "radio"}
        assert len(outline.find("fieldset")) == len(outline.find("legend")) >= len(groups)
        for tag, attributes in outline.elements:
            assert not any(name.startswith("on") for name in attributes), attributes
            assert "style" not in attributes
            assert tag != "style"
        for script in outline.find("script"):
            assert str(script["src"]).startswith("/link/static/")
        assert len(page.content) < 20_000


async def test_row_26_texts_of_others_are_never_markup(lite: LinkSite):
    pages = await every_page(lite, HOSTILE)
    assert "done" in kinds(pages)
    named = 0
    for page in pages:
        outline = Outline(page.text)
        named += "&lt;script&gt;" in page.text
        assert not outline.find("img")
        assert len(outline.find("script")) == 1
        assert str(7654321 * 3) not in page.text  # no template was made of it
        for _, attributes in outline.elements:
            for name, value in attributes.items():
                assert not name.startswith("on"), attributes
                assert name not in {"href", "src", "action"} or re.match(r"/|https://|http://127", value or ""), value
    assert named >= 15


async def test_row_26_a_hostile_slug_is_not_even_offered(lite: LinkSite):
    lite.sandbox.world.organizations[2].slug = 'x"><b>'
    lite.sandbox.world.changed()
    ann = lite.person()
    await ann.start(await lite.invite())
    page = await ann.act("token", {"token": DEMO_TOKENS.admin})
    assert page.text.count('name="organization"') == 2  # those that can be named
    assert "x&#34;" not in page.text
    assert not Outline(page.text).find("b")


# --- words ---


def used_words() -> Iterator[str]:
    """Every name of a text in templates and code; ``x.`` where the rest is made at run time."""
    for path in [*(LINK / "templates").glob("*.html"), *LINK.glob("*.py")]:
        text = path.read_text()
        yield from re.findall(r"""(?:\bt|words|_words|fields)\(\s*f?['"]([a-z_]+\.[a-z_.]*)""", text)
        yield from re.findall(r"""['"]((?:start|projects)\.[a-z_]+)['"]""", text)


def test_every_word_is_there_and_used():
    names, used = WORDS.names(), set(used_words())
    prefixes = {name for name in used if name.endswith((".", "_"))}
    assert {name for name in used - prefixes if name not in names and not name.startswith("page.")} == set()
    made = {"lang"} | {
        name for name in names if name.split(".")[0] in {"pages", "problems", "kinds", "levels", "profiles"}
    }
    titles = {name for name in names if name.endswith(".title")}
    unused = {
        name
        for name in names - used - made - titles
        if not any(name.startswith(prefix) for prefix in prefixes)
        and name not in {"token.saas", "token.us", "token.de", "token.other"}
    }
    assert unused == set()


def test_every_problem_has_words():
    for problem in LinkProblem:
        assert WORDS(f"problems.{problem}.title")
        assert WORDS(f"problems.{problem}.next", tenant="Acme")
    for page in ("expired", "canceled", "completed", "missing", "other_browser", "unknown_state", "cross_site"):
        for part in ("title", "what", "next"):
            assert WORDS(f"pages.{page}.{part}", tenant="Acme")
    assert set(LinkSessionStatus) >= {"canceled", "completed"}
    with pytest.raises(KeyError):
        WORDS("start.nonsense")


@pytest.mark.parametrize("profile", Profile)
def test_every_scope_of_a_profile_has_words(profile: Profile):
    can, cannot = describe(profile, SCOPES[profile], WORDS)
    assert cannot == []
    assert len(can) == len({scope.partition(":")[0] for scope in SCOPES[profile]})
    can, cannot = describe(profile, [], WORDS)
    assert can == []
    assert not goes_beyond(profile, SCOPES[profile])
    assert goes_beyond(profile, ["org:admin"])


def test_scopes_are_told_by_kind():
    can, cannot = describe(Profile.TRIAGE, ["org:admin", "event:read", "team:read"], WORDS)
    assert can == ["Organization: read", "Teams: read", "Issues and events: read"]
    assert cannot == ["Members: read", "Projects: read", "Issues and events: change"]


def test_style_and_script_are_small_and_know_the_dark():
    style = (LINK / "static" / "link.css").read_text()
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style
    assert len((LINK / "static" / "link.js").read_bytes()) < 10_000
