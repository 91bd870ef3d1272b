"""Sentry Apps: installing one for an organization, and the tokens of an installation, which live eight hours.

The newest Sentrys mint a token for the app's signature alone, so that nothing is lost when an answer is. Sentry 23.7.1
answers 401 "Invalid Client ID / Secret pair" to that, which is :attr:`GrantProblem.UNSUPPORTED` here: refresh by the
refresh token there. Each way ends the token before at once.
"""

import re
import time
import uuid
from dataclasses import dataclass, field

import msgspec

from service.errors import BadInput
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.grants import Grant, GrantRequest, GrantType, fetch_grant
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath
from service.sentry.payloads import Installation, decode
from service.sentry.refusals import explain_status

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ASSERTION_SECONDS = 60  # Sentry takes none that lives longer
_TRUSTED_SKEW = 3.0  # a `Date` has whole seconds and is as old as its way


@dataclass(frozen=True, slots=True)
class SentryApp:
    """A public integration that the operator has registered with one Sentry; ``origin`` is its control origin.

    ``previous_client_secret`` still signs webhooks for a while after a rotation. ``verify_install`` says that Sentry
    waits for our confirmation of each installation, and sends no webhooks before. ``ca`` is as in :class:`OAuthClient`.
    """

    origin: Origin
    slug: str
    client_id: str
    client_secret: str = field(repr=False)
    previous_client_secret: str | None = field(default=None, repr=False)
    verify_install: bool = False
    ca: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that may have signed a webhook."""
        previous = self.previous_client_secret
        return (self.client_secret,) if previous is None else (self.client_secret, previous)


def build_install_url(app: SentryApp) -> str:
    """Where the browser goes to install the app. Sentry carries no state through it."""
    slug = ApiPath.of(app.slug)  # so that it is one segment
    return f"{app.origin.url}/sentry-apps/{slug.text}external-install/"


def check_installation_id(text: str) -> str:
    """An installation's id in its one spelling. Raises :class:`BadInput` for anything but a UUID."""
    found = text.lower()
    if _ID.fullmatch(found) is None:  # `uuid.UUID` would also take braces, URNs and digits of other scripts
        raise BadInput("This is not the id of an installation.", cure="Install the app again from its link.")
    return found


async def fetch_installation_grant(
    sentry: SentryClient, app: SentryApp, *, tenant_id: str, installation_id: str, code: str
) -> Grant:
    """Exchange an installation's code, at the app's own Sentry. Raises what :func:`fetch_grant` does."""
    request = _build_request(app, installation_id, GrantType.CODE, code=code)
    return await fetch_grant(sentry, request, tenant_id=tenant_id, ca=app.ca)


async def refresh_installation_grant(
    sentry: SentryClient,
    app: SentryApp,
    *,
    tenant_id: str,
    installation_id: str,
    refresh_token: str,
) -> Grant:
    """Replace both tokens by the refresh token. Raises what :func:`fetch_grant` does."""
    request = _build_request(app, installation_id, GrantType.REFRESH, refresh_token=refresh_token)
    return await fetch_grant(sentry, request, tenant_id=tenant_id, ca=app.ca)


async def mint_installation_grant(
    sentry: SentryClient, app: SentryApp, *, tenant_id: str, installation_id: str
) -> Grant:
    """Replace both tokens by the app's signature alone, where Sentry knows how. Raises what :func:`fetch_grant` does.

    Nothing is spent by it: what was lost can be asked for again. sentry.io has been seen to answer 401 now and then
    without a cause, so one :attr:`GrantProblem.INVALID_CLIENT` from here means little.
    """
    now = time.time()
    skew = sentry.clock_skew(app.origin)
    if skew is not None and abs(skew) > _TRUSTED_SKEW:
        now += skew
    request = GrantRequest(
        origin=app.origin,
        client_id=app.client_id,
        type=GrantType.ASSERTION,
        path=_authorizations(installation_id),
        body=msgspec.json.encode({"grant_type": GrantType.ASSERTION.value}),
        content_type="application/json",
        assertion=build_assertion(app, now=now),
    )
    return await fetch_grant(sentry, request, tenant_id=tenant_id, ca=app.ca)


def build_assertion(app: SentryApp, *, now: float) -> str:
    """A JWT that proves the app to Sentry once, within a minute (RFC 7523, section 2.2). ``now`` is Sentry's epoch."""
    # Not at the top: they take 2 MiB, which only Sentry apps are worth.
    from joserfc import jwt  # noqa: PLC0415
    from joserfc.jwk import OctKey  # noqa: PLC0415

    issued = int(now)
    claims = {
        "iss": app.client_id,
        "sub": app.client_id,
        "iat": issued,
        "exp": issued + _ASSERTION_SECONDS,
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(app.client_secret))


async def confirm_installation(sentry: SentryClient, account: Account, installation_id: str) -> Installation:
    """Tell Sentry that the installation has arrived here, which it waits for where the app verifies installs.

    ``account`` has the installation's token. It may be done again where the outcome is unknown. Raises what
    :meth:`SentryClient.send` does, and the error of a refusal.
    """
    path = ApiPath.of("sentry-app-installations", check_installation_id(installation_id))
    body = msgspec.json.encode({"status": "installed"})
    response = await sentry.send(account, "PUT", path, body=body, control=True)
    if response.status >= 300:
        raise explain_status(response.status, response.headers, response.body, method="PUT", now=time.time())
    return decode(response.body, Installation)


def _build_request(app: SentryApp, installation_id: str, kind: GrantType, **fields: str) -> GrantRequest:
    body = {"grant_type": kind.value, **fields, "client_id": app.client_id, "client_secret": app.client_secret}
    return GrantRequest(
        origin=app.origin,
        client_id=app.client_id,
        type=kind,
        path=_authorizations(installation_id),
        body=msgspec.json.encode(body),
        content_type="application/json",
    )


def _authorizations(installation_id: str) -> ApiPath:
    return ApiPath.of("sentry-app-installations", check_installation_id(installation_id), "authorizations")
