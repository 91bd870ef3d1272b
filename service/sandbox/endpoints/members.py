"""Members, and the lists of members that other endpoints hold."""

from service.sandbox import access
from service.sandbox.access import ROLES
from service.sandbox.call import Call, Endpoint
from service.sandbox.pagination import page_by_number
from service.sandbox.responses import Answer, answer_json, detail, forbidden, invalid, no_content, not_found
from service.sandbox.search import match_members, parse_query
from service.sandbox.shapes import show_member, show_member_detail
from service.sandbox.world import Member, find


def list_members(call: Call) -> Answer:
    """The members in the order of their ids; ``query`` filters."""
    found = match_members(call.organization.members, parse_query(call.last("query")), call.manner)
    page = page_by_number(found, call.page_size, call.cursor)
    return call.answer_page(page, [member_row(call, member) for member in page.items])


def member_row(call: Call, member: Member) -> object:
    """A member's row, encoded once."""
    return call.world.row(("member", member.id, call.manner), lambda: show_member(member, call.manner))


def invite_member(call: Call) -> Answer:
    """Invites an address: 201 with the new row."""
    given = call.json()
    email, role = given.get("email"), given.get("orgRole", given.get("role", "member"))
    if not isinstance(email, str) or not email:
        raise invalid(email="This field is required.")
    if any(member.email.lower() == email.lower() for member in call.organization.members if member.is_listed):
        raise invalid(email=f"The user {email} is already a member")
    if role not in ROLES:
        raise invalid(orgRole="You do not have permission to set that org-level role")
    member = Member(
        id=call.world.new_id(),
        user=None,
        role=role,
        created=call.world.now,
        invited_email=email,
        inviter=call.user.email if call.user else None,
    )
    call.organization.members.append(member)
    call.world.changed()
    return answer_json(show_member(member, call.manner), 201)


def _member(call: Call) -> Member:
    name = call.names["member"]
    if name == "me":
        seat = call.organization.member_of(call.user) if call.user else None
    else:
        seat = next((m for m in call.organization.members if str(m.id) == name and m.is_listed), None)
    if seat is None:
        raise not_found()
    return seat


def get_member(call: Call) -> Answer:
    """One member with its teams; ``me`` is the token's own seat, and apps have none."""
    return _detail(call, _member(call))


def _detail(call: Call, member: Member) -> Answer:
    key = ("member detail", member.id, call.manner, call.base)
    return answer_json(
        call.world.row(key, lambda: show_member_detail(member, call.organization, call.manner, call.base))
    )


def put_member(call: Call) -> Answer:
    """Changes the role."""
    member = _member(call)
    role = call.json().get("orgRole", call.json().get("role", member.role))
    if role not in ROLES:
        return Answer(400, content_type=None)
    member.role = role
    call.world.changed()
    return _detail(call, member)


def delete_member(call: Call) -> Answer:
    """Removes a member; the last owner stays."""
    member = _member(call)
    if member.role == "owner" and sum(1 for m in call.organization.members if m.role == "owner") == 1:
        raise detail(403, "You cannot remove the only remaining owner of the organization.")
    call.organization.members.remove(member)
    call.world.changed()
    return no_content()


def join_team(call: Call) -> Answer:
    """Puts a member into a team."""
    member, team = _member(call), call.team
    if team.id in member.teams:
        return no_content()
    member.teams[team.id] = None
    call.world.changed()
    return answer_json({"id": str(team.id), "slug": team.slug, "name": team.name}, 201)


def put_team_role(call: Call) -> Answer:
    """Sets a member's role in a team."""
    member, team = _member(call), call.team
    if team.id not in member.teams:
        raise not_found()
    role = call.json().get("teamRole")
    if role not in {"contributor", "admin"}:
        return Answer(400, content_type=None)
    member.teams[team.id] = None if role == "contributor" else role
    call.world.changed()
    return answer_json({"isActive": True, "teamRole": role})


def leave_team(call: Call) -> Answer:
    """Takes a member out of a team."""
    member, team = _member(call), call.team
    if team.id not in member.teams:
        raise not_found()
    del member.teams[team.id]
    call.world.changed()
    return answer_json({"id": str(team.id), "slug": team.slug, "name": team.name})


def list_team_members(call: Call) -> Answer:
    """A team's members in pages, rows with ``teamSlug`` and ``teamRole``. It has no ``query``, and needs team:read."""
    team = call.team
    found = [member for member in call.organization.members if member.is_listed and team.id in member.teams]
    page = page_by_number(found, call.page_size, call.cursor)

    def row(member: Member) -> object:
        return call.world.row(
            ("team member", team.id, member.id, call.manner),
            lambda: show_member(member, call.manner) | {"teamRole": member.teams[team.id], "teamSlug": team.slug},
        )

    return call.answer_page(page, [row(member) for member in page.items])


def project_ids(call: Call) -> list[int]:
    """The ``project`` parameters as ids; -1 is all, none is those of the caller's teams."""
    given = call.all("project")
    if "-1" in given:
        return [project.id for project in call.organization.projects]
    ids = []
    for text in given:
        if text.isdecimal():
            ids.append(int(text))
        elif call.manner == "latest" and (named := find(call.organization.projects, text, call.manner)):
            ids.append(named.id)
        else:
            raise detail(400, "Invalid project parameter. Values must be numbers.")
    if not set(ids) <= {project.id for project in call.organization.projects}:
        raise forbidden()
    if not given:
        seat = call.organization.member_of(call.user) if call.user else None
        mine = set(seat.teams) if seat else set()
        ids = [project.id for project in call.organization.projects if mine & set(project.team_ids)]
    return ids


def list_users(call: Call) -> Answer:
    """The members of projects, whole, each with the slugs of its projects."""
    wanted = [project for project in call.organization.projects if project.id in project_ids(call)]
    rows = []
    for member in call.organization.members:
        slugs = [project.slug for project in wanted if set(project.team_ids) & set(member.teams)]
        if slugs and member.user and member.is_listed:
            rows.append(show_member(member, call.manner) | {"projects": slugs})
    return answer_json(rows)


def list_project_members(call: Call) -> Answer:
    """The members of one project, whole."""
    teams = set(call.project.team_ids)
    found = [member for member in call.organization.members if member.is_listed and teams & set(member.teams)]
    return answer_json([member_row(call, member) for member in found])


_MEMBER_PATH = "organizations/{organization}/members/{member}/"

ENDPOINTS = (
    Endpoint("organizations/{organization}/members/", {"GET": list_members, "POST": invite_member}, access.MEMBER),
    Endpoint(_MEMBER_PATH, {"GET": get_member, "PUT": put_member, "DELETE": delete_member}, access.MEMBER),
    Endpoint(
        _MEMBER_PATH + "teams/{team}/",
        {"POST": join_team, "PUT": put_team_role, "DELETE": leave_team},
        access.MEMBER_TEAM,
    ),
    Endpoint("teams/{organization}/{team}/members/", {"GET": list_team_members}, access.TEAM),
    Endpoint("organizations/{organization}/users/", {"GET": list_users}, access.ORGANIZATION),
    Endpoint("projects/{organization}/{project}/members/", {"GET": list_project_members}, access.PROJECT),
)
