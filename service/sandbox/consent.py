"""``/oauth/authorize/``: asks a signed-in person whether a client may act for them."""

from dataclasses import dataclass

from service.sandbox import html, oauth
from service.sandbox.access import Scopes
from service.sandbox.responses import Answer, Refused
from service.sandbox.structure import User
from service.sandbox.web import Visit, show_login
from service.sandbox.world import OAuthApplication

# From the strongest to the weakest.
_DEEDS = {"admin": "see, change and delete", "write": "see and change", "read": "see"}
_THINGS = {
    "alerts": "Alerts",
    "event": "Issues and events",
    "member": "Members",
    "org": "Organization",
    "project": "Projects",
    "team": "Teams",
}


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """What a client asked for, checked."""

    application: OAuthApplication
    redirect_uri: str
    scopes: Scopes
    state: str | None
    challenge: str | None


def authorize(visit: Visit) -> Answer:
    """GET checks the request and asks; POST approves or denies what this browser was asked last."""
    try:
        if visit.call.method == "POST":
            return _decide(visit)
        asked = visit.session.request = _check(visit)
    except Refused as refused:
        return refused.answer
    user = visit.user
    if user is None:
        return show_login(visit, visit.here, f"Connect Sentry to {asked.application.name}")
    approved = asked.application.approved.get(user.id)
    is_known = approved is not None and asked.scopes <= approved
    if is_known and not visit.call.last("force_prompt"):
        return _approve(visit, asked, user)
    return _ask(visit, asked, user)


def _check(visit: Visit) -> ConsentRequest:
    """The request; raises a page where there is no address to trust, and a redirect for what else is wrong."""
    query = dict(visit.call.query)
    application = visit.call.world.find_oauth_application(query.get("client_id"))
    if application is None or not application.is_active:
        raise _refuse("client_id")
    uri = query.get("redirect_uri") or oauth.default_redirect(application, visit.call)
    if uri is None or not oauth.may_redirect(application, uri, visit.call):
        raise _refuse("redirect_uri")
    if query.get("response_type") != "code":
        raise _refuse("client_id")  # so a real server says, too
    state, scopes = query.get("state"), frozenset(query.get("scope", "").split())
    if not scopes <= oauth.GRANTABLE:
        raise Refused(oauth.redirect_back(uri, error="invalid_scope", state=state))
    try:
        challenge = oauth.read_challenge(query, visit.call)
    except ValueError:
        raise Refused(oauth.redirect_back(uri, error="invalid_request", state=state)) from None
    return ConsentRequest(application, uri, scopes, state, challenge)


def _ask(visit: Visit, asked: ConsentRequest, user: User) -> Answer:
    deeds = ["See your name and e-mail address.", *describe_scopes(asked.scopes)]
    return html.page(
        "Authorize Application",
        html.text(f"{asked.application.name} is requesting access to your Sentry account ({user.email}):"),
        html.bullets(deeds),
        html.form(".", visit.csrf, html.button("Approve", "op", "approve"), html.button("Deny", "op", "deny")),
    )


def describe_scopes(scopes: Scopes) -> list[str]:
    """What scopes allow, in words: of those on one thing the strongest, and what goes beyond."""
    said: dict[str, list[str]] = {}
    for thing, deed in sorted(scope.partition(":")[::2] for scope in scopes if ":" in scope):
        said.setdefault(thing, []).append(deed)
    lines = []
    for thing, deeds in said.items():
        strongest = next((words for deed, words in _DEEDS.items() if deed in deeds), None)
        others = [deed for deed in deeds if deed not in _DEEDS]
        lines.append(f"{_THINGS.get(thing, thing)}: {', '.join([*([strongest] if strongest else []), *others])}.")
    return lines


def _decide(visit: Visit) -> Answer:
    asked, user = visit.session.request, visit.user
    if not isinstance(asked, ConsentRequest) or not asked.application.is_active:
        return html.page("Authorization Error", html.text("Please start the authorization again."))
    if user is None:
        return show_login(visit, visit.here, f"Connect Sentry to {asked.application.name}")
    match visit.call.form().get("op"):
        case "approve":
            return _approve(visit, asked, user)
        case "deny":
            return oauth.redirect_back(asked.redirect_uri, error="access_denied", state=asked.state)
        case _:
            return html.page("Internal Error", status=500)


def _approve(visit: Visit, asked: ConsentRequest, user: User) -> Answer:
    code = oauth.approve(visit.call, asked.application, user, asked.scopes, asked.redirect_uri, asked.challenge)
    return oauth.redirect_back(asked.redirect_uri, code=code.code, state=asked.state)


def _refuse(parameter: str) -> Refused:
    """A page instead of a redirect: where the client or its address is wrong, there is nobody to send anything to."""
    said = html.text(f"Missing or invalid {parameter} parameter.", style="error")
    return Refused(html.page("Authorization Error", said, status=400))
