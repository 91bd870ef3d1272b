"""What issues or reveals credentials.

A real server does so for plain bearer tokens too, which is why a proxy must let nothing through to here.
"""

import secrets
from datetime import timedelta

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.pagination import page_by_number
from service.sandbox.responses import Answer, Refused, answer_json, detail, invalid, no_content, not_found
from service.sandbox.shapes import Payload, stamp
from service.sandbox.world import App, Token, write_organization_token


def _show_token(token: Token) -> Payload:
    """A token, value and all."""
    return {
        "id": str(token.id),
        "scopes": sorted(token.scopes),
        "application": None,
        "expiresAt": stamp(token.expires),
        "dateCreated": stamp(token.created),
        "state": None,
        "token": token.value,
        "refreshToken": token.refresh,
    }


def list_tokens(call: Call) -> Answer:
    """The user's own tokens, in the clear."""
    mine = [t for t in call.world.tokens.values() if t.kind == "user" and t.user is call.user]
    return answer_json([_show_token(token) for token in mine])


def refuse_without_session(_: Call) -> Answer:
    """Some writes need a browser's session."""
    raise detail(403, "CSRF Failed: CSRF cookie not set.")


def list_organization_tokens(call: Call) -> Answer:
    """An organization's tokens, without their values."""
    found = [t for t in call.world.tokens.values() if t.kind == "organization" and t.organization is call.found]
    return answer_json([_show_organization_token(token) for token in found])


def _show_organization_token(token: Token) -> Payload:
    return {
        "id": str(token.id),
        "name": token.name,
        "scopes": sorted(token.scopes),
        "tokenLastCharacters": token.value[-4:],
        "dateCreated": stamp(token.created),
        "dateLastUsed": None,
        "projectLastUsedId": None,
    }


def create_organization_token(call: Call) -> Answer:
    """Mints an organization token: 201, its value shown this once."""
    name = call.json().get("name")
    if not isinstance(name, str) or not name:
        raise invalid(name="The name cannot be blank.")
    token = Token(
        id=call.world.new_id(),
        value=secrets.token_urlsafe(32).replace("_", "-")[:43],
        kind="organization",
        scopes=access.scopes("org:ci"),
        created=call.world.now,
        organization=call.organization,
        name=name,
    )
    call.world.tokens[token.value] = token
    call.world.changed()
    value = write_organization_token(call.base, call.organization.slug, token.value)
    return answer_json(_show_organization_token(token) | {"token": value}, 201)


def delete_organization_token(call: Call) -> Answer:
    """Ends an organization token."""
    for value, token in call.world.tokens.items():
        if token.organization is call.found and token.kind == "organization" and str(token.id) == call.names["id"]:
            del call.world.tokens[value]
            call.world.changed()
            return no_content()
    raise not_found()


def _show_app(app: App) -> Payload:
    """An app; its secret is shown to its owner."""
    return {
        "name": app.name,
        "slug": app.slug,
        "uuid": app.uuid,
        "status": "internal" if app.is_internal else "unpublished",
        "scopes": sorted(app.scopes),
        "events": ["issue"],
        "redirectUrl": None if app.is_internal else "http://127.0.0.1:8000/link/callback",
        "webhookUrl": None,
        "verifyInstall": not app.is_internal,
        "clientId": app.client_id,
        "clientSecret": app.client_secret,
        "owner": {"id": app.organization.id, "slug": app.organization.slug},
    }


def list_apps(call: Call) -> Answer:
    """An organization's apps, secrets and all."""
    page = page_by_number([a for a in call.world.apps if a.organization is call.found], call.page_size, call.cursor)
    return call.answer_page(page, [_show_app(app) for app in page.items])


def list_published_apps(call: Call) -> Answer:
    """The published apps: none."""
    nothing: list[App] = []
    page = page_by_number(nothing, call.page_size, call.cursor)
    return call.answer_page(page, page.items)


def _app(call: Call) -> App:
    found = next((a for a in call.world.apps if a.slug == call.names["app"]), None)
    if found is None or not call.bearer.scopes_in(found.organization):
        raise not_found()
    return found


def get_app(call: Call) -> Answer:
    """One app."""
    return answer_json(_show_app(_app(call)))


def list_app_tokens(call: Call) -> Answer:
    """An internal integration's tokens, in the clear."""
    app = _app(call)
    return answer_json([_show_token(t) for t in call.world.tokens.values() if t.app is app and app.is_internal])


def create_app_token(call: Call) -> Answer:
    """Mints another token of an internal integration: 201."""
    app = _app(call)
    if not app.is_internal:
        raise detail(403, "This route is limited to internal integrations only")
    token = _mint(call, app)
    return answer_json(_show_token(token), 201)


def _mint(call: Call, app: App) -> Token:
    token = Token(
        id=call.world.new_id(),
        value=("sntryi_" if app.is_internal else "") + secrets.token_hex(32),
        kind="app",
        scopes=app.scopes,
        created=call.world.now,
        user=app.user,
        organization=app.organization,
        app=app,
        refresh=secrets.token_hex(32),
    )
    call.world.tokens[token.value] = token
    call.world.changed()
    return token


def _show_installation(app: App, *, reveals_code: bool) -> Payload:
    shown: Payload = {
        "app": {"uuid": app.uuid, "slug": app.slug},
        "organization": {"slug": app.organization.slug},
        "uuid": app.installation,
        "status": app.status,
    }
    return shown | {"code": app.code} if reveals_code else shown


def list_installations(call: Call) -> Answer:
    """What is installed in an organization; a person sees the codes that can be exchanged for tokens."""
    if call.bearer.kind != "user":
        raise detail(404, "Not found.")
    found = [app for app in call.world.apps if app.organization is call.found]
    page = page_by_number(found, call.page_size, call.cursor)
    return call.answer_page(page, [_show_installation(app, reveals_code=True) for app in page.items])


def _installed(call: Call) -> App:
    found = next((a for a in call.world.apps if a.installation == call.names["uuid"]), None)
    if found is None:
        raise not_found()
    return found


def _own_installation(call: Call) -> App:
    app = _installed(call)
    if not call.bearer.scopes_in(app.organization):
        raise not_found()
    return app


def get_installation(call: Call) -> Answer:
    """One installation: how an app's token learns its organization."""
    return answer_json(_show_installation(_own_installation(call), reveals_code=call.bearer.kind == "user"))


def put_installation(call: Call) -> Answer:
    """Says that the app finished its set-up."""
    app = _own_installation(call)
    if call.json().get("status") != "installed":
        raise invalid(status="Invalid value. Must be 'installed'.")
    app.status = "installed"
    call.world.changed()
    return answer_json(_show_installation(app, reveals_code=False))


def exchange(call: Call) -> Answer:
    """Gives a token for a code or a refresh token: 201; spent ones are refused with 403."""
    app, given = _installed(call), call.json()
    if (given.get("client_id"), given.get("client_secret")) != (app.client_id, app.client_secret):
        raise detail(401, "Invalid request")
    if given.get("grant_type") == "authorization_code" and given.get("code") == app.code:
        app.code = secrets.token_hex(16)
    elif given.get("grant_type") == "refresh_token":
        spent = next(
            (
                t
                for t in call.world.tokens.values()
                if t.app is app and t.refresh and t.refresh == given.get("refresh_token")
            ),
            None,
        )
        if spent is None:
            raise Refused(answer_json({"error": "Unauthorized"}, 403))
        del call.world.tokens[spent.value]
    else:
        raise Refused(answer_json({"error": "Unauthorized"}, 403))
    token = _mint(call, app)
    token.expires = call.now + timedelta(hours=8)
    return answer_json(_show_token(token), 201)


def create_external_issue(call: Call) -> Answer:
    """Links an issue to something outside."""
    app, given = _own_installation(call), call.json()
    missing = {
        key: ["This field is required."] for key in ("issueId", "webUrl", "project", "identifier") if not given.get(key)
    }
    if missing:
        raise Refused(answer_json(missing, 400))
    number = str(given["issueId"])
    issue = app.organization.issues.get(int(number)) if number.isdecimal() else None
    if issue is None:
        raise detail(404, "Could not find the corresponding issue for the given issueId")
    linked = {
        "id": str(call.world.new_id()),
        "issueId": number,
        "serviceType": app.slug,
        "displayName": f"{given['project']}#{given['identifier']}",
        "webUrl": given["webUrl"],
    }
    issue.external.append(linked)
    call.world.changed()
    return answer_json(linked)


_SIGNED_IN: access.Needs = dict.fromkeys(("GET", "POST", "PUT", "DELETE"), access.ALL_SCOPES)
_INSTALLATION = "sentry-app-installations/{uuid}/"

ENDPOINTS = (
    Endpoint(
        "api-tokens/",
        {"GET": list_tokens, "POST": refuse_without_session, "DELETE": refuse_without_session},
        _SIGNED_IN,
    ),
    Endpoint(
        "organizations/{organization}/org-auth-tokens/",
        {"GET": list_organization_tokens, "POST": create_organization_token},
        access.AUTH_TOKEN,
    ),
    Endpoint(
        "organizations/{organization}/org-auth-tokens/{id}/",
        {"DELETE": delete_organization_token},
        access.AUTH_TOKEN,
    ),
    Endpoint("organizations/{organization}/sentry-apps/", {"GET": list_apps}, access.ORGANIZATION),
    Endpoint(
        "organizations/{organization}/sentry-app-installations/", {"GET": list_installations}, access.ORGANIZATION
    ),
    Endpoint("sentry-apps/", {"GET": list_published_apps, "POST": refuse_without_session}, _SIGNED_IN),
    Endpoint("sentry-apps/{app}/", {"GET": get_app}, _SIGNED_IN),
    Endpoint("sentry-apps/{app}/api-tokens/", {"GET": list_app_tokens, "POST": create_app_token}, _SIGNED_IN),
    Endpoint(_INSTALLATION, {"GET": get_installation, "PUT": put_installation}, _SIGNED_IN),
    Endpoint(_INSTALLATION + "authorizations/", {"POST": exchange}, None),
    Endpoint(
        _INSTALLATION + "external-issues/",
        {"POST": create_external_issue},
        access.EVENT | {"POST": access.EVENT["POST"]},
    ),
)
