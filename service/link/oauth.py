"""Linking by OAuth: to Sentry's consent page and back."""

from collections.abc import Mapping
from urllib.parse import quote

from service.connections.clients import Clients
from service.connections.link_models import LinkMethod, LinkSessionRecord
from service.connections.models import CredentialKind
from service.link.attempts import Attempts, Claim
from service.link.flow import LinkFlow
from service.link.pending import from_grant
from service.link.problems import LinkProblem, StepRefused
from service.link.records import offered
from service.link.rules import is_at
from service.link.visits import Visit
from service.sentry.client import SentryClient
from service.sentry.oauth import OAuthClient, build_authorize_url, fetch_code_grant
from service.sentry.origin import Origin
from service.sentry.profiles import SCOPES

_LONGEST_CODE = 512


class OAuthWay:
    """Sends browsers to the authorize endpoint, and takes the codes that they bring back."""

    def __init__(
        self, attempts: Attempts, flow: LinkFlow, sentry: SentryClient, clients: Clients, *, public_url: str
    ) -> None:
        self._attempts = attempts
        self._flow = flow
        self._sentry = sentry
        self._clients = clients
        self._public_url = public_url

    def clients(self, record: LinkSessionRecord) -> list[OAuthClient]:
        """Those by which the session may be linked."""
        if LinkMethod.OAUTH not in offered(record):
            return []
        origin = None if record.origin is None else Origin.parse(record.origin)
        return [client for client in self._clients.oauth if is_at(client.origin, origin)]

    async def begin(self, visit: Visit, client_id: str | None) -> str:
        """Where to send the browser. The redirect URI is another one for each client (RFC 9700, section 2.1)."""
        client = next((each for each in self.clients(visit.record) if each.client_id == client_id), None)
        if client is None:
            raise StepRefused(LinkProblem.INVALID_INPUT)
        redirect_uri = f"{self._public_url}/link/oauth/{quote(client.client_id, safe='')}/callback"
        begun = await self._attempts.begin_oauth(
            visit.record, client_id=client.client_id, origin=client.origin.url, redirect_uri=redirect_uri
        )
        return build_authorize_url(
            client,
            redirect_uri=redirect_uri,
            scopes=SCOPES[visit.record.profile],
            state=begun.state,
            code_verifier=begun.code_verifier,
        )

    async def claim(self, state: str, client_id: str, known: Mapping[str, str]) -> Claim:
        """The attempt that a callback answers. Raises :class:`service.link.attempts.CallbackRefused`."""
        return await self._attempts.claim_oauth(state, client_id, known)

    async def finish(self, visit: Visit, claim: Claim, *, state: str, code: str | None, error: str | None) -> None:
        """Exchange the code, at the client's own Sentry, once. Raises :class:`StepRefused` or :class:`ServiceError`."""
        attempt = claim.attempt
        if claim.is_late:
            raise StepRefused(LinkProblem.STATE_EXPIRED)
        if error is not None:
            raise StepRefused(LinkProblem.DENIED if error == "access_denied" else LinkProblem.GRANT_REFUSED)
        if not code or len(code) > _LONGEST_CODE or not code.isascii() or not code.isprintable():
            raise StepRefused(LinkProblem.GRANT_REFUSED)
        client = self._clients.find_oauth(attempt.client_id, Origin.parse(attempt.origin))
        if client is None:
            raise StepRefused(LinkProblem.CLIENT_REFUSED)
        grant = await fetch_code_grant(
            self._sentry,
            client,
            tenant_id=visit.record.tenant_id,
            code=code,
            redirect_uri=attempt.redirect_uri,
            code_verifier=self._attempts.code_verifier(state),
        )
        pending = from_grant(
            grant,
            method=LinkMethod.OAUTH,
            kind=CredentialKind.OAUTH_TOKEN,
            origin=client.origin.url,
            client_id=client.client_id,
            ca=client.ca,
        )
        await self._flow.accept(visit, pending)
