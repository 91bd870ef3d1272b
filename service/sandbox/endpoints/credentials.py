"""What issues or reveals credentials.

A real server does so for plain bearer tokens too, which is why a proxy must let nothing through to here.
"""

import secrets

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.pagination import page_by_number
from service.sandbox.responses import Answer, answer_json, detail, invalid, no_content, not_found
from service.sandbox.shapes import Payload, stamp
from service.sandbox.world import App, Organization, Token, write_organization_token


def show_token(token: Token) -> Payload:
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
    return answer_json([show_token(token) for token in mine if token.application is None])


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
        "status": "internal" if app.is_internal else "published" if app.is_published else "unpublished",
        "scopes": sorted(app.scopes),
        "events": sorted(app.events),
        "redirectUrl": app.redirect_url,
        "webhookUrl": app.webhook_url,
        "verifyInstall": app.verify_install,
        "clientId": app.client_id,
        "clientSecret": app.client_secret,
        "owner": {"id": app.organization.id, "slug": app.organization.slug},
    }


def list_apps(call: Call) -> Answer:
    """An organization's apps, secrets and all."""
    page = page_by_number([a for a in call.world.apps if a.organization is call.found], call.page_size, call.cursor)
    return call.answer_page(page, [_show_app(app) for app in page.items])


def list_published_apps(call: Call) -> Answer:
    """The published apps, to whomever asks without their secrets."""
    page = page_by_number([app for app in call.world.apps if app.is_published], call.page_size, call.cursor)
    secrets_of = ("clientId", "clientSecret")
    return call.answer_page(
        page, [{k: v for k, v in _show_app(app).items() if k not in secrets_of} for app in page.items]
    )


def _app(call: Call) -> App:
    found = call.world.find_app(call.names["app"])
    if found is None or not call.bearer.scopes_in(found.organization):
        raise not_found()
    return found


def get_app(call: Call) -> Answer:
    """One app."""
    return answer_json(_show_app(_app(call)))


def list_app_tokens(call: Call) -> Answer:
    """An internal integration's tokens, in the clear."""
    app = _app(call)
    return answer_json([show_token(t) for t in call.world.tokens.values() if t.app is app and app.is_internal])


def create_app_token(call: Call) -> Answer:
    """Mints another token of an internal integration: 201."""
    app = _app(call)
    if not app.is_internal:
        raise detail(403, "This route is limited to internal integrations only")
    return answer_json(show_token(mint(call, app, app.organization)), 201)


def mint(call: Call, app: App, organization: Organization) -> Token:
    """A new token of an app: an internal integration's never expires."""
    token = Token(
        id=call.world.new_id(),
        value=("sntryi_" if app.is_internal else "") + secrets.token_hex(32),
        kind="app",
        scopes=app.scopes,
        created=call.world.now,
        user=app.user,
        organization=organization,
        app=app,
        refresh=secrets.token_hex(32),
    )
    call.world.tokens[token.value] = token
    call.world.changed()
    return token


_SIGNED_IN: access.Needs = dict.fromkeys(("GET", "POST", "PUT", "DELETE"), access.ALL_SCOPES)

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
    Endpoint("sentry-apps/", {"GET": list_published_apps, "POST": refuse_without_session}, _SIGNED_IN),
    Endpoint("sentry-apps/{app}/", {"GET": get_app}, _SIGNED_IN),
    Endpoint("sentry-apps/{app}/api-tokens/", {"GET": list_app_tokens, "POST": create_app_token}, _SIGNED_IN),
)
