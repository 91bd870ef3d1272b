"""Who may do what: Sentry's scopes and roles.

Effective rights are the token's scopes AND the user's role in the organization.
"""

from dataclasses import dataclass

Scopes = frozenset[str]


def scopes(text: str) -> Scopes:
    """The set of scopes in a space-separated list."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Role:
    """An organization role. ``is_global`` roles reach every team and project."""

    id: str
    name: str
    description: str
    scopes: Scopes
    is_global: bool = False
    is_retired: bool = False
    minimum_team_role: str = "contributor"


_MEMBER = scopes(
    "event:read event:write event:admin project:releases project:read org:read member:read team:read "
    "alerts:read alerts:write"
)
_ADMIN = _MEMBER | scopes("project:write project:admin team:write team:admin org:integrations")
_MANAGER = _ADMIN | scopes("member:write member:admin org:write")
_OWNER = _MANAGER | scopes("org:admin")

ROLES: dict[str, Role] = {
    role.id: role
    for role in (
        Role("billing", "Billing", "Manages payment and sees usage.", scopes("org:read org:billing")),
        Role("member", "Member", "Sees the organization's data and works on events.", _MEMBER),
        Role(
            "admin", "Admin", "Administers the teams it belongs to.", _ADMIN, is_retired=True, minimum_team_role="admin"
        ),
        Role(
            "manager",
            "Manager",
            "Administers all teams and members.",
            _MANAGER,
            is_global=True,
            minimum_team_role="admin",
        ),
        Role("owner", "Owner", "Does everything.", _OWNER, is_global=True, minimum_team_role="admin"),
    )
}
TEAM_ROLES = (
    Role("contributor", "Contributor", "Works on the team's projects.", _MEMBER - scopes("event:admin alerts:write")),
    Role("admin", "Team Admin", "Administers the team and its projects.", _ADMIN),
)
ALL_SCOPES = _OWNER | scopes("org:ci")

#: What an endpoint asks for, by method: ANY ONE of the scopes suffices. A method that is absent is refused with 403,
#: even where the endpoint would know it; that is how Sentry treats HEAD.
Needs = dict[str, Scopes]

ORGANIZATION: Needs = {
    "GET": scopes("org:read org:write org:admin"),
    "POST": scopes("org:write org:admin"),
    "PUT": scopes("org:write org:admin"),
    "DELETE": scopes("org:admin"),
}
ORGANIZATIONS: Needs = ORGANIZATION | {"POST": scopes("org:write")}
MEMBER: Needs = {
    "GET": scopes("member:read member:write member:admin"),
    "POST": scopes("member:write member:admin"),
    "PUT": scopes("member:write member:admin"),
    "DELETE": scopes("member:admin"),
}
MEMBER_TEAM: Needs = {
    method: scopes("org:read org:write org:admin member:read member:write member:admin team:write team:admin")
    for method in ("GET", "POST", "PUT", "DELETE")
}
TEAM: Needs = {
    "GET": scopes("team:read team:write team:admin"),
    "POST": scopes("team:write team:admin"),
    "PUT": scopes("team:write team:admin"),
    "DELETE": scopes("team:admin"),
}
TEAMS: Needs = ORGANIZATION | {"POST": scopes("org:write org:admin team:write")}
PROJECT: Needs = {
    "GET": scopes("project:read project:write project:admin"),
    "POST": scopes("project:write project:admin"),
    "PUT": scopes("project:write project:admin"),
    "DELETE": scopes("project:admin"),
}
RELEASE: Needs = {
    "GET": scopes("project:read project:write project:admin project:releases org:ci"),
    "POST": scopes("project:write project:admin project:releases org:ci"),
    "PUT": scopes("project:write project:admin project:releases org:ci"),
    "DELETE": scopes("project:admin project:releases"),
}
EVENT: Needs = {
    "GET": scopes("event:read event:write event:admin"),
    "POST": scopes("event:write event:admin"),
    "PUT": scopes("event:write event:admin"),
    "DELETE": scopes("event:admin"),
}
COMMENT: Needs = EVENT | {"DELETE": scopes("event:read event:write event:admin")}
EVENTS_TABLE: Needs = {"GET": ORGANIZATION["GET"]}
AUTH_TOKEN: Needs = dict.fromkeys(("GET", "POST", "PUT"), ORGANIZATION["GET"]) | {
    "DELETE": scopes("org:write org:admin")
}
