"""What people and structure look like on the wire: organizations, members, teams, projects."""

import hashlib
from datetime import datetime
from typing import Any

from service.sandbox.access import ROLES, TEAM_ROLES, Role, Scopes
from service.sandbox.world import Manner, Member, Organization, Project, Team, Token, User

Payload = dict[str, Any]
_AVATAR: Payload = {"avatarType": "letter_avatar", "avatarUuid": None}


def stamp(moment: datetime | None) -> str | None:
    """A time as Sentry writes it: UTC, microseconds, Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None


def show_user(user: User, manner: Manner) -> Payload:
    """The user inside members, comments and ``/api/0/``."""
    digest = hashlib.md5(user.email.lower().encode(), usedforsecurity=False).hexdigest()
    addresses = [(user.email, user.is_verified), *user.other_emails] if user.email else []
    shown: Payload = {
        "id": str(user.id),
        "name": user.name or user.email,
        "username": user.username,
        "email": user.email,
        "avatarUrl": f"https://secure.gravatar.com/avatar/{digest}?s=32&d=mm",
        "isActive": user.is_active,
        "hasPasswordAuth": True,
        "isManaged": False,
        "dateJoined": stamp(user.joined),
        "lastLogin": stamp(user.last_login),
        "has2fa": user.has_2fa,
        "lastActive": stamp(user.last_active),
        "isSuperuser": False,
        "isStaff": False,
        "experiments": {},
        "emails": [
            {"id": str(user.id * 10 + index), "email": address, "is_verified": verified}
            for index, (address, verified) in enumerate(addresses)
        ],
        "avatar": _AVATAR | {"avatarType": user.avatar},
    }
    if manner == "latest":
        shown |= {"isSuspended": False}
        shown["avatar"] = shown["avatar"] | {"avatarUrl": None}
    return shown


def show_self(user: User, manner: Manner) -> Payload:
    """The user of the token itself: with its options."""
    return show_user(user, manner) | {
        "options": {
            "theme": "light",
            "language": "en",
            "stacktraceOrder": -1,
            "timezone": "UTC",
            "clock24Hours": False,
        },
        "flags": {"newsletter_consent_prompt": False},
        "identities": [],
    }


def show_member(member: Member, manner: Manner) -> Payload:
    """A row of the members list. It names no teams."""
    flags = ["idp:provisioned", "idp:role-restricted", "sso:linked", "sso:invalid", "member-limit:restricted"]
    shown: Payload = {
        "id": str(member.id),
        "email": member.email,
        "name": member.name,
        "user": show_user(member.user, manner) if member.user else None,
        "orgRole": member.role,
        "pending": member.user is None,
        "expired": member.expired,
        "dateCreated": stamp(member.created),
        "inviteStatus": member.invite_status,
        "inviterName": member.inviter,
    }
    if manner == "23.7":
        shown |= {"role": member.role, "roleName": ROLES[member.role].name, "groupOrgRoles": []}
    else:
        flags.append("partnership:restricted")
    shown["flags"] = {flag: flag in member.flags for flag in flags}
    return shown


def show_member_detail(member: Member, organization: Organization, manner: Manner, base: str) -> Payload:
    """One member: adds teams, team roles, and the roles it could be given.

    As on a real server, an invite's ``user`` is ``{}`` here though null in the list, and ``invite_link`` holds the
    secret that accepts it.
    """
    shown = show_member(member, manner)
    teams = [team for team in organization.teams if team.id in member.teams]
    owners = [other for other in organization.members if other.role == "owner" and other.user]
    shown["user"] = (shown["user"] | {"authenticators": [], "canReset2fa": False}) if shown["user"] else {}
    shown |= {
        "teams": [team.slug for team in teams],
        "teamRoles": [{"teamSlug": team.slug, "role": member.teams[team.id]} for team in teams],
        "invite_link": None if member.user else f"{base}/accept/{member.id}/{member.id:032x}/",
        "isOnlyOwner": owners == [member],
        "orgRoleList": [_show_role(role) for role in ROLES.values()],
        "teamRoleList": [_show_team_role(role) for role in TEAM_ROLES],
    }
    if manner == "23.7":
        shown["roles"] = shown["orgRoleList"]
    return shown


def _show_role(role: Role) -> Payload:
    return {
        "id": role.id,
        "name": role.name,
        "desc": role.description,
        "scopes": sorted(role.scopes),
        "allowed": True,
        "isAllowed": True,
        "isRetired": role.is_retired,
        "is_global": role.is_global,
        "isGlobal": role.is_global,
        "minimumTeamRole": role.minimum_team_role,
    }


def _show_team_role(role: Role) -> Payload:
    return {
        "id": role.id,
        "name": role.name,
        "desc": role.description,
        "scopes": sorted(role.scopes),
        "allowed": False,
        "isAllowed": False,
        "isRetired": False,
        "isMinimumRoleFor": "admin" if role.id == "admin" else None,
    }


def show_organization(organization: Organization, base: str, region: str, manner: Manner) -> Payload:
    """A row of the organizations list."""
    shown: Payload = {
        "id": str(organization.id),
        "slug": organization.slug,
        "status": {"id": "active", "name": "active"},
        "name": organization.name,
        "dateCreated": stamp(organization.created),
        "isEarlyAdopter": False,
        "require2FA": False,
        "requireEmailVerification": False,
        "avatar": _AVATAR,
        "features": [
            "discover-basic",
            *(["global-views"] if organization.has_global_views else []),
            "invite-members",
            "team-roles",
        ],
        "links": {"organizationUrl": base, "regionUrl": region},
        "hasAuthProvider": False,
    }
    if manner == "latest":
        shown |= {"allowMemberInvite": True, "allowMemberProjectCreation": True, "allowSuperuserAccess": False}
    return shown


def show_organization_detail(
    organization: Organization,
    base: str,
    region: str,
    manner: Manner,
    *,
    access: Scopes,
    role: str | None,
    detailed: bool,
) -> Payload:
    """One organization; ``detailed=0`` leaves its teams and projects out."""
    shown = show_organization(organization, base, region, manner) | {
        "quota": {"maxRate": None, "maxRateInterval": 60, "accountLimit": 0, "projectLimit": 100},
        "isDefault": False,
        "defaultRole": "member",
        "availableRoles": [{"id": r.id, "name": r.name} for r in ROLES.values()],
        "orgRoleList": [_show_role(r) for r in ROLES.values()],
        "teamRoleList": [_show_team_role(r) for r in TEAM_ROLES],
        "openMembership": True,
        "allowSharedIssues": True,
        "enhancedPrivacy": False,
        "attachmentsRole": "member",
        "trustedRelays": [],
        "access": sorted(access),
        "role": role,
        "orgRole": role,
        "pendingAccessRequests": 0,
        "onboardingTasks": [],
    }
    if detailed:
        shown["teams"] = [show_team(team, organization, None, access) for team in organization.teams]
        shown["projects"] = [show_project(project, organization, None, access) for project in organization.projects]
    return shown


def show_team(team: Team, organization: Organization, viewer: Token | None, access: Scopes) -> Payload:
    """A team without its projects: what ``detailed=0`` lists."""
    seat = organization.member_of(viewer.user) if viewer and viewer.user else None
    return {
        "id": str(team.id),
        "slug": team.slug,
        "name": team.name,
        "dateCreated": stamp(team.created),
        "isMember": bool(seat and team.id in seat.teams),
        "teamRole": seat.teams.get(team.id) if seat else None,
        "flags": {"idp:provisioned": False},
        "access": sorted(access),
        "hasAccess": True,
        "isPending": False,
        "memberCount": sum(1 for m in organization.members if m.is_listed and m.user and team.id in m.teams),
        "avatar": _AVATAR,
        "orgRole": None,
    }


def show_team_with_projects(team: Team, organization: Organization, viewer: Token | None, access: Scopes) -> Payload:
    """A row of the teams list."""
    projects = [project for project in organization.projects if team.id in project.team_ids]
    return show_team(team, organization, viewer, access) | {
        "externalTeams": [],
        "projects": [_show_project_summary(project, organization, viewer, access) for project in projects],
    }


def _show_project_summary(
    project: Project, organization: Organization, viewer: Token | None, access: Scopes
) -> Payload:
    seat = organization.member_of(viewer.user) if viewer and viewer.user else None
    return {
        "id": str(project.id),
        "slug": project.slug,
        "name": project.name,
        "platform": project.platform,
        "dateCreated": stamp(project.created),
        "isBookmarked": False,
        "isMember": bool(seat and not set(project.team_ids).isdisjoint(seat.teams)),
        "features": ["alert-filters", "rate-limits", "releases"],
        "firstEvent": stamp(project.created),
        "firstTransactionEvent": False,
        "access": sorted(access),
        "hasAccess": True,
        "hasMinifiedStackTrace": False,
        "hasMonitors": False,
        "hasProfiles": False,
        "hasReplays": False,
        "hasSessions": False,
        "isInternal": False,
        "isPublic": False,
        "avatar": _AVATAR,
        "color": f"#3fbf{project.id * 37 % 256:02x}",
        "status": "active",
    }


def show_project(project: Project, organization: Organization, viewer: Token | None, access: Scopes) -> Payload:
    """A row of the projects list."""
    teams = [
        {"id": str(team.id), "slug": team.slug, "name": team.name}
        for team in organization.teams
        if team.id in project.team_ids
    ]
    summary = _show_project_summary(project, organization, viewer, access)
    for absent in ("isInternal", "isPublic", "avatar", "color", "status"):
        del summary[absent]
    return summary | {
        "team": teams[0] if teams else None,
        "teams": teams,
        "environments": project.environments,
        "eventProcessing": {"symbolicationDegraded": False},
        "platforms": [project.platform],
        "latestRelease": {"version": f"{project.slug}@1.2.0"},
        "hasUserReports": False,
        "latestDeploys": None,
    }


def show_project_detail(
    project: Project, organization: Organization, viewer: Token | None, access: Scopes, organization_row: object
) -> Payload:
    """One project. ``securityToken`` is a secret, as on a real server."""
    return (
        show_project(project, organization, viewer, access)
        | _show_project_summary(project, organization, viewer, access)
        | {
            "options": {"sentry:option-epoch": 11, "feedback:branding": True},
            "digestsMinDelay": 300,
            "digestsMaxDelay": 1800,
            "subjectPrefix": "[Sentry]",
            "allowedDomains": ["*"],
            "resolveAge": 0,
            "dataScrubber": True,
            "securityToken": project.key[::-1],
            "securityTokenHeader": None,
            "verifySSL": False,
            "scrapeJavaScript": True,
            "organization": organization_row,
            "plugins": [],
            "processingIssues": 0,
            "defaultEnvironment": None,
        }
    )
