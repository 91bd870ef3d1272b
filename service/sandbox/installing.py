"""``/sentry-apps/{slug}/external-install/``: a person installs an app in an organization of theirs."""

from urllib.parse import quote

from service.sandbox import html, oauth
from service.sandbox.access import ROLES, scopes
from service.sandbox.consent import describe_scopes
from service.sandbox.endpoints.installations import install
from service.sandbox.responses import Answer
from service.sandbox.structure import Organization, User
from service.sandbox.web import Visit
from service.sandbox.world import App, Installation

_MAY_INSTALL = scopes("org:integrations org:write org:admin")


def external_install(visit: Visit) -> Answer:
    """GET asks where to; POST installs and sends the browser to the app, with the code."""
    user = visit.user
    if user is None:
        return Answer(302, b"", html.HTML, {"location": f"/auth/login/?next={quote(visit.here, safe='')}"})
    app = visit.call.world.find_app(visit.call.path.split("/")[2])
    if app is None or app.is_internal:
        return html.page("Page Not Found", html.text("There is no such integration."), status=404)
    if visit.call.method == "POST":
        return _install(visit, app, user)
    mine = [organization for organization in visit.call.world.organizations if organization.role_of(user)]
    if not mine:
        return html.page("No organization", html.text("You belong to no organization."))
    return _ask(visit, app, mine)


def _ask(visit: Visit, app: App, mine: list[Organization]) -> Answer:
    return html.page(
        f"Install {app.name}",
        html.text(f"{app.name} asks for these permissions in the organization where you install it:"),
        html.bullets(describe_scopes(app.scopes)),
        html.form(
            "",
            visit.csrf,
            html.choice("Organization", "organization", [(found.slug, found.name) for found in mine]),
            html.button("Accept & Install", "op", "install"),
        ),
    )


def _install(visit: Visit, app: App, user: User) -> Answer:
    wanted = visit.call.form().get("organization", "")
    organization = visit.call.world.find_organization(wanted, "23.7")
    role = organization.role_of(user) if organization else None
    if organization is None or role is None:
        return html.page("Page Not Found", html.text("You belong to no such organization."), status=404)
    if ROLES[role].scopes.isdisjoint(_MAY_INSTALL):
        said = f"You may not install integrations in {organization.name}. Ask an owner or manager to open this page."
        return html.page(f"Install {app.name}", html.text(said, style="error"), status=403)
    if app.installation_in(organization):
        said = f"{organization.name} already has {app.name} installed."
        return html.page(f"Install {app.name}", html.text(said, style="error"))
    return _send_back(app, install(visit.call, app, organization, user))


def _send_back(app: App, installation: Installation) -> Answer:
    if app.redirect_url is None:
        return html.page(f"{app.name} is installed", html.text("You can close this page."))
    return oauth.redirect_back(
        app.redirect_url,
        code=installation.code,
        installationId=installation.uuid,
        orgSlug=installation.organization.slug,
    )
