"""Installations of apps: made, shown, confirmed and ended, and the tokens that are given for them.

What is refused how was read off a real 23.7.1; for newer servers it follows their source.
"""

import secrets
import uuid
from datetime import timedelta

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.client_assertion import verify_assertion
from service.sandbox.endpoints.credentials import mint, show_token
from service.sandbox.pagination import page_by_number
from service.sandbox.responses import (
    Answer,
    Refused,
    answer_json,
    detail,
    forbidden,
    internal_error,
    invalid,
    no_content,
    unauthorized,
)
from service.sandbox.shapes import Payload
from service.sandbox.structure import User
from service.sandbox.world import CODE_LIFE, App, Installation, Organization, Token

TOKEN_LIFE = timedelta(hours=8)
JWT_GRANT = "urn:sentry:params:oauth:grant-type:jwt-bearer"


def show_installation(installation: Installation) -> Payload:
    """An installation; its code as long as nobody exchanged it, to whomever may see it at all."""
    shown: Payload = {
        "app": {"uuid": installation.app.uuid, "slug": installation.app.slug},
        "organization": {"slug": installation.organization.slug},
        "uuid": installation.uuid,
        "status": installation.status,
    }
    return shown | {"code": installation.code} if installation.code else shown


def install(call: Call, app: App, organization: Organization, by: User | None) -> Installation:
    """Installs an app and tells it so: where no browser brings it the code, the webhook does."""
    installation = Installation(
        uuid=str(uuid.uuid4()),
        app=app,
        organization=organization,
        code=secrets.token_hex(16),
        code_expires=call.now + CODE_LIFE,
        status="pending" if app.verify_install else "installed",
    )
    app.installations.append(installation)
    call.world.changed()
    call.announcer.installation(installation, "created", show_installation(installation), by)
    return installation


def uninstall(call: Call, installation: Installation, by: User | None) -> None:
    """Ends an installation. Its token stays valid, and reaches nothing there any more: so does a real server's."""
    installation.app.installations.remove(installation)
    call.world.changed()
    call.announcer.installation(installation, "deleted", show_installation(installation), by)


def list_installations(call: Call) -> Answer:
    """What is installed in an organization; a person sees the codes that can be exchanged for tokens."""
    if call.bearer.kind != "user":
        raise _nowhere()
    found = [i for app in call.world.apps for i in app.installations if i.organization is call.found]
    page = page_by_number(found, call.page_size, call.cursor)
    return call.answer_page(page, [show_installation(installation) for installation in page.items])


def create_installation(call: Call) -> Answer:
    """Installs an app: 200; the same again where it is installed already, and no new code."""
    if call.bearer.kind != "user":
        raise _nowhere()
    slug = call.json().get("slug")
    if not isinstance(slug, str) or not slug:
        raise invalid(slug="This field is required.")
    app = call.world.find_app(slug)
    if app is None:
        raise internal_error()
    found = app.installation_in(call.organization) or install(call, app, call.organization, call.user)
    return answer_json(show_installation(found))


def _nowhere() -> Refused:
    return detail(404, "Not found.")


def _installation(call: Call) -> Installation:
    found = call.world.find_installation(call.names["uuid"])
    if found is None:
        raise _nowhere()
    return found


def _allowed(call: Call) -> Installation:
    """The installation, for its own app (whichever of its installations the token is of) and the right people."""
    installation = _installation(call)
    if call.bearer.kind != "user":
        if call.bearer.app is not installation.app:
            raise forbidden()
        return installation
    effective = call.bearer.scopes_in(installation.organization)
    if effective is None:
        raise _nowhere()
    if effective.isdisjoint(_NEEDS.get(call.method, frozenset())):
        raise forbidden()
    return installation


def get_installation(call: Call) -> Answer:
    """One installation: how an app's token learns its organization."""
    return answer_json(show_installation(_allowed(call)))


def put_installation(call: Call) -> Answer:
    """Says that the app finished its set-up, which only the app may say."""
    installation, status = _allowed(call), call.json().get("status")
    if status not in {None, "installed"}:
        raise invalid(status=f"Invalid value '{status}' for status. Valid values: 'installed'")
    if status:
        installation.status = "installed"
        call.world.changed()
    return answer_json(show_installation(installation))


def delete_installation(call: Call) -> Answer:
    """Uninstalls: 204."""
    uninstall(call, _allowed(call), call.user)
    return no_content()


def authorize(call: Call) -> Answer:
    """Gives a token for a code, a refresh token or (newer servers) a signed assertion: 201."""
    given = call.json()
    if not given:
        raise unauthorized("Invalid request")
    kind, is_new = given.get("grant_type"), call.manner == "latest"
    app = _asserted_app(call) if is_new and kind == JWT_GRANT else _known_app(call)
    installation = _installation(call)
    if installation.app is not app:
        raise forbidden()
    if kind == "authorization_code":
        _spend_code(call, installation, given.get("code"))
    elif kind == "refresh_token":
        _spend_token(call, app, _find_spent(call, app, given.get("refresh_token")))
    elif is_new and kind == JWT_GRANT:
        # Newer servers replace the token that the installation holds, and fail where it holds none.
        if installation.token is None:
            raise internal_error()
        _spend_token(call, app, installation.token)
    else:
        raise _refused(call, 403, "Invalid grant_type", "Invalid grant_type")
    token = mint(call, app, installation.organization)
    token.expires = call.now + TOKEN_LIFE
    installation.token = token
    call.world.record_issue(f"installation {str(kind).rpartition(':')[2]}", installation.uuid)
    return answer_json(show_token(token) | {"state": given.get("state")}, 201)


def _refused(call: Call, status: int, text: str, old: str = "Unauthorized") -> Refused:
    """A refusal as newer servers word it, or as a 23.7 does: always 403, and mostly one word."""
    return detail(status, text) if call.manner == "latest" else Refused(answer_json({"error": old}, 403))


def _known_app(call: Call) -> App:
    given = call.json()
    pair = given.get("client_id"), given.get("client_secret")
    found = next((app for app in call.world.apps if (app.client_id, app.client_secret) == pair), None)
    if found is None:
        raise unauthorized("Invalid Client ID / Secret pair")
    return found


def _asserted_app(call: Call) -> App:
    installation = call.world.find_installation(call.names["uuid"])
    if installation is None:
        raise unauthorized("Installation not found")
    app = installation.app
    name = verify_assertion(call.headers.get("authorization", ""), app.client_id, app.client_secret, call.now)
    if name in call.world.assertions:
        raise unauthorized("JWT has already been used")
    call.world.assertions.add(name)
    call.world.changed()
    return app


def _require(call: Call, name: str, value: object) -> str:
    if not value or not isinstance(value, str):
        raise invalid(**{name: "This field is required."}) if call.manner == "latest" else internal_error()
    return value


def _spend_code(call: Call, installation: Installation, code: object) -> None:
    wanted = _require(call, "code", code)
    grant = next((i for app in call.world.apps for i in app.installations if i.code == wanted), None)
    if grant is None:
        raise _refused(call, 401, "Could not find grant for given code")
    if grant is not installation:
        raise _refused(call, 401, "Forbidden grant")
    if grant.code_expires <= call.now:
        raise _refused(call, 401, "Grant has already expired", "Grant has already expired.")
    installation.code = None


def _find_spent(call: Call, app: App, refresh: object) -> Token:
    """The token to replace. Seen on a real server: any installation of the same app will do for its refresh token."""
    found = call.world.find_refresh(_require(call, "refresh_token", refresh))
    if found is None:
        raise _refused(call, 401, "Given refresh token does not exist")
    if found.app is not app:
        raise _refused(call, 401, "Token does not belong to the application")
    return found


def _spend_token(call: Call, app: App, token: Token) -> None:
    call.world.tokens.pop(token.value, None)
    for installation in app.installations:
        if installation.token is token:
            installation.token = None


def create_external_issue(call: Call) -> Answer:
    """Links an issue to something outside."""
    installation, given = _allowed(call), call.json()
    missing = {
        key: ["This field is required."] for key in ("issueId", "webUrl", "project", "identifier") if not given.get(key)
    }
    if missing:
        raise Refused(answer_json(missing, 400))
    number = str(given["issueId"])
    issue = installation.organization.issues.get(int(number)) if number.isdecimal() else None
    if issue is None:
        raise detail(404, "Could not find the corresponding issue for the given issueId")
    linked = {
        "id": str(call.world.new_id()),
        "issueId": number,
        "serviceType": installation.app.slug,
        "displayName": f"{given['project']}#{given['identifier']}",
        "webUrl": given["webUrl"],
    }
    issue.external.append(linked)
    call.world.changed()
    return answer_json(linked)


_MANAGE = access.scopes("org:integrations org:write org:admin")
_NEEDS: access.Needs = {
    "GET": _MANAGE | access.scopes("org:read"),
    "POST": access.scopes("event:read event:write event:admin"),
    "DELETE": _MANAGE,
}
_INSTALLATION = "sentry-app-installations/{uuid}/"

ENDPOINTS = (
    Endpoint(
        "organizations/{organization}/sentry-app-installations/",
        {"GET": list_installations, "POST": create_installation},
        {"GET": _NEEDS["GET"], "POST": _MANAGE},
    ),
    Endpoint(
        _INSTALLATION,
        {"GET": get_installation, "PUT": put_installation, "DELETE": delete_installation},
        {"GET": _NEEDS["GET"], "PUT": access.ALL_SCOPES, "DELETE": _MANAGE},
    ),
    Endpoint(_INSTALLATION + "authorizations/", {"POST": authorize}, None, authenticates=True),
    Endpoint(
        _INSTALLATION + "external-issues/", {"POST": create_external_issue}, access.EVENT | {"POST": _NEEDS["POST"]}
    ),
)
