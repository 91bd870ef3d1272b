"""The steps of linking by page: what a session waits for, and how it gets on. Knows nothing of HTTP and HTML."""

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.discovery import SENTRY_IO, find_control
from service.connections.installations import is_taken
from service.connections.link_models import LinkMethod, LinkSessionRecord
from service.connections.linking import Linker
from service.connections.models import ConnectionRecord
from service.connections.visibility import LONGEST_TEXT
from service.errors import ServiceError
from service.link.pending import Pending, Reachable
from service.link.problems import LinkProblem, StepRefused
from service.link.records import offered, visitor
from service.link.visits import Visit, Visits
from service.sentry.origin import Origin
from service.sentry.payloads import Organization, Project
from service.sentry.profiles import SCOPES, Profile, missing_scopes
from service.tenants.caller import Caller, Role


class Step(enum.StrEnum):
    """What a started session waits for."""

    WAYS = "ways"
    CHECK = "check"
    ORGANIZATION = "organization"
    PROJECTS = "projects"
    CONFIRM = "confirm"


def find_step(record: LinkSessionRecord, pending: Pending | None) -> Step:
    """The present step of an open session."""
    if pending is None:
        return Step.WAYS
    if pending.organizations is None:
        return Step.CHECK
    if pending.organization is None:
        return Step.ORGANIZATION
    if record.projects is None and not pending.has_chosen_projects:
        return Step.PROJECTS
    return Step.CONFIRM


def fingerprint(record: LinkSessionRecord) -> str:
    """What a summary was made of: confirming it links that, and nothing that was chosen in another tab since."""
    return hashlib.sha256(record.pending or b"").hexdigest()


class LinkFlow:
    """Takes sessions from step to step.

    What cannot be done raises :class:`StepRefused` or a :class:`ServiceError`; a session that ended meanwhile
    :class:`service.link.problems.SessionEnded`.
    """

    def __init__(self, visits: Visits, linker: Linker) -> None:
        self._visits = visits
        self._linker = linker

    async def paste(self, visit: Visit, *, token: str, origin: str, ca: str | None) -> None:
        """Take a pasted token. Nothing of it is kept where it cannot be used."""
        if LinkMethod.TOKEN not in offered(visit.record):
            raise StepRefused(LinkProblem.INVALID_INPUT)
        named = visit.record.origin or Origin.parse(origin or SENTRY_IO.url).url
        pending = Pending(LinkMethod.TOKEN, token, named, ca=ca or None)
        await self._visits.store(visit.record, await self._survey(visit, pending))

    async def accept(self, visit: Visit, pending: Pending) -> None:
        """Keep what Sentry granted, then ask what it reaches."""
        await self._visits.store(visit.record, pending)
        await self.check(visit, pending)

    async def check(self, visit: Visit, pending: Pending) -> None:
        """Ask Sentry what a grant reaches. It is kept for another try only where one may help."""
        try:
            surveyed = await self._survey(visit, pending)
        except StepRefused:
            await self._visits.store(visit.record, None)
            raise
        except ServiceError as error:
            if not error.retryable:
                await self._visits.store(visit.record, None)
            raise
        await self._visits.store(visit.record, surveyed)

    async def choose_organization(self, visit: Visit, pending: Pending, slug: str) -> None:
        """Take one of those that the credential reaches, or, where Sentry does not list them, ask for that one."""
        slug = slug.strip()
        known = pending.organizations or ()
        if not known:
            request = replace(pending.request(visit.record), organization=slug or None)
            found = (await self._linker.survey(visit.record.tenant_id, request)).organizations
            known = tuple(map(_describe, found))
            pending = replace(pending, organizations=known)
        if slug not in {each.slug for each in known}:
            raise StepRefused(LinkProblem.NO_ORGANIZATION)
        await self._visits.store(visit.record, pending.choose_organization(slug))

    async def list_projects(self, visit: Visit, pending: Pending) -> list[Project]:
        """The projects of the chosen organization, in the order of their slugs."""
        request = replace(pending.request(visit.record), projects=None)
        found = await self._linker.list_projects(visit.record.tenant_id, request)
        return sorted(found, key=lambda project: project.slug)

    async def choose_projects(self, visit: Visit, pending: Pending, projects: Sequence[str] | None) -> None:
        """Limit the link to projects (ids), or to none but the organization."""
        if projects is not None and not projects:
            raise StepRefused(LinkProblem.INVALID_INPUT)
        await self._visits.store(visit.record, pending.choose_projects(projects))

    async def back(self, visit: Visit, pending: Pending | None) -> None:
        """To the step before the present one, where there was anything to choose."""
        before: Pending | None = None
        if pending is not None:
            has_choice = visit.record.organization is None and len(pending.organizations or ()) > 1
            if pending.has_chosen_projects:
                before = replace(pending, has_chosen_projects=False)
            elif pending.organization is not None and has_choice:
                before = pending.choose_organization(None)
        await self._visits.store(visit.record, before)

    async def restart(self, visit: Visit) -> None:
        """Forget what was received and chosen."""
        await self._visits.store(visit.record, None)

    async def confirm(self, visit: Visit, pending: Pending, seen: str) -> ConnectionRecord:
        """Link what the summary said, and complete the session in the same transaction: once, whatever is clicked."""
        record = visit.record
        if find_step(record, pending) is not Step.CONFIRM or seen != fingerprint(record):
            raise StepRefused(LinkProblem.CHANGED)
        narrowed = frozenset({record.external_id}) if record.is_narrowed and record.external_id else None
        caller = Caller(record.tenant_id, Role.ADMIN, visitor(record), external_ids=narrowed)

        async def complete(session: AsyncSession, connection: ConnectionRecord) -> None:
            if pending.installation_id and await is_taken(session, pending.installation_id, connection):
                raise StepRefused(LinkProblem.INSTALLATION_TAKEN)
            if record.projects is None and pending.projects is None:
                connection.projects = None  # all were chosen, also where an earlier link was limited
            await self._visits.complete(session, record, connection, pending)

        return await self._linker.link(caller, pending.request(record), complete)

    async def _survey(self, visit: Visit, pending: Pending) -> Pending:
        """With what the credential reaches. Raises :class:`StepRefused` where that is not what is wanted."""
        record = visit.record
        request = pending.request(record)
        if pending.installation_id is not None:
            request = replace(request, organization=None)  # it has one, and Sentry says which
        survey = await self._linker.survey(record.tenant_id, request)
        _check_scopes(record.profile, survey.scopes)
        found = survey.organizations
        if not found and visit.linked is not None:
            request = replace(request, organization=visit.linked.organization_slug)
            found = (await self._linker.survey(record.tenant_id, request)).organizations
        reachable = tuple(map(_describe, found))
        if pending.installation_id is not None:
            wanted = {slug for slug in (pending.announced, record.organization) if slug is not None}
            if wanted - {each.slug for each in reachable}:
                raise StepRefused(LinkProblem.INSTALLATION_MISMATCH)
        if visit.linked is not None:
            reachable = tuple(each for each in reachable if _is_same(visit.linked, each, pending.origin))
            if not reachable:
                raise StepRefused(LinkProblem.OTHER_ORGANIZATION)
        return replace(
            pending,
            scopes=tuple(sorted(survey.scopes)),
            organizations=reachable,
            organization=reachable[0].slug if len(reachable) == 1 else None,
        )


def _describe(found: Organization) -> Reachable:
    return Reachable(found.id, found.slug, (found.name or found.slug)[:LONGEST_TEXT])


def _check_scopes(profile: Profile, held: Sequence[str]) -> None:
    """A credential that cannot even read its organization, or nothing that is asked for, is of no use."""
    missing = missing_scopes(profile, held)
    if "org:read" in missing or len(missing) == len(SCOPES[profile]):
        raise StepRefused(LinkProblem.MISSING_SCOPES, " ".join(missing))


def _is_same(connection: ConnectionRecord, found: Reachable, origin: str) -> bool:
    """As the store judges in the end: see :func:`service.connections.link_rules.is_same_organization`."""
    same_slug = connection.organization_slug == found.slug
    same_place = connection.control_origin == find_control(Origin.parse(origin)).url
    if not connection.organization_id or not found.id:
        return same_slug and same_place
    return connection.organization_id == found.id and (same_slug or same_place)
