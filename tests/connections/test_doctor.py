"""The token doctor over a Sentry of canned answers: what each state is called, and what a look costs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from service.columns import now
from service.connections.clients import Clients
from service.connections.diagnosis import Diagnosis, Severity
from service.connections.doctor import Doctor
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionProblem, ConnectionRecord, ConnectionStatus, CredentialKind
from service.connections.vault import Vault, bind_refresh_token
from service.db import Database
from service.errors import NotFound
from service.sentry.egress import EgressPolicy
from service.sentry.oauth import OAuthClient
from service.sentry.origin import Origin
from service.sentry.profiles import SCOPES, Profile
from service.tenants.caller import Caller
from tests.connections.factory import ACME, build_accounts, seal_with
from tests.connections.upstream import Upstream, client_of, organization

EVERYTHING = list(SCOPES[Profile.FULL])
HERE, US = "sentry.io", "us.sentry.io"
INSTALLATION = "2b4d9b0a-3f5e-4d8e-9a52-8f6b5d1c7e10"


def root(*scopes: str) -> dict[str, Any]:
    return {"version": "0", "auth": {"scopes": list(scopes)}, "user": {"id": "1", "email": "a@acme.example"}}


def acme(access: list[str] | None = EVERYTHING, role: str | None = "owner", **changes: Any) -> dict[str, Any]:
    return organization("acme") | {"access": access, "orgRole": role} | changes


HEALTHY = {f"{HERE}/": root(*EVERYTHING), f"{US}/organizations/acme/": acme()}


@dataclass
class Examined:
    """A connection, and what a doctor says of it."""

    upstream: Upstream
    connection: ConnectionRecord
    diagnosis: Diagnosis

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.diagnosis.findings]

    def finding(self, code: str):
        (found,) = [finding for finding in self.diagnosis.findings if finding.code == code]
        return found


Examine = Callable[..., Awaitable[Examined]]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One engine is enough: what is asked is Sentry."""
    return sqlite_url


@pytest.fixture
async def examine(database: Database, store, vault: Vault, admin: Caller):
    """``await examine(answers, **link)`` links a connection and has it diagnosed."""

    async def examine(
        answers: dict[str, Any],
        change: Callable[[ConnectionRecord], None] | None = None,
        *,
        upstream: Upstream | None = None,
        clients: Clients | None = None,
        client_id: str | None = None,
        **link: Any,
    ) -> Examined:
        def seal(connection: ConnectionRecord) -> SealedToken:
            token = seal_with(vault)(connection)
            if client_id is None:
                return token
            refresh = vault.seal(b"refresh", binding=bind_refresh_token(connection))
            return replace(token, client_id=client_id, refresh=refresh)

        connection = await store.link(admin, replace(ACME, **{"scopes": EVERYTHING, **link}), seal)
        if change is not None:

            async def work(session) -> None:
                change(await session.get(ConnectionRecord, connection.id))

            await database.run_transaction(work)
            await store.update(admin, connection.id)  # so that the store forgets what it remembers
        upstream = upstream or Upstream(answers)
        client = client_of(upstream, EgressPolicy())
        accounts = build_accounts(database, store, vault, client)
        diagnosis = await Doctor(client, store, accounts, clients or Clients(), probe_seconds=0.5).diagnose(
            admin, connection.id
        )
        await client.aclose()
        assert len(upstream.asked) <= 6
        return Examined(upstream, connection, diagnosis)

    return examine


# --- health ---


async def test_a_healthy_connection_has_no_findings_and_costs_two_calls(examine: Examine):
    examined = await examine(HEALTHY)
    assert examined.codes == []
    assert sorted(examined.upstream.asked) == [f"{HERE}/", f"{US}/organizations/acme/"]
    diagnosis = examined.diagnosis
    assert diagnosis.is_live
    assert not diagnosis.is_refreshable
    assert diagnosis.scopes == sorted(EVERYTHING)
    assert diagnosis.access == sorted(EVERYTHING)
    assert diagnosis.role == "owner"
    assert all(feature.is_available and not feature.any_of for feature in diagnosis.features or ())


async def test_a_foreign_connection_is_missing(examine: Examine, database, store, vault, stranger):
    examined = await examine(HEALTHY)
    upstream = Upstream(HEALTHY)
    client = client_of(upstream, EgressPolicy())
    doctor = Doctor(client, store, build_accounts(database, store, vault, client), Clients())
    for connection_id in (examined.connection.id, "con_" + "0" * 26, "nonsense"):
        with pytest.raises(NotFound, match=r"^There is no such connection\.$"):
            await doctor.diagnose(stranger, connection_id)
    assert upstream.asked == []


# --- rights ---


async def test_scopes_that_the_token_lacks_are_named_by_feature(examine: Examine):
    scopes = ["org:read", "project:read"]
    examined = await examine({f"{HERE}/": root(*scopes), f"{US}/organizations/acme/": acme(scopes)}, scopes=scopes)
    assert examined.codes == ["MISSING_SCOPE"] * 3
    features = {feature.name: feature for feature in examined.diagnosis.features or ()}
    assert {name for name, feature in features.items() if not feature.is_available} == {"users", "groups", "issues"}
    assert features["users"].any_of == ("member:read", "member:write", "member:admin")
    assert not features["users"].is_limited_by_role
    assert {finding.cure for finding in examined.diagnosis.findings} == {
        f"Link again with a token that holds `{scope}`." for scope in ("member:read", "team:read", "event:read")
    }


async def test_what_the_role_forbids_is_told_from_what_the_token_lacks(examine: Examine):
    access = ["org:read", "project:read", "team:read", "event:read"]
    examined = await examine({**HEALTHY, f"{US}/organizations/acme/": acme(access, "member")})
    assert examined.codes == ["MISSING_ROLE"]
    finding = examined.finding("MISSING_ROLE")
    assert "`member`" in finding.message
    assert "users" in finding.message
    (users,) = [feature for feature in examined.diagnosis.features or () if feature.name == "users"]
    assert (users.is_available, users.is_limited_by_role, users.any_of) == (False, True, ())


async def test_a_sentry_that_does_not_tell_the_access_limits_nothing(examine: Examine):
    examined = await examine({**HEALTHY, f"{US}/organizations/acme/": acme(None, None)})
    assert examined.codes == []
    assert examined.diagnosis.access is None


@pytest.mark.parametrize(
    ("scopes", "access", "says"),
    [
        (SCOPES[Profile.READ], SCOPES[Profile.READ], "event:write"),
        (EVERYTHING, SCOPES[Profile.READ], "role"),
    ],
)
async def test_a_profile_that_the_credential_cannot_fill_is_told(examine: Examine, scopes, access, says):
    answers = {f"{HERE}/": root(*scopes), f"{US}/organizations/acme/": acme(list(access), "member")}
    examined = await examine(answers, scopes=list(scopes), profile=Profile.TRIAGE)
    assert examined.codes == ["PROFILE_NOT_COVERED"]
    assert says in examined.finding("PROFILE_NOT_COVERED").message


async def test_scopes_that_changed_in_sentry_are_told(examine: Examine):
    examined = await examine(HEALTHY, scopes=["org:read"])
    assert examined.codes == ["SCOPES_CHANGED"]


async def test_an_organization_token_that_may_not_read_its_organization_is_not_told_so_twice(examine: Examine):
    answers = {f"{HERE}/": root("org:ci"), f"{US}/organizations/acme/": 403}
    kind = CredentialKind.ORGANIZATION_TOKEN
    examined = await examine(answers, scopes=["org:ci"], authentication=kind, organization_id=None)
    assert set(examined.codes) == {"MISSING_SCOPE"}
    assert {finding.severity for finding in examined.diagnosis.findings} == {Severity.WARNING}


async def test_a_refused_organization_that_the_scopes_would_allow_is_an_error(examine: Examine):
    examined = await examine({**HEALTHY, f"{US}/organizations/acme/": 403})
    assert examined.codes == ["MISSING_SCOPE"]
    assert examined.finding("MISSING_SCOPE").severity is Severity.ERROR


# --- the token ---


def refuse(detail: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(401, json={"detail": detail})


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        ("Invalid token", "TOKEN_REVOKED"),
        ("Token expired", "TOKEN_EXPIRED"),
        ("User inactive or deleted", "USER_INACTIVE"),
        ("UserApplication inactive or deleted", "APPLICATION_DISABLED"),
        ({"code": "sso-required", "message": "Must login via SSO"}, "SSO_REQUIRED"),
        ({"code": "2fa-required", "message": "2FA"}, "TWO_FACTOR_REQUIRED"),
    ],
)
async def test_each_refusal_has_its_name_once(examine: Examine, detail, code):
    answers = {f"{HERE}/": refuse(detail), f"{US}/organizations/acme/": refuse(detail)}
    examined = await examine(answers)
    assert examined.codes == [code]
    assert examined.finding(code).severity is Severity.ERROR
    assert examined.diagnosis.features is None


async def test_a_token_that_the_root_does_not_know_is_revoked(examine: Examine):
    """``/api/0/`` answers 200 to anybody."""
    answers = {f"{HERE}/": {"version": "0", "auth": None}, f"{US}/organizations/acme/": refuse("Invalid token")}
    assert (await examine(answers)).codes == ["TOKEN_REVOKED"]


@pytest.mark.parametrize(
    ("left", "codes"),
    [
        (timedelta(days=-1), ["TOKEN_EXPIRED"]),
        (timedelta(days=2), ["TOKEN_EXPIRES_SOON"]),
        (timedelta(days=20), []),
    ],
)
async def test_the_end_of_a_token_that_cannot_be_renewed_is_told_ahead(examine: Examine, left, codes):
    def expire(connection: ConnectionRecord) -> None:
        connection.expires_at = now() + left

    assert (await examine(HEALTHY, expire)).codes == codes


# --- the organization ---


async def test_an_organization_that_is_gone_is_told_and_looked_for(examine: Examine):
    examined = await examine({f"{HERE}/": root(*EVERYTHING), f"{US}/organizations/": []})
    assert examined.codes == ["ORGANIZATION_GONE"]
    assert len(examined.upstream.asked) == 4


async def test_a_renamed_organization_is_found_by_its_id(examine: Examine):
    examined = await examine({f"{HERE}/": root(*EVERYTHING), f"{US}/organizations/": [organization("acme-inc")]})
    assert examined.codes == ["ORGANIZATION_RENAMED"]
    assert "`acme-inc`" in examined.finding("ORGANIZATION_RENAMED").cure


async def test_an_integration_asks_for_the_renamed_organization_by_its_id(examine: Examine):
    answers = {f"{HERE}/": root(*EVERYTHING), f"{US}/organizations/2/": organization("acme-inc")}
    examined = await examine(answers, authentication=CredentialKind.INTERNAL_TOKEN)
    assert examined.codes == ["ORGANIZATION_RENAMED"]


async def test_a_slug_that_went_to_another_organization_is_an_error(examine: Examine):
    examined = await examine({**HEALTHY, f"{US}/organizations/acme/": acme(id="77")})
    assert examined.codes == ["ORGANIZATION_REPLACED"]


async def test_an_organization_in_another_region_is_told(examine: Examine):
    moved = organization("acme", "https://de.sentry.io")
    examined = await examine({f"{HERE}/": root(*EVERYTHING), f"{HERE}/organizations/acme/": moved})
    assert examined.codes == ["WRONG_REGION"]
    assert "https://de.sentry.io" in examined.finding("WRONG_REGION").message
    assert "https://us.sentry.io" in examined.finding("WRONG_REGION").message


async def test_an_organization_that_names_another_address_is_told(examine: Examine):
    links = {"regionUrl": "https://eu.sentry.io"}
    examined = await examine({**HEALTHY, f"{US}/organizations/acme/": acme(links=links)})
    assert examined.codes == ["WRONG_REGION"]
    assert examined.finding("WRONG_REGION").severity is Severity.WARNING


# --- installations ---


async def test_an_installation_is_looked_at_for_one_call_more(examine: Examine):
    path = f"{HERE}/sentry-app-installations/{INSTALLATION}/"
    link = {"authentication": CredentialKind.APP_TOKEN, "installation_id": INSTALLATION}
    installed = {"organization": {"slug": "acme"}, "status": "installed"}
    examined = await examine({**HEALTHY, path: installed}, **link)
    assert examined.codes == []
    assert len(examined.upstream.asked) == 3
    assert (await examine({**HEALTHY, path: installed | {"status": "pending"}}, **link)).codes == [
        "INSTALLATION_PENDING"
    ]
    assert (await examine(HEALTHY, **link)).codes == ["INSTALLATION_GONE"]


async def test_an_installation_names_the_renamed_organization(examine: Examine):
    path = f"{HERE}/sentry-app-installations/{INSTALLATION}/"
    answers = {f"{HERE}/": root(*EVERYTHING), path: {"organization": {"slug": "acme-inc"}, "status": "installed"}}
    examined = await examine(answers, authentication=CredentialKind.APP_TOKEN, installation_id=INSTALLATION)
    assert examined.codes == ["ORGANIZATION_RENAMED"]
    assert len(examined.upstream.asked) == 3


# --- clocks, limits, failures ---


@pytest.mark.parametrize(("ahead", "codes"), [(120, ["CLOCK_SKEWED"]), (-120, ["CLOCK_SKEWED"]), (5, [])])
async def test_clocks_that_differ_are_told(examine: Examine, ahead, codes):
    def answer(_: httpx.Request) -> httpx.Response:
        date = formatdate(time.time() + ahead, usegmt=True)
        return httpx.Response(200, json=root(*EVERYTHING), headers={"date": date})

    examined = await examine({**HEALTHY, f"{HERE}/": answer})
    assert examined.codes == codes
    assert examined.diagnosis.clock_skew == pytest.approx(ahead, abs=3)
    if codes:
        assert ("ahead of" if ahead > 0 else "behind") in examined.finding("CLOCK_SKEWED").message


@pytest.mark.parametrize(("remaining", "codes"), [("3", ["RATE_LIMIT_LOW"]), ("4", []), ("40", [])])
async def test_a_limit_that_is_nearly_used_up_is_told(examine: Examine, remaining, codes):
    headers = {
        "x-sentry-rate-limit-limit": "40",
        "x-sentry-rate-limit-remaining": remaining,
        "x-sentry-rate-limit-reset": str(int(time.time()) + 5),
    }
    examined = await examine(
        {**HEALTHY, f"{US}/organizations/acme/": lambda _: httpx.Response(200, json=acme(), headers=headers)}
    )
    assert examined.codes == codes
    assert examined.diagnosis.rate_limit is not None
    assert examined.diagnosis.rate_limit.remaining == int(remaining)


async def test_each_question_fails_by_itself(examine: Examine):
    examined = await examine({**HEALTHY, f"{HERE}/": 500})
    assert examined.codes == ["UPSTREAM_UNAVAILABLE"]
    assert examined.finding("UPSTREAM_UNAVAILABLE").severity is Severity.WARNING
    assert examined.diagnosis.role == "owner"


async def test_a_sentry_that_is_not_there_any_more_is_told(examine: Examine):
    examined = await examine({})
    assert examined.codes == ["ORGANIZATION_GONE", "UPSTREAM_NOT_FOUND"]
    assert "https://sentry.io" in examined.finding("UPSTREAM_NOT_FOUND").message


async def test_a_sentry_that_hangs_is_not_waited_for(examine: Examine):
    class Hanging(Upstream):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await super().handle_async_request(request)
            await asyncio.sleep(60)
            raise AssertionError

    started = time.monotonic()
    examined = await examine({}, upstream=Hanging(HEALTHY))
    assert examined.codes == ["UPSTREAM_TIMEOUT"]
    assert len(examined.upstream.asked) == 2
    assert time.monotonic() - started < 3


# --- what is stored ---


async def test_what_cannot_be_used_is_judged_without_asking_sentry(examine: Examine):
    def end(connection: ConnectionRecord) -> None:
        connection.status, connection.problem = ConnectionStatus.NEEDS_REAUTH, ConnectionProblem.REFRESH_LOST

    examined = await examine(HEALTHY, end)
    assert examined.codes == ["REFRESH_LOST"]
    assert examined.finding("REFRESH_LOST").severity is Severity.ERROR
    assert not examined.diagnosis.is_live
    assert examined.upstream.asked == []


async def test_trouble_with_refreshing_is_told_while_the_connection_works(examine: Examine):
    def trouble(connection: ConnectionRecord) -> None:
        connection.problem = ConnectionProblem.CLIENT_REFUSED

    examined = await examine(HEALTHY, trouble)
    assert examined.codes == ["CLIENT_REFUSED"]
    assert examined.finding("CLIENT_REFUSED").severity is Severity.WARNING
    assert examined.diagnosis.is_live


async def test_a_client_that_is_not_configured_any_more_is_told_while_the_token_still_works(examine: Examine):
    examined = await examine(HEALTHY, authentication=CredentialKind.OAUTH_TOKEN, client_id="gone")
    assert examined.codes == ["CLIENT_NOT_CONFIGURED"]
    assert examined.diagnosis.is_refreshable
    clients = Clients(oauth=(OAuthClient(Origin.parse("https://sentry.io"), "there", "secret"),))
    link = {"authentication": CredentialKind.OAUTH_TOKEN, "client_id": "there"}
    assert (await examine(HEALTHY, clients=clients, **link)).codes == []
    assert (await examine(HEALTHY, clients=clients, **link | {"authentication": CredentialKind.APP_TOKEN})).codes == [
        "CLIENT_NOT_CONFIGURED"
    ]
