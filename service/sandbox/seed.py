"""Makes the world: the same one every time, of three organizations large and small."""

import random
import uuid
from datetime import UTC, datetime, timedelta

from service.sandbox.access import ALL_SCOPES, scopes
from service.sandbox.world import (
    DEMO_APP,
    DEMO_INTERNAL_APP,
    DEMO_OAUTH_CLIENT,
    DEMO_TOKENS,
    App,
    Installation,
    Issue,
    Member,
    OAuthApplication,
    Organization,
    Project,
    Release,
    Team,
    Token,
    User,
    World,
)

NOW = datetime(2026, 6, 1, 9, 30, 0, 250_500, tzinfo=UTC)


def _words(text: str) -> list[str]:
    return text.split()


_FIRST = _words(
    "Ada Amir Bea Bo Cleo Dana Edda Emeka Fern Gita Hana Hugo Ines Ivo Jada Jonas Kaia Kenji Lena Luca Mina Milo Nadia "
    "Noor Olga Omar Pia Quinn Rosa Ravi Sana Sven Tara Theo Uma Viggo Wanda Xenia Yara Zane"
)
_LAST = _words(
    "Abbot Birch Calder Dunn Ellery Frost Garland Hale Iverson Jarvis Keller Lowe Marsh Nash Oakes Pryce Quist Reed "
    "Stone Thorne"
)
# Names that break what is written for ASCII, or that are empty: Sentry then shows the address.
_UNUSUAL = [
    "Zoë Ångström",
    "李小龙",
    "Nuala O'Brien-Ní Dhómhnaill",
    "",
    "  Spaces  Within ",
    "Null",
    '<b>Bold</b> & "Quoted"',
    "م. الفارسي",
]
_PLATFORMS = _words("python javascript go node ruby java php rust")
_SERVICES = _words(
    "checkout catalog search cart identity billing ledger mailer media gateway inventory shipping pricing reviews "
    "wishlist tracking fraud exports webhooks console"
)
_FAILURES = (
    ("ValueError", "cannot parse amount", "cart.totals in add_line"),
    ("TimeoutError", "no answer after 5 s", "gateway.client in fetch"),
    ("KeyError", "'currency'", "pricing.rules in price_of"),
    ("TypeError", "undefined is not a function", "web.app in onClick"),
    ("ConnectionError", "connection reset by peer", "mailer.smtp in deliver"),
    ("IntegrityError", "duplicate key", "ledger.store in post_entry"),
)


def build_world() -> World:
    """The whole world, in a few milliseconds."""
    return _Builder().build()


class _Builder:
    def __init__(self) -> None:
        self.random = random.Random("sandbox")
        self.world = World(now=NOW)
        self.member_id = self.team_id = self.project_id = self.issue_id = self.release_id = 0

    def build(self) -> World:
        # Ids of users and of members overlap, shifted, as on a real server: mixing them up finds the wrong person.
        owner = self.user("Mara Quill", "mara.quill@lumen-labs.example")
        owner.other_emails.append(("mara@quill.example", True))
        owner.has_2fa = True
        lumen = self.organization(4501, "lumen-labs", "Lumen Labs", days=900)
        rail = self.organization(4502, "northwind-rail", "Northwind Rail", days=400)
        boat = self.organization(4503, "paper-boat", "Paper Boat", days=30)
        self.fill(lumen, owner, teams=8, projects=20, joined=244, invited=22, issues=240)
        self.fill(rail, owner, teams=5, projects=4, joined=40, invited=3, issues=30)
        self.fill(boat, owner, teams=2, projects=2, joined=5, invited=1, issues=8)
        self.set_curiosities(lumen)
        # One person in two organizations: one user id, two member ids.
        self.join(rail, lumen.members[9].user, role="manager")
        self.set_apps_and_tokens(owner, lumen, rail)
        return self.world

    def moment(self, days: float) -> datetime:
        """A moment so many days ago, off the whole second, as real ones are."""
        return NOW - timedelta(days=days, microseconds=self.random.randrange(1, 999_999))

    def user(self, name: str, email: str) -> User:
        joined = self.random.uniform(30, 800)
        user = User(
            id=len(self.world.users) + 7,
            name=name,
            email=email,
            joined=self.moment(joined),
            last_active=self.moment(self.random.uniform(0, 30)),
            last_login=self.moment(self.random.uniform(0, 30)) if self.random.random() < 0.8 else None,
            has_2fa=self.random.random() < 0.25,
            avatar=self.random.choice(("letter_avatar", "letter_avatar", "gravatar")),
            is_verified=self.random.random() < 0.9,
        )
        self.world.users.append(user)
        return user

    def organization(self, number: int, slug: str, name: str, *, days: int) -> Organization:
        organization = Organization(id=number, slug=slug, name=name, created=self.moment(days))
        self.world.organizations.append(organization)
        return organization

    def join(self, organization: Organization, user: User | None, *, role: str = "member", invited: str = "") -> Member:
        self.member_id += 1
        member = Member(
            id=self.member_id,
            user=user,
            role=role,
            created=self.moment(self.random.uniform(1, 700)),
            invited_email=invited,
            inviter=None if user else "mara.quill@lumen-labs.example",
        )
        organization.members.append(member)
        return member

    def fill(
        self,
        organization: Organization,
        owner: User,
        *,
        teams: int,
        projects: int,
        joined: int,
        invited: int,
        issues: int,
    ) -> None:
        for index in range(teams):
            self.team_id += 1
            name = f"{_SERVICES[index]} crew"
            organization.teams.append(Team(self.team_id, name.replace(" ", "-"), name.title(), self.moment(300)))
        organization.teams.sort(key=lambda team: team.slug)
        for index in range(projects):
            self.project_id += 1
            owners = [organization.teams[index % teams].id, organization.teams[(index * 3 + 1) % teams].id]
            organization.projects.append(
                Project(
                    id=self.project_id,
                    slug=_SERVICES[index],
                    name=_SERVICES[index].title(),
                    platform=_PLATFORMS[index % len(_PLATFORMS)],
                    created=self.moment(250),
                    team_ids=sorted(set(owners[: 1 + index % 2])),
                    environments=["production", "staging"][: 1 + index % 2],
                    key=self.hexadecimal(32),
                )
            )
        organization.projects.sort(key=lambda project: project.slug)
        self.join(organization, owner, role="owner")
        for index in range(joined - 1):
            self.add_person(organization, index)
        for index in range(invited):
            email = f"invitee{index:02}@{organization.slug}.example"
            self.join(organization, None, invited=email).expired = index % 5 == 4
        self.add_releases(organization)
        for index in range(issues):
            self.add_issue(organization, index)

    def add_person(self, organization: Organization, index: int) -> None:
        plain = f"{self.random.choice(_FIRST)} {self.random.choice(_LAST)}"
        name = _UNUSUAL[index % 40 - 30] if 30 <= index % 40 < 30 + len(_UNUSUAL) else plain
        email = f"{plain.lower().replace(' ', '.')}.{index}@{organization.slug}.example"
        role = {5: "manager", 17: "billing", 29: "admin"}.get(index % 40, "member")
        user = self.user(name, email)
        member = self.join(organization, user, role=role)
        if index % 10 == 3:
            member.flags = frozenset({"sso:linked", "idp:provisioned"})
        # Most belong to one team, some to two, some to none.
        for step in range(self.random.choice((0, 1, 1, 1, 2))):
            team = organization.teams[(index + step * 3) % len(organization.teams)]
            member.teams[team.id] = "admin" if index % 15 == 0 else None
        if index % 12 == 7:
            user.other_emails.append((f"{user.email.partition('@')[0]}@home.example", index % 24 == 7))

    def set_curiosities(self, organization: Organization) -> None:
        """What clients meet one day: restricted seats, capitals, a shared address, people whom no list shows."""
        members = organization.members
        for index in (11, 12, 13):
            members[index].flags |= {"member-limit:restricted"}
        members[14].flags |= {"idp:role-restricted", "partnership:restricted"}
        people = [member.user for member in members if member.user]
        capitals, first, second, gone = people[15], people[20], people[21], people[40]
        capitals.email = "Big.Letters@Lumen-Labs.example"
        second.other_emails.append((first.email, False))
        gone.is_active = False
        self.join(organization, None, invited="wants.in@lumen-labs.example").invite_status = "requested_to_join"

    def add_releases(self, organization: Organization) -> None:
        for index, project in enumerate(organization.projects):
            for minor in range(3):
                self.release_id += 1
                organization.releases.append(
                    Release(
                        id=self.release_id,
                        version=f"{project.slug}@1.{minor}.0",
                        created=self.moment(60 - index - minor),
                        projects=[project],
                        released=self.moment(60 - index - minor) if minor < 2 else None,
                    )
                )
        organization.releases.sort(key=lambda release: release.created, reverse=True)

    def add_issue(self, organization: Organization, index: int) -> None:
        self.issue_id += 1
        project = organization.projects[index % len(organization.projects)]
        kind, value, culprit = _FAILURES[index % len(_FAILURES)]
        last_seen = self.random.uniform(0, 20)
        count = self.random.randrange(1, 5000)
        issue = Issue(
            id=self.issue_id,
            short_id=f"{project.slug.upper()}-{index // len(organization.projects) + 1}",
            project=project,
            kind=kind,
            value=f"{value} ({index})",
            culprit=culprit,
            level=("error", "warning", "fatal", "error")[index % 4],
            count=count,
            user_count=min(count, self.random.randrange(1, 400)),
            first_seen=self.moment(last_seen + self.random.uniform(0, 60)),
            last_seen=self.moment(last_seen),
            release=f"{project.slug}@1.{index % 3}.0",
            tags={
                "environment": project.environments[0],
                "customer": f"c{index % 7}",
                "browser": ("Firefox", "Chrome")[index % 2],
            },
            customer=f"buyer{index % 7}@shop.example",
        )
        if index % 6 == 4:
            issue.status, issue.substatus = "resolved", None
        elif index % 9 == 5:
            issue.status, issue.substatus = "ignored", "archived_until_escalating"
        if index % 5 == 1:
            issue.assignee = ("team", project.team_ids[0])
        elif index % 5 == 2:
            seat = next((m for m in organization.members if m.user and set(m.teams) & set(project.team_ids)), None)
            issue.assignee = ("user", seat.user.id) if seat and seat.user else None
        organization.issues[issue.id] = issue

    def set_apps_and_tokens(self, owner: User, lumen: Organization, rail: Organization) -> None:
        names = DEMO_TOKENS
        member = lumen.members[1].user
        reading = scopes("org:read member:read team:read project:read event:read")
        demo = DEMO_INTERNAL_APP
        internal = self.app(demo.slug, lumen, reading, is_internal=True)
        internal.client_id, internal.client_secret = demo.client_id, demo.client_secret
        public = self.app(
            "account-linker", rail, reading | scopes("event:write event:admin project:releases"), is_internal=False
        )
        self.token(names.admin, user=owner, granted=ALL_SCOPES)
        self.token(names.limited, user=owner, granted=scopes("org:read project:read"))
        self.token(names.expired, user=owner, granted=ALL_SCOPES).expires = datetime(2024, 2, 29, tzinfo=UTC)
        self.token(names.member, user=member, granted=ALL_SCOPES)
        for value, app in ((names.internal, internal), (names.app, public)):
            token = self.token(value, user=app.user, granted=app.scopes)
            token.kind, token.app, token.organization = "app", app, app.organization
            app.installations[0].token = token
        token = self.token(names.organization_ending, granted=scopes("org:ci"))
        token.kind, token.organization, token.name = "organization", lumen, "release uploads"
        self.set_linking_clients(lumen, public.scopes)

    def set_linking_clients(self, owner: Organization, granted: frozenset[str]) -> None:
        """The clients that accounts are linked by: an OAuth application, and an app that is installed nowhere yet."""
        demo = DEMO_OAUTH_CLIENT
        self.world.oauth_applications.append(OAuthApplication(demo.client_id, demo.client_secret, demo.name))
        linker = self.app(DEMO_APP.slug, owner, granted, is_internal=False)
        linker.name, linker.verify_install = DEMO_APP.name, DEMO_APP.verify_install
        linker.client_id, linker.client_secret = DEMO_APP.client_id, DEMO_APP.client_secret
        linker.is_published = True
        linker.installations.clear()

    def app(self, slug: str, organization: Organization, granted: frozenset[str], *, is_internal: bool) -> App:
        stand_in = self.user(f"{slug}-{self.hexadecimal(6)}", "")
        app = App(
            slug=slug,
            name=slug.replace("-", " ").title(),
            uuid=self.uuid(),
            client_id=self.hexadecimal(64),
            client_secret=self.hexadecimal(64),
            scopes=granted,
            organization=organization,
            user=stand_in,
            is_internal=is_internal,
            verify_install=not is_internal,
        )
        # Made long ago with codes that nobody exchanged, which for the sake of tests live for ever.
        code_expires = datetime(9999, 1, 1, tzinfo=UTC)
        app.installations.append(Installation(self.uuid(), app, organization, self.hexadecimal(32), code_expires))
        self.world.apps.append(app)
        return app

    def token(self, value: str, *, granted: frozenset[str], user: User | None = None) -> Token:
        token = Token(len(self.world.tokens) + 1, value, "user", granted, self.moment(90), user=user)
        self.world.tokens[value] = token
        return token

    def hexadecimal(self, length: int) -> str:
        return f"{self.random.getrandbits(length * 4):0{length}x}"

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))
