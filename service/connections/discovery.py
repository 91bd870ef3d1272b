"""What a token reaches: asked of Sentry before anything is stored. Each refusal says what to do about it."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from msgspec.structs import replace

from service.connections.credentials import Credential, missing_scopes, refuse_empty, settle_kind
from service.connections.models import CredentialKind
from service.errors import (
    BadInput,
    EgressRefused,
    LinkRefused,
    MissingScope,
    OrganizationRequired,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamUnauthorized,
)
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin, region_is_trusted
from service.sentry.payloads import ApiRoot, Organization, Project
from service.sentry.reads import (
    fetch_installation,
    fetch_organization,
    fetch_organizations,
    fetch_projects,
    fetch_regions,
    fetch_root,
)
from service.tasks import together

SENTRY_IO = Origin.parse("https://sentry.io")

_NEW_TOKEN = "Make a new token in Sentry and link with that one; an expired or revoked token cannot be renewed."  # noqa: S105 - a cure
_SLUG = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")
_SCOPE = re.compile(r"[!-~]{1,64}\Z")
# Whoever opens a link page may name a Sentry of their own: what it says is bounded before it is asked for or kept.
_LONGEST_ID = 64
_MOST_SCOPES = 200
_MOST_REGIONS = 20
_MOST_ORGANIZATIONS = 1000
_NOT_A_SENTRY = "Check `origin`: what answers there is no Sentry that we know."
_WHERE_SLUGS_ARE = "the part of its address after /organizations/ or /settings/, or before .sentry.io"


@dataclass(frozen=True, slots=True)
class Discovered:
    """What was found. ``organization_id`` is None where the token may not ask for it."""

    kind: CredentialKind
    scopes: list[str]
    control: Origin
    api: Origin
    organization_id: str | None
    organization_slug: str
    organization_name: str


def find_origins(credential: Credential, named: Origin) -> tuple[Origin, Origin]:
    """``(control, api)`` to begin with: the origin that knows the token, and the one that was named.

    sentry.io knows the tokens of all its regions and organizations (``us.sentry.io``, ``acme.sentry.io``). An
    organization token names its Sentry itself; raises :class:`LinkRefused` where another one than that was named.
    """
    control, embedded = find_control(named), _parse_or_none(credential.url)
    if embedded is None or find_control(embedded) == control:
        return control, named
    if control != SENTRY_IO:
        raise LinkRefused(
            f"This organization token belongs to {embedded}, not to {named}.", cure=f"Link with origin {embedded}."
        )
    return find_control(embedded), embedded


class Discovery:
    """Asks one Sentry about one token."""

    def __init__(self, client: SentryClient, policy: EgressPolicy, credential: Credential, account: Account) -> None:
        """``account`` is where to begin: its control is the token's, its api the origin that was named."""
        self._client = client
        self._policy = policy
        self.credential = credential
        self._account = account

    async def discover(self, organization: str | None, installation_id: str | None) -> Discovered:
        """Check the token, find its organization and where that lives.

        Raises :class:`UpstreamUnauthorized`, :class:`OrganizationRequired`, :class:`LinkRefused`,
        :class:`EgressRefused`, :class:`MissingScope`, :class:`BadInput`, and what calling Sentry raises.
        """
        kind, scopes, own = await self._identify(installation_id)
        slug = _agree(own, organization)
        if slug is None:
            found = await self._choose()
        elif kind is CredentialKind.ORGANIZATION_TOKEN:
            return await self._trust_token(slug, scopes)
        else:
            found = await self._verify(slug, scopes)
        return self._place(kind, scopes, found)

    async def survey(
        self, organization: str | None, installation_id: str | None
    ) -> tuple[CredentialKind, list[str], list[Organization]]:
        """The kind, its scopes, and the organizations to choose from.

        They are empty where Sentry does not list them, or lists more than anybody would choose from.

        Raises what :meth:`discover` does, but for :class:`OrganizationRequired`.
        """
        kind, scopes, own = await self._identify(installation_id)
        slug = _agree(own, organization)
        if slug is None:
            found = await self._list()
            return kind, scopes, found if len(found) <= _MOST_ORGANIZATIONS else []
        if kind is CredentialKind.ORGANIZATION_TOKEN:
            trusted = await self._trust_token(slug, scopes)
            return kind, scopes, [Organization(id=trusted.organization_id or "", slug=slug, name=slug)]
        return kind, scopes, [await self._verify(slug, scopes)]

    async def _identify(self, installation_id: str | None) -> tuple[CredentialKind, list[str], str | None]:
        """The credential's kind, its scopes, and the slug of the organization that it belongs to, if to one."""
        for origin in (self._account.control, self._account.api):
            self._policy.check_origin(origin)
        root = await self._check_token()
        scopes = [scope for scope in root.auth.scopes if _SCOPE.match(scope)][:_MOST_SCOPES] if root.auth else []
        kind = settle_kind(
            self.credential,
            has_user=root.user is not None,
            user_email=root.user.email if root.user else None,
            is_app=installation_id is not None,
        )
        own = self.credential.organization
        if installation_id is not None:
            own = await self._find_installed(installation_id)
        return kind, scopes, own

    async def _check_token(self) -> ApiRoot:
        """``/api/0/`` answers 200 to anybody: what counts is ``auth``."""
        try:
            root = await fetch_root(self._client, self._account)
        except UpstreamUnauthorized as error:
            if error.cure == UpstreamUnauthorized.cure:  # else Sentry said more, such as that single sign-on is missing
                error.cure = _NEW_TOKEN
            raise
        except (UpstreamNotFound, UpstreamInvalid):
            raise BadInput(
                f"There is no Sentry at {self._account.control}.",
                cure="Check `origin`: scheme, host, port, and the path if Sentry is below one.",
            ) from None
        if root.auth is None:
            raise UpstreamUnauthorized("Sentry does not know this token.", cure=_NEW_TOKEN)
        return root

    async def _find_installed(self, installation_id: str) -> str:
        try:
            installation = await fetch_installation(self._client, self._account, installation_id)
        except (MissingScope, UpstreamNotFound):
            raise LinkRefused(
                "The installation is not this token's.", cure="Use the installationId that came with the token."
            ) from None
        return _check_slug(installation.organization.slug)

    async def _choose(self) -> Organization:
        """The only organization that the token sees."""
        found = await self._list()
        if not found:
            raise OrganizationRequired(
                "Sentry does not tell which organization this token is for.",
                organizations=[],
                cure=f"Repeat with `organization` set to its slug: {_WHERE_SLUGS_ARE}.",
            )
        if len(found) > 1:
            raise OrganizationRequired(
                f"This token reaches {len(found)} organizations.", organizations=sorted(each.slug for each in found)
            )
        return found[0]

    async def _list(self) -> list[Organization]:
        """Organizations of all regions; where Sentry does not list regions, those at the origin that was named."""
        try:
            named = {region.url for region in await fetch_regions(self._client, self._account)}
            if len(named) > _MOST_REGIONS:
                raise LinkRefused(f"Sentry at {self._account.control} names {len(named)} regions.", cure=_NOT_A_SENTRY)
            regions = [self._find_api(url) for url in sorted(named)]
        except (MissingScope, UpstreamNotFound, UpstreamUnauthorized, UpstreamInvalid):
            regions = [self._account.api]
        lists = await together(self._list_region(region) for region in regions)
        return list({each.slug: each for found in lists for each in found}.values())

    async def _list_region(self, region: Origin) -> list[Organization]:
        try:
            found = await fetch_organizations(self._client, replace(self._account, api=region))
            return [each for each in found if _is_possible(each)]
        except MissingScope:
            return []  # the token may not list; that it may use one organization is still to be seen

    async def _verify(self, slug: str, scopes: list[str]) -> Organization:
        """The organization of that slug, asked of control, which knows all regions."""
        if not _SLUG.match(slug):
            raise BadInput("`organization` is not a slug.", cure=f"Take {_WHERE_SLUGS_ARE}.")
        account = replace(self._account, api=self._account.control, organization=slug)
        try:
            return _check(await fetch_organization(self._client, account))
        except (UpstreamNotFound, MissingScope) as error:
            if isinstance(error, MissingScope) and "organization" in missing_scopes(scopes):
                error.cure = "Make a token that has at least `org:read` and link with that one."
                error.missing_scopes = ["org:read"]
                raise
            raise BadInput(
                f"Sentry has no organization `{slug}` that this token sees.",
                cure=f"Check the slug ({_WHERE_SLUGS_ARE}), and that the token's user or integration belongs to it.",
            ) from None

    async def _trust_token(self, slug: str, scopes: list[str]) -> Discovered:
        """An organization token proves its organization itself, and may seldom read it."""
        _check_slug(slug)
        try:
            found = await self._verify(slug, scopes)
        except (BadInput, MissingScope):
            api = self._find_api(self.credential.region_url)
            return Discovered(CredentialKind.ORGANIZATION_TOKEN, scopes, self._account.control, api, None, slug, slug)
        return self._place(CredentialKind.ORGANIZATION_TOKEN, scopes, found)

    def _place(self, kind: CredentialKind, scopes: list[str], found: Organization) -> Discovered:
        api = self._find_api(found.links.region_url if found.links else None)
        return Discovered(kind, scopes, self._account.control, api, found.id, found.slug, found.name or found.slug)

    def _find_api(self, region_url: str | None) -> Origin:
        """Where the API is. Raises :class:`EgressRefused` for a region that this Sentry may not send us to."""
        if region_url is None:
            return self._account.api
        control, region = self._account.control, _parse_or_none(region_url)
        if region is None or not region_is_trusted(control, region):
            raise EgressRefused(
                f"Sentry at {control} sends us to another address, {region or 'which is none'}: refused.",
                cure="Link with the `origin` that Sentry knows itself by (self-hosted: its `system.url-prefix`).",
            )
        self._policy.check_origin(region)
        return region


async def list_projects(client: SentryClient, account: Account, scopes: Collection[str]) -> list[Project]:
    """All projects of the organization. Raises :class:`MissingScope` where none is shown for want of a scope."""
    projects = await fetch_projects(client, account)
    if not projects:
        refuse_empty("projects", scopes)
    return projects


async def find_projects(
    client: SentryClient, account: Account, wanted: Collection[str], scopes: Collection[str]
) -> list[dict[str, str]]:
    """The projects of these slugs or ids, as a constraint ``[{"id", "slug"}]``. ``scopes`` are the credential's.

    Raises :class:`BadInput` where one does not exist or the credential does not see it, and what
    :func:`list_projects` does.
    """
    if not wanted:
        raise BadInput("`projects` names none.", cure="Name at least one, or leave it out for the whole organization.")
    known = {name: each for each in await list_projects(client, account, scopes) for name in (each.id, each.slug)}
    missing = sorted(set(wanted) - known.keys())
    if missing:
        raise BadInput(
            f"Sentry has no projects {', '.join(f'`{name}`' for name in missing[:10])} that this credential sees.",
            cure="Check their slugs in Sentry, and that the credential's user belongs to their teams.",
        )
    found = {known[name].id: known[name].slug for name in wanted}
    return [{"id": project_id, "slug": slug} for project_id, slug in found.items()]


def _is_possible(found: Organization) -> bool:
    """Whether it can be stored, and named in a path: a Sentry would answer nothing else."""
    return bool(_SLUG.match(found.slug)) and len(found.id) <= _LONGEST_ID and found.id.isalnum()


def _check(found: Organization) -> Organization:
    if not _is_possible(found):
        raise LinkRefused("Sentry names an organization in a way that none can be named.", cure=_NOT_A_SENTRY)
    return found


def _check_slug(slug: str) -> str:
    if not _SLUG.match(slug):
        raise LinkRefused("Sentry names an organization by a slug that none can have.", cure=_NOT_A_SENTRY)
    return slug


def _agree(own: str | None, wanted: str | None) -> str | None:
    """The slug of the organization, where the token belongs to one or one was named."""
    if own is not None and wanted not in {None, own}:
        raise LinkRefused(f"This token belongs to the organization `{own}`, not to `{wanted}`.")
    return own or wanted


def find_control(origin: Origin) -> Origin:
    """The Sentry that knows the tokens of a named origin: sentry.io for its regions and organizations, else itself."""
    is_saas = origin.scheme == "https" and origin.port == 443 and origin.host.endswith(".sentry.io")
    return SENTRY_IO if is_saas else origin


def _parse_or_none(url: str | None) -> Origin | None:
    try:
        return None if url is None else Origin.parse(url)
    except BadInput:
        return None
