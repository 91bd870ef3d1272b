"""What a passthrough call may reach: pure rules over path segments, method and query.

**Roots.** The connection's own ``organizations/{o}``, ``projects/{o}/{p}`` and ``teams/{o}/{t}``, and the external
issues of its installation. Legacy ``issues/{id}`` names no organization, so ``organizations/{o}/issues/{id}`` is sent
instead, where Sentry itself checks the organization. The organization is always sent as the connection's slug.

**Credentials** are refused below every root, for every role, since they outlive unlinking:

- endpoints whose name says so: tokens, secrets, API keys, authorizations, authentication providers, credentials;
- ``sentry-apps`` and ``sentry-app-installations`` of an organization (client secrets, grant codes), ``hooks`` (answers
  hold the signing secret, and a hook goes on sending), ``forwarding`` and ``plugins`` (keys of third parties),
  ``transfer`` (mails a link that hands over the project), and tunnels whose inside cannot be told (``seer-rpc``,
  ``objectstore``);
- a member's or invitation's detail, other than to delete it: it holds ``invite_link``, which grants membership;
- an integration's detail, other than to delete it: it holds the keys of PagerDuty and Opsgenie. The list stays, with
  ``includeConfig=0``;
- client keys (DSNs) are read-only: a DSN is public by nature, in every page that reports errors, and only sends; making
  one or switching one on again is refused.

Bodies are not read: an organization's or project's settings are the API's business and the caller's role's.

**Project constraint.** Project-level paths pass for the listed projects, always sent by slug. Organization-level paths
pass for reads of the endpoints in ``_HONOURS_PROJECT``, with ``project`` set by us and only parameters known not to
widen the search. An issue by its id passes after its project was looked up (:attr:`Authorized.check`). All else is
:class:`Constrained`. Checked against Sentry's sources: ``projectSlug`` overrides ``project``, a ``query`` that is an
event's id and ``shortIdLookup`` find issues of any project, and no ``project`` at all means every project.
"""

import re
import uuid
from functools import lru_cache

import msgspec

from service.errors import Constrained, PathRefused
from service.sentry.methods import SAFE_METHODS
from service.sentry.paths import ApiPath, Query


class ProjectRef(msgspec.Struct, frozen=True):
    """A project of the constraint."""

    id: str
    slug: str


class AccessFacts(msgspec.Struct, frozen=True):
    """What is known of a connection. ``projects`` is the constraint, None for the whole organization."""

    organization_id: str | None
    organization_slug: str
    installation_id: str | None = None
    projects: tuple[ProjectRef, ...] | None = None


class Authorized(msgspec.Struct, frozen=True):
    """What to send. Where ``check`` is set, that issue is fetched first: it must be in one of the projects."""

    path: ApiPath
    query: tuple[tuple[str, str], ...]
    check: ApiPath | None = None


_ALLOWED = (
    "Allowed are organizations/{organization}/…, projects/{organization}/{project}/…, teams/{organization}/{team}/…, "
    "issues/{id}/… and the installation's own external-issues/."
)

# Names are compared in lower case and without punctuation: api-keys, api_keys and apiKeys are one.
_PUNCTUATION = re.compile(r"[\W_]+")
_CREDENTIAL_PARTS = ("token", "secret", "apikey", "credential", "password", "oauth", "authoriz", "authentic")
_CREDENTIAL_NAMES = frozenset(
    {
        "token", "tokens", "secret", "secrets", "apikey", "apikeys", "apitokens", "orgauthtokens", "signingsecrets",
        "credentials", "authorizations", "authenticators",
        "authprovider", "authproviders", "applications", "apiapplications", "sentryapps", "sentryappinstallations",
        "hooks", "forwarding", "dataforwarding", "plugin", "plugins", "transfer", "appstoreconnect", "seerrpc",
        "objectstore",
    }
)  # fmt: skip
_READ_ONLY_NAMES = frozenset({"keys", "projectkeys"})
# After these comes a customer's own word (a release, a tag, a project …), which may well contain "token".
_NAMED_BY_CUSTOMERS = frozenset(
    {"releases", "tags", "environments", "projects", "teams", "issues", "shortids", "monitors", "groups", "images"}
)
_DETAILS_WITH_CREDENTIALS = frozenset({"members", "invitedmembers", "integrations"})

# Organization-level reads that return nothing but the projects in ``project``.
_HONOURS_PROJECT = frozenset(
    {
        ("issues",), ("issues-count",), ("issues-stats",), ("events",), ("events-meta",), ("events-facets",),
        ("events-stats",), ("events-timeseries",), ("sessions",), ("stats_v2",), ("tags",), ("tags", "*", "values"),
        ("environments",), ("replays",), ("replay-selectors",),
    }
)  # fmt: skip
_NARROWING_PARAMETERS = frozenset(
    """
    collapse cursor dataset end environment expand field full groupBy groupStatsPeriod group groups includeSeries
    includeTotals interval limit orderBy per_page project query reason category outcome sort sortBy start statsPeriod
    topEvents useFlagsBackend utc visibility yAxis
    """.split()  # noqa: SIM905 - as a list literal it is not for reading
)
# What hangs below an issue and belongs to it alone; related or similar issues may be of other projects.
_PARTS_OF_AN_ISSUE = frozenset(
    {"activities", "attachments", "comments", "events", "external-issues", "hashes", "notes", "participants", "stats",
     "tags", "user-feedback", "user-reports"}
)  # fmt: skip


def authorize(path: ApiPath, method: str, query: Query, facts: AccessFacts) -> Authorized:
    """Decide what of a caller's request is sent.

    ``{organization}``, and ``{project}`` where the connection is limited to exactly one, are filled in.
    Raises :class:`PathRefused` or :class:`Constrained`; both say what to do instead.
    """
    root, below, own_path = _find(path, method, facts)
    if root == ("organizations",) and below == ("integrations",):
        query = [*((key, value) for key, value in query if key != "includeConfig"), ("includeConfig", "0")]
    if facts.projects is not None:
        return _constrain(root, below, method, query, facts)
    return Authorized(own_path, tuple(query))


@lru_cache(maxsize=1024)  # callers ask for the same again; a query may be too long to be kept
def _find(path: ApiPath, method: str, facts: AccessFacts) -> tuple[tuple[str, ...], tuple[str, ...], ApiPath]:
    """The root of a path, what is below it, and both as a path with the connection's organization."""
    root, below = _locate(_fill(path.segments, facts), facts)
    _refuse_credentials(root, below, method)
    return root, below, _build(root, below, facts)


def _fill(segments: tuple[str, ...], facts: AccessFacts) -> tuple[str, ...]:
    filled = []
    for segment in segments:
        if segment == "{organization}":
            filled.append(facts.organization_slug)
        elif segment == "{project}":
            if facts.projects is None or len(facts.projects) != 1:
                raise PathRefused(
                    "{project} stands for the connection's only project, and this one is not limited to exactly one.",
                    cure="Write the project's slug instead of {project}.",
                )
            filled.append(facts.projects[0].slug)
        elif re.fullmatch(r"\{\w*\}", segment):
            raise PathRefused(f"{segment} cannot be filled in; only {{organization}} and {{project}} can.")
        else:
            filled.append(segment)
    return tuple(filled)


def _locate(segments: tuple[str, ...], facts: AccessFacts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split into the root, without the organization, and what is below it."""
    match segments:
        case ("organizations", own, *rest) if _is_own(own, facts):
            return ("organizations",), ("issues", *rest[1:]) if rest[:1] == ["groups"] else tuple(rest)
        case ("projects" | "teams" as kind, own, name, *rest) if _is_own(own, facts):
            return (kind, name), tuple(rest)
        case ("issues" | "groups", issue, *rest):
            return ("organizations",), ("issues", issue, *rest)
        case ("sentry-app-installations", uuid_, "external-issues", *rest) if (
            uuid_ == facts.installation_id and len(rest) <= 1
        ):
            return ("sentry-app-installations", uuid_), ("external-issues", *rest)
        case _:
            raise PathRefused("The path is outside what this connection may reach.", cure=_ALLOWED)


def _is_own(text: str, facts: AccessFacts) -> bool:
    if text in {facts.organization_slug, facts.organization_id}:
        return True
    raise PathRefused(
        "The path names another organization than the connection's.",
        cure=f"Write {{organization}}, or {facts.organization_slug} exactly so.",
    )


def _build(root: tuple[str, ...], below: tuple[str, ...], facts: AccessFacts) -> ApiPath:
    kind, *name = root
    if kind == "sentry-app-installations":
        return ApiPath.of(*root, *below)
    return ApiPath.of(kind, facts.organization_slug, *name, *below)


def _refuse_credentials(root: tuple[str, ...], below: tuple[str, ...], method: str) -> None:
    names = [_PUNCTUATION.sub("", segment.casefold()) for segment in below]
    for place, name in enumerate(names):
        is_customers = place > 0 and names[place - 1] in _NAMED_BY_CUSTOMERS
        if name in _CREDENTIAL_NAMES or (not is_customers and any(part in name for part in _CREDENTIAL_PARTS)):
            raise PathRefused(
                f"{below[place]}/ issues or reveals credentials, which no proxy call may do.",
                cure="Manage credentials in Sentry itself.",
            )
        if name in _READ_ONLY_NAMES and not is_customers and method not in SAFE_METHODS:
            raise PathRefused("Client keys can only be read.", cure="Create or change client keys in Sentry itself.")
    if (
        root == ("organizations",)
        and len(names) == 2
        and names[0] in _DETAILS_WITH_CREDENTIALS
        and below[1] != "coding-agents"
        and method != "DELETE"
    ):
        raise PathRefused(
            f"One of {below[0]}/ by its id holds a credential, such as an invitation's link.",
            cure="Ask for the list; for a person, use the `user` and `users` fields.",
        )


def _constrain(
    root: tuple[str, ...], below: tuple[str, ...], method: str, query: Query, facts: AccessFacts
) -> Authorized:
    projects = facts.projects or ()
    match (*root, *below):
        case ("projects", name, *rest):
            slug = _own_slug(name, projects)
            _refuse_widening(query)
            return Authorized(_build(("projects", slug), tuple(rest), facts), tuple(query))
        case ("organizations", "projects", name, part, *rest):
            slug = _own_slug(name, projects)
            _refuse_widening(query)
            return Authorized(_build(root, ("projects", slug, part, *rest), facts), tuple(query))
        case ("organizations", "issues", issue, *rest) if not rest or rest[0] in _PARTS_OF_AN_ISSUE:
            _refuse_widening(query)
            check = _build(root, ("issues", issue), facts)
            return Authorized(_build(root, below, facts), tuple(query), check)
        case ("organizations", *_) if _honours_project(below) and method in SAFE_METHODS:
            return Authorized(_build(root, below, facts), _limit(query, projects))
        case _:
            raise Constrained("The connection is limited to some projects, and this endpoint cannot be.")


def _own_project(name: str, projects: tuple[ProjectRef, ...]) -> ProjectRef:
    for project in projects:
        if name in {project.slug, project.id}:
            return project
    raise Constrained(
        "The project is not one that the connection is limited to.",
        cure=f"Use one of: {', '.join(project.slug for project in projects) or 'none is left'}.",
    )


def _own_slug(name: str, projects: tuple[ProjectRef, ...]) -> str:
    slug = _own_project(name, projects).slug
    if slug.isdecimal():  # newer servers read digits as an id: it may be another project's
        raise Constrained("The project's slug is a number, which Sentry may take for another project's id.")
    return slug


def _honours_project(below: tuple[str, ...]) -> bool:
    return below in _HONOURS_PROJECT or (len(below) == 3 and (below[0], "*", below[2]) in _HONOURS_PROJECT)


def _refuse_widening(query: Query) -> None:
    for key, _ in query:
        if key.casefold().startswith("project") or key.casefold() == "shortidlookup":
            raise Constrained(f"The parameter {key} may reach other projects.", cure=f"Leave {key} out.")


def _limit(query: Query, projects: tuple[ProjectRef, ...]) -> tuple[tuple[str, str], ...]:
    """The query with ``project`` set to the asked part of the constraint, or to all of it."""
    asked: list[str] = []
    kept: list[tuple[str, str]] = []
    for key, value in query:
        if key not in _NARROWING_PARAMETERS:
            raise Constrained(f"The parameter {key} may reach other projects.", cure=f"Leave {key} out.")
        if key == "query" and _is_event_id(value):
            raise Constrained(
                "A query that is an event's id finds it in any project.",
                cure="Read projects/{organization}/{project}/events/{event id}/ instead.",
            )
        if key != "project":
            kept.append((key, value))
        elif value not in {"-1", "$all"}:
            asked.append(_own_project(value, projects).id)
    limited = asked or [project.id for project in projects]
    if not limited:  # without the parameter Sentry would read every project
        raise Constrained("The connection is limited to projects of which none is left.")
    return *kept, *(("project", value) for value in dict.fromkeys(limited))


def _is_event_id(text: str) -> bool:
    """Whether Sentry takes a query for an event's id, by the very rule that it uses."""
    try:
        uuid.UUID(text.strip())
    except ValueError:
        return False
    return True
