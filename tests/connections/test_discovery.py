import httpx
import pytest
from msgspec.structs import replace

from service.connections.credentials import Credential, missing_scopes
from service.connections.discovery import SENTRY_IO, find_origins, find_projects, list_projects
from service.connections.models import CredentialKind
from service.errors import (
    BadInput,
    EgressRefused,
    LinkRefused,
    MissingScope,
    OrganizationRequired,
    RateLimited,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS, write_organization_token
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.transport import create_transport
from tests.connections.upstream import ROOT, Upstream, discovery_of, organization

TOKEN = "sntryu_" + "5f0c9a3b1d2e4f60" * 4
REGIONS = {"regions": [{"name": "us", "url": "https://us.sentry.io"}, {"name": "de", "url": "https://de.sentry.io"}]}


# --- where to begin ---


@pytest.mark.parametrize(
    ("url", "named", "control", "api"),
    [
        (None, "https://sentry.io", "https://sentry.io", "https://sentry.io"),
        (None, "https://de.sentry.io/api/0/", "https://sentry.io", "https://de.sentry.io"),
        (None, "https://acme.sentry.io", "https://sentry.io", "https://acme.sentry.io"),
        (None, "http://us.sentry.io", "http://us.sentry.io", "http://us.sentry.io"),
        (None, "https://us.sentry.io:8443", "https://us.sentry.io:8443", "https://us.sentry.io:8443"),
        (None, "https://evilsentry.io", "https://evilsentry.io", "https://evilsentry.io"),
        (None, "https://errors.acme.example:9000/sentry", *["https://errors.acme.example:9000/sentry"] * 2),
        ("https://sentry.io", "https://sentry.io", "https://sentry.io", "https://sentry.io"),
        ("https://us.sentry.io", "https://de.sentry.io", "https://sentry.io", "https://de.sentry.io"),
        ("https://errors.acme.example", "https://sentry.io", *["https://errors.acme.example"] * 2),
        ("https://errors.acme.example/", "https://errors.acme.example", *["https://errors.acme.example"] * 2),
        ("javascript:alert(1)", "https://errors.acme.example", *["https://errors.acme.example"] * 2),
    ],
)
def test_where_to_begin(url, named, control, api):
    credential = Credential(TOKEN, CredentialKind.ORGANIZATION_TOKEN, "acme", url, None)
    assert find_origins(credential, Origin.parse(named)) == (Origin.parse(control), Origin.parse(api))


def test_an_organization_token_of_another_sentry_is_refused():
    credential = Credential(TOKEN, CredentialKind.ORGANIZATION_TOKEN, "acme", "https://sentry.io", None)
    with pytest.raises(LinkRefused, match="belongs to") as caught:
        find_origins(credential, Origin.parse("https://errors.acme.example"))
    assert "https://sentry.io" in (caught.value.cure or "")


# --- at the sandbox ---


@pytest.fixture
async def discover(sandbox: Sandbox):
    policy = EgressPolicy([Origin.parse(sandbox.url)])
    transport = create_transport(policy, limit=10)

    async def discover(token: str, organization: str | None = None, installation_id: str | None = None):
        discovery = discovery_of(transport, token, sandbox.url, policy)
        return await discovery.discover(organization, installation_id)

    yield discover
    await transport.aclose()


@pytest.fixture(params=["23.7", "latest"])
def manner(request: pytest.FixtureRequest, sandbox: Sandbox) -> str:
    sandbox.manner = request.param
    return str(request.param)


async def test_a_user_token_of_several_organizations_asks_which(discover, manner):
    with pytest.raises(OrganizationRequired, match="3 organizations") as caught:
        await discover(DEMO_TOKENS.admin)
    assert caught.value.organizations == ["lumen-labs", "northwind-rail", "paper-boat"]
    found = await discover(DEMO_TOKENS.admin, "paper-boat")
    assert (found.organization_slug, found.organization_name) == ("paper-boat", "Paper Boat")
    assert found.kind is CredentialKind.USER_TOKEN
    assert missing_scopes(found.scopes) == {}


async def test_a_member_of_one_organization_is_not_asked(discover, manner, sandbox):
    found = await discover(DEMO_TOKENS.member)
    assert found.organization_slug == "lumen-labs"
    assert found.organization_id
    assert found.control == found.api == Origin.parse(sandbox.url)


async def test_missing_scopes_are_told(discover):
    found = await discover(DEMO_TOKENS.limited, "lumen-labs")
    assert set(missing_scopes(found.scopes)) == {"users", "groups", "issues"}


@pytest.mark.parametrize(
    ("token", "own", "foreign", "kind"),
    [
        (DEMO_TOKENS.internal, "lumen-labs", "paper-boat", CredentialKind.INTERNAL_TOKEN),
        (DEMO_TOKENS.app, "northwind-rail", "lumen-labs", CredentialKind.INTERNAL_TOKEN),
    ],
)
async def test_an_integration_that_lists_nothing_is_asked_for_its_organization(
    discover, manner, token, own, foreign, kind
):
    with pytest.raises(OrganizationRequired) as caught:
        await discover(token)
    assert caught.value.organizations == []
    assert "slug" in (caught.value.cure or "")
    found = await discover(token, own)
    assert (found.organization_slug, found.kind) == (own, kind)
    with pytest.raises(BadInput, match=foreign):
        await discover(token, foreign)


async def test_an_installation_tells_the_organization(discover, sandbox):
    app = next(app for app in sandbox.world.apps if not app.is_internal)
    found = await discover(DEMO_TOKENS.app, installation_id=app.installations[0].uuid)
    assert (found.organization_slug, found.kind) == ("northwind-rail", CredentialKind.APP_TOKEN)
    with pytest.raises(LinkRefused, match="northwind-rail"):
        await discover(DEMO_TOKENS.app, "lumen-labs", app.installations[0].uuid)
    other = next(app for app in sandbox.world.apps if app.is_internal)
    for installation_id in (other.installations[0].uuid, "8a814438-0000-0000-0000-105ca0f98d1e"):
        with pytest.raises(LinkRefused, match="installation"):
            await discover(DEMO_TOKENS.app, installation_id=installation_id)


async def test_an_organization_token_is_linked_without_rights_to_read_its_organization(discover, sandbox):
    token = DEMO_TOKENS.organization_token(sandbox.url)
    found = await discover(token)
    assert (found.organization_slug, found.organization_id) == ("lumen-labs", None)
    assert found.kind is CredentialKind.ORGANIZATION_TOKEN
    assert set(missing_scopes(found.scopes)) == {"organization", "users", "groups", "projects", "issues"}
    with pytest.raises(LinkRefused, match="lumen-labs"):
        await discover(token, "paper-boat")


@pytest.mark.parametrize("token", [DEMO_TOKENS.expired, "sntryu_" + "99" * 32, "sntryi_" + "99" * 32])
async def test_a_dead_token_says_to_make_a_new_one(discover, token):
    with pytest.raises(UpstreamUnauthorized) as caught:
        await discover(token, "lumen-labs")
    assert "new token" in (caught.value.cure or "")
    assert caught.value.upstream_status == 401


async def test_an_unknown_organization_says_where_slugs_are(discover):
    with pytest.raises(BadInput, match="nope") as caught:
        await discover(DEMO_TOKENS.admin, "nope")
    assert "/settings/" in (caught.value.cure or "")
    for malformed in ("Paper Boat", "..", "a/b", "https://sentry.io/organizations/a/", "é", "x" * 201):
        with pytest.raises(BadInput, match="not a slug"):
            await discover(DEMO_TOKENS.admin, malformed)


async def test_projects_are_found_by_slug_and_by_id(sandbox):
    policy = EgressPolicy([Origin.parse(sandbox.url)])
    transport = create_transport(policy, limit=10)
    discovery = discovery_of(transport, DEMO_TOKENS.admin, sandbox.url, policy)
    client, account = discovery._client, discovery._account
    account = replace(account, organization="lumen-labs")
    one, two = sandbox.world.organizations[0].projects[:2]
    expected = [{"id": str(one.id), "slug": one.slug}, {"id": str(two.id), "slug": two.slug}]
    assert await find_projects(client, account, [one.slug, str(two.id), str(one.id)], []) == expected
    with pytest.raises(BadInput, match="`nope`"):
        await find_projects(client, account, [one.slug, "nope"], [])
    with pytest.raises(BadInput, match="names none"):
        await find_projects(client, account, [], [])
    await transport.aclose()


# --- at servers of other shapes ---


async def test_all_regions_of_sentry_io_are_listed():
    upstream = Upstream(
        {
            "sentry.io/": ROOT,
            "sentry.io/users/me/regions/": REGIONS,
            "us.sentry.io/organizations/": [],
            "de.sentry.io/organizations/": [organization("acme", "https://de.sentry.io")],
        }
    )
    found = await discovery_of(upstream, TOKEN).discover(None, None)
    assert (found.organization_slug, found.control, found.api) == (
        "acme",
        SENTRY_IO,
        Origin.parse("https://de.sentry.io"),
    )
    assert upstream.tokens == {f"Bearer {TOKEN}"}


async def test_a_region_that_refuses_the_list_counts_as_empty():
    upstream = Upstream(
        {
            "sentry.io/": ROOT,
            "sentry.io/users/me/regions/": REGIONS,
            "us.sentry.io/organizations/": 403,
            "de.sentry.io/organizations/": [organization("acme", "https://de.sentry.io")],
        }
    )
    assert (await discovery_of(upstream, TOKEN).discover(None, None)).organization_slug == "acme"


async def test_a_region_that_is_down_is_not_taken_for_empty():
    upstream = Upstream(
        {
            "sentry.io/": ROOT,
            "sentry.io/users/me/regions/": REGIONS,
            "us.sentry.io/organizations/": 503,
            "de.sentry.io/organizations/": [organization("acme", "https://de.sentry.io")],
        }
    )
    with pytest.raises(UpstreamUnavailable):
        await discovery_of(upstream, TOKEN).discover(None, None)


async def test_a_sentry_of_thousands_of_regions_is_not_asked_in_each():
    """All of them may be names that lead to somebody else's addresses."""
    named = [{"name": "x", "url": f"https://r{number}.sentry.io"} for number in range(21)]
    upstream = Upstream({"sentry.io/": ROOT, "sentry.io/users/me/regions/": {"regions": named}})
    with pytest.raises(LinkRefused, match="21 regions"):
        await discovery_of(upstream, TOKEN).survey(None, None)
    assert upstream.asked == ["sentry.io/", "sentry.io/users/me/regions/"]


async def test_more_organizations_than_anybody_chooses_from_are_asked_for_by_slug():
    listed = [organization(f"org-{number}") for number in range(1001)]
    upstream = Upstream({"sentry.io/": ROOT, "sentry.io/organizations/": listed})
    assert (await discovery_of(upstream, TOKEN).survey(None, None))[2] == []
    upstream = Upstream({"sentry.io/": ROOT, "sentry.io/organizations/": listed[:1000]})
    assert len((await discovery_of(upstream, TOKEN).survey(None, None))[2]) == 1000


@pytest.mark.parametrize(
    "change", [{"slug": "a" * 201}, {"slug": "../b"}, {"slug": "a\0"}, {"id": "1" * 65}, {"id": "\0"}]
)
async def test_an_organization_that_cannot_be_is_refused(change):
    """On PostgreSQL such a row would not even be stored."""
    listed = [organization("acme") | change, organization("other")]
    upstream = Upstream({"sentry.io/": ROOT, "sentry.io/organizations/": listed})
    assert [each.slug for each in (await discovery_of(upstream, TOKEN).survey(None, None))[2]] == ["other"]
    upstream = Upstream({"sentry.io/": ROOT, "sentry.io/organizations/acme/": organization("acme") | change})
    with pytest.raises(LinkRefused):
        await discovery_of(upstream, TOKEN).discover("acme", None)


@pytest.mark.parametrize("slug", ["a" * 201, "../b", "a\0"])
async def test_an_organization_token_of_no_slug_is_refused(slug):
    token = write_organization_token("https://sentry.io", slug, "s" * 43)
    with pytest.raises(LinkRefused, match="slug"):
        await discovery_of(Upstream({"sentry.io/": ROOT}), token).discover(None, None)


@pytest.mark.parametrize("refusal", [401, 403, 404, {"unexpected": []}])
async def test_where_regions_are_not_listed_the_named_origin_is_asked(refusal):
    upstream = Upstream(
        {
            "sentry.io/": ROOT,
            "sentry.io/users/me/regions/": refusal,
            "de.sentry.io/organizations/": [organization("acme", "https://de.sentry.io")],
        }
    )
    found = await discovery_of(upstream, TOKEN, "https://de.sentry.io").discover(None, None)
    assert (found.control, found.api) == (SENTRY_IO, Origin.parse("https://de.sentry.io"))


@pytest.mark.parametrize(
    "region",
    [
        "https://us.sentry.io.evil.example",
        "https://evil.example",
        "http://us.sentry.io",
        "https://sentry.io@evil.example",
        "https://10.0.0.1",
        "not an address",
        "",
    ],
)
async def test_a_region_of_another_domain_never_gets_the_token(region):
    listed = {"regions": [{"name": "x", "url": region}]}
    upstream = Upstream({"sentry.io/": ROOT, "sentry.io/users/me/regions/": listed})
    with pytest.raises(EgressRefused):
        await discovery_of(upstream, TOKEN).discover(None, None)
    named = Upstream({"sentry.io/": ROOT, "sentry.io/organizations/acme/": organization("acme", region or " ")})
    with pytest.raises(EgressRefused) as caught:
        await discovery_of(named, TOKEN).discover("acme", None)
    assert "origin" in (caught.value.cure or "")
    assert {asked.partition("/")[0] for asked in upstream.asked + named.asked} == {"sentry.io"}


@pytest.mark.parametrize("region", ["https://us.sentry.io:22", "https://us.sentry.io:6379"])
async def test_a_region_on_a_refused_port_is_refused(region):
    upstream = Upstream({"sentry.io/": ROOT, "sentry.io/organizations/acme/": organization("acme", region)})
    with pytest.raises(EgressRefused, match="Port"):
        await discovery_of(upstream, TOKEN).discover("acme", None)


async def test_a_server_that_knows_no_regions_is_its_own():
    upstream = Upstream(
        {"errors.acme.example/glitch/": ROOT, "errors.acme.example/glitch/organizations/": [organization("acme", None)]}
    )
    found = await discovery_of(upstream, TOKEN, "https://errors.acme.example/glitch").discover(None, None)
    assert found.api == found.control == Origin.parse("https://errors.acme.example/glitch")


async def test_an_organization_token_goes_to_the_region_it_names():
    token = write_organization_token("https://sentry.io", "acme", "s" * 43).replace("=", "")
    upstream = Upstream({"sentry.io/": {"auth": {"scopes": ["org:ci"]}, "user": None}})
    found = await discovery_of(upstream, token).discover(None, None)
    assert (found.organization_slug, found.organization_id, found.api) == ("acme", None, SENTRY_IO)


async def test_an_organization_token_that_may_read_tells_more():
    token = write_organization_token("https://sentry.io", "acme", "s" * 43)
    upstream = Upstream(
        {"sentry.io/": {"auth": {"scopes": ["org:read"]}}, "sentry.io/organizations/acme/": organization("acme")}
    )
    found = await discovery_of(upstream, token).discover("acme", None)
    assert (found.organization_id, found.organization_name) == ("2", "Acme")


async def test_a_token_of_nobody_is_of_an_unknown_kind():
    upstream = Upstream(
        {"sentry.io/": {"auth": {"scopes": ["org:read"]}}, "sentry.io/organizations/acme/": organization("acme")}
    )
    found = await discovery_of(upstream, "a" * 64).discover("acme", None)
    assert found.kind is CredentialKind.UNKNOWN_TOKEN


@pytest.mark.parametrize("root", [{"version": "0", "auth": None, "user": None}, {}])
async def test_an_answer_of_200_without_auth_is_not_enough(root):
    with pytest.raises(UpstreamUnauthorized, match="does not know") as caught:
        await discovery_of(Upstream({"sentry.io/": root}), TOKEN).discover("acme", None)
    assert "new token" in (caught.value.cure or "")


async def test_what_sentry_explains_itself_keeps_its_cure():
    detail = {"detail": {"code": "sso-required", "message": "Must login via SSO", "extra": {}}}
    upstream = Upstream({"sentry.io/": lambda _: httpx.Response(401, json=detail)})
    with pytest.raises(UpstreamUnauthorized) as caught:
        await discovery_of(upstream, TOKEN).discover("acme", None)
    assert "single sign-on" in (caught.value.cure or "")


@pytest.mark.parametrize(
    "answer", [404, [], lambda _: httpx.Response(200, text="<html>"), lambda _: httpx.Response(301, text="")]
)
async def test_what_is_no_sentry_is_said(answer):
    upstream = Upstream({"errors.acme.example/": answer})
    with pytest.raises(BadInput, match="There is no Sentry") as caught:
        await discovery_of(upstream, TOKEN, "https://errors.acme.example").discover("acme", None)
    assert "origin" in (caught.value.cure or "")


async def test_a_token_without_rights_says_which_it_needs():
    upstream = Upstream(
        {"sentry.io/": {"auth": {"scopes": ["event:read"]}, "user": None}, "sentry.io/organizations/acme/": 403}
    )
    with pytest.raises(MissingScope) as caught:
        await discovery_of(upstream, TOKEN).discover("acme", None)
    assert caught.value.missing_scopes == ["org:read"]
    assert "org:read" in (caught.value.cure or "")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.ConnectError("refused"), UpstreamUnavailable),
        (httpx.ReadError("reset"), UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (429, RateLimited),
    ],
)
async def test_an_unreachable_sentry_may_be_tried_again(answer, error):
    with pytest.raises(error) as caught:
        await discovery_of(Upstream({"sentry.io/": answer}), TOKEN).discover("acme", None)
    assert caught.value.retryable
    assert caught.value.cure


@pytest.mark.parametrize("origin", ["http://errors.acme.example", "https://127.0.0.1", "https://[::1]:8443"])
async def test_refused_origins_are_not_asked(origin):
    upstream = Upstream({})
    with pytest.raises(EgressRefused):
        await discovery_of(upstream, TOKEN, origin).discover("acme", None)
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("scopes", "is_refused"), [([], True), (["org:ci"], True), (["project:read"], False), (["project:admin"], False)]
)
async def test_no_projects_at_all_mean_something_only_to_whom_may_see_some(scopes, is_refused):
    upstream = Upstream({"sentry.io/organizations/acme/projects/": []})
    discovery = discovery_of(upstream, TOKEN)
    client, account = discovery._client, replace(discovery._account, organization="acme")
    if is_refused:
        with pytest.raises(MissingScope, match="says nothing") as refused:
            await list_projects(client, account, scopes)
        assert refused.value.missing_scopes == ["project:read"]
    else:
        assert await list_projects(client, account, scopes) == []
        with pytest.raises(BadInput, match="`web`"):
            await find_projects(client, account, ["web"], scopes)
