"""OAuth 2 as Sentry does it: codes for what a person approved, and tokens for codes and refresh tokens.

Left out of what servers can: the implicit grant, OpenID's id_token, and newer servers' public clients and device flow.
"""

import hashlib
import re
import secrets
from base64 import b64decode, urlsafe_b64encode
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from service.sandbox.access import ALL_SCOPES, Scopes
from service.sandbox.call import Call
from service.sandbox.responses import Answer, Refused, answer_json
from service.sandbox.shapes import stamp
from service.sandbox.structure import User
from service.sandbox.world import CODE_LIFE, AuthorizationCode, OAuthApplication, Token

TOKEN_LIFE = timedelta(days=30)
NOT_CACHED = "max-age=0, no-cache, no-store, must-revalidate, private"
GRANTABLE: Scopes = ALL_SCOPES | {"openid", "profile", "email"}
_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


def may_redirect(application: OAuthApplication, uri: str, call: Call) -> bool:
    """Whether a redirect URI is registered. To a 23.7 it is enough that it starts with one on the same host."""
    if call.manner == "latest":
        return uri in application.redirect_uris
    return any(
        uri.startswith(known) and urlsplit(uri).netloc == urlsplit(known).netloc for known in application.redirect_uris
    )


def default_redirect(application: OAuthApplication, call: Call) -> str | None:
    """Where to redirect when the request does not say; newer servers want to be told where there are several."""
    known = application.redirect_uris
    return known[0] if known and (len(known) == 1 or call.manner == "23.7") else None


def read_challenge(query: dict[str, str], call: Call) -> str | None:
    """The PKCE challenge, which a 23.7 knows nothing of. ValueError where it is none."""
    challenge = query.get("code_challenge")
    if call.manner == "23.7" or challenge is None:
        return None
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.match(challenge):
        raise ValueError("code_challenge")
    return challenge


def redirect_back(uri: str, **params: str | None) -> Answer:
    """302 to the client, with the parameters after those that its URI has."""
    parts = urlsplit(uri)
    query = parse_qsl(parts.query, keep_blank_values=True)
    query += [(name, value) for name, value in params.items() if value is not None]
    return Answer(
        302, b"", "text/html; charset=utf-8", {"location": urlunsplit(parts._replace(query=urlencode(query)))}
    )


def approve(
    call: Call, application: OAuthApplication, user: User, granted: Scopes, uri: str, challenge: str | None
) -> AuthorizationCode:
    """Remembers what the user approved, and makes the code for it."""
    application.approved[user.id] = application.approved.get(user.id, frozenset()) | granted
    code = AuthorizationCode(secrets.token_hex(16), user, granted, uri, call.now + CODE_LIFE, challenge)
    application.codes[code.code] = code
    call.world.changed()
    return code


def answer_token(call: Call) -> Answer:
    """``POST /oauth/token/``: the answer, whatever it is, which no cache keeps."""
    try:
        answer = _answer_post(call) if call.method == "POST" else _wrong_method()
    except Refused as refused:
        answer = refused.answer
    answer.headers["cache-control"] = NOT_CACHED
    return answer


def _wrong_method() -> Answer:
    return Answer(405, b"", "text/html; charset=utf-8", {"allow": "POST, OPTIONS"})


def _answer_post(call: Call) -> Answer:
    form = call.form()
    application = _authenticate_old(call, form) if call.manner == "23.7" else _authenticate(call, form)
    give = _exchange if form["grant_type"] == "authorization_code" else _refresh
    token = give(call, application, form)
    call.world.record_issue(f"oauth {form['grant_type']}", str(token.id))
    return answer_json(_show(call, token))


def _error(name: str, status: int = 400) -> Refused:
    headers = {"www-authenticate": 'Basic realm="oauth"'} if name == "invalid_client" else None
    return Refused(answer_json({"error": name}, status, headers))


def _authenticate_old(call: Call, form: dict[str, str]) -> OAuthApplication:
    if not form.get("client_id"):
        raise _error("missing_client_id")
    if not form.get("client_secret"):
        raise _error("missing_client_secret")
    if form.get("grant_type") not in {"authorization_code", "refresh_token"}:
        raise _error("unsupported_grant_type")
    application = call.world.find_oauth_application(form["client_id"])
    if application is None or application.client_secret != form["client_secret"] or not application.is_active:
        raise _error("invalid_credentials", 401)
    return application


def _authenticate(call: Call, form: dict[str, str]) -> OAuthApplication:
    if not form.get("grant_type"):
        raise _error("invalid_request")
    if form["grant_type"] not in {"authorization_code", "refresh_token"}:
        raise _error("unsupported_grant_type")
    client_id, client_secret = form.get("client_id"), form.get("client_secret")
    scheme, _, basic = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and basic:
        if client_id or client_secret:
            raise _error("invalid_request")
        try:
            client_id, _, client_secret = b64decode(basic.strip(), validate=True).decode().partition(":")
        except ValueError:
            raise _error("invalid_client", 401) from None
    application = call.world.find_oauth_application(client_id)
    if application is None or not client_secret or application.client_secret != client_secret:
        raise _error("invalid_client", 401)
    if not application.is_active:
        application.codes.pop(form.get("code", ""), None)
        raise _error("invalid_grant")
    return application


def _exchange(call: Call, application: OAuthApplication, form: dict[str, str]) -> Token:
    code = application.codes.get(form.get("code", ""))
    if code is None or code.expires <= call.now:
        raise _error("invalid_grant")
    uri = form.get("redirect_uri")
    # A 23.7 lets the exchange leave it out; it must be the same where it is sent.
    if uri != code.redirect_uri and (uri or call.manner == "latest"):
        raise _error("invalid_grant")
    if call.manner == "latest":
        if code.challenge and not _verifies(code.challenge, form.get("code_verifier", "")):
            raise _error("invalid_grant")
        # A 23.7 takes a code as often as it comes, for ten minutes.
        del application.codes[code.code]
    return give_token(call, application, code.user, code.scopes)


def give_token(call: Call, application: OAuthApplication, user: User, granted: Scopes) -> Token:
    """A new token with its refresh token."""
    token = Token(call.world.new_id(), "", "user", granted, call.now, user=user, application=application)
    _renew(call, token)
    return token


def _verifies(challenge: str, verifier: str) -> bool:
    digest = hashlib.sha256(verifier.encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge


def _refresh(call: Call, application: OAuthApplication, form: dict[str, str]) -> Token:
    if not form.get("refresh_token") or form.get("scope"):
        raise _error("invalid_request")
    token = call.world.find_refresh(form["refresh_token"])
    if token is None or token.application is not application:
        raise _error("invalid_grant")
    _renew(call, token)
    return token


def _renew(call: Call, token: Token) -> None:
    """Gives a token new values in its own row: what it was called before is dead at once."""
    call.world.tokens.pop(token.value, None)
    token.value, token.refresh = secrets.token_hex(32), secrets.token_hex(32)
    token.expires = call.now + TOKEN_LIFE
    call.world.tokens[token.value] = token


def _show(call: Call, token: Token) -> dict[str, object]:
    user = token.user
    if user is None:
        raise ValueError("an OAuth token stands for a user")
    return {
        "access_token": token.value,
        "refresh_token": token.refresh,
        # A moment has passed since the end was reckoned, and Sentry rounds down.
        "expires_in": int(TOKEN_LIFE.total_seconds()) - 1,
        "expires_at": stamp(token.expires),
        "token_type": "bearer" if call.manner == "23.7" else "Bearer",
        "scope": " ".join(sorted(token.scopes)),
        "user": {"id": str(user.id), "name": user.name, "email": user.email},
    }
