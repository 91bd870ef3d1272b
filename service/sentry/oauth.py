"""OAuth 2 towards Sentry: authorization code with PKCE S256, and refreshing (RFC 6749, 7636).

Checked on Sentry 23.7.1, which ignores the challenge: newer ones demand the verifier of whoever sent one.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from service.sentry.client import SentryClient
from service.sentry.grants import Grant, GrantRequest, GrantType, fetch_grant
from service.sentry.origin import Origin


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """An application that the operator has registered with one Sentry; ``origin`` is its control origin.

    ``ca`` is what :func:`service.sentry.ca.parse_ca` made of the authority's certificate, where that Sentry has a
    private one: accounts that are linked by the application trust it.
    """

    origin: Origin
    client_id: str
    client_secret: str = field(repr=False)
    ca: str | None = field(default=None, repr=False)


def build_authorize_url(
    client: OAuthClient, *, redirect_uri: str, scopes: Collection[str], state: str, code_verifier: str
) -> str:
    """Where the browser goes for the user's consent. ``code_verifier`` is 43 to 128 unreserved characters."""
    url: str = prepare_grant_uri(
        f"{client.origin.url}/oauth/authorize/",
        client.client_id,
        "code",
        redirect_uri=redirect_uri,
        scope=list(scopes),
        state=state,
        code_challenge=create_s256_code_challenge(code_verifier),
        code_challenge_method="S256",
    )
    return url


async def fetch_code_grant(
    sentry: SentryClient,
    client: OAuthClient,
    *,
    tenant_id: str,
    code: str,
    redirect_uri: str,
    code_verifier: str,
) -> Grant:
    """Exchange a code for tokens, at the client's own Sentry and nowhere else. Raises what :func:`fetch_grant` does."""
    request = _build_request(client, GrantType.CODE, code=code, redirect_uri=redirect_uri, code_verifier=code_verifier)
    return await fetch_grant(sentry, request, tenant_id=tenant_id, ca=client.ca)


async def refresh_grant(sentry: SentryClient, client: OAuthClient, *, tenant_id: str, refresh_token: str) -> Grant:
    """Replace both tokens: the old ones are dead at once. Raises what :func:`fetch_grant` does."""
    request = _build_request(client, GrantType.REFRESH, refresh_token=refresh_token)
    return await fetch_grant(sentry, request, tenant_id=tenant_id, ca=client.ca)


def _build_request(client: OAuthClient, kind: GrantType, **fields: str) -> GrantRequest:
    """The client proves itself in the form, as every Sentry understands; newer ones refuse that and Basic together."""
    form: str = prepare_token_request(
        kind.value, client_id=client.client_id, client_secret=client.client_secret, **fields
    )
    return GrantRequest(
        origin=client.origin,
        client_id=client.client_id,
        type=kind,
        path=None,
        body=form.encode("ascii"),
        content_type="application/x-www-form-urlencoded",
    )
