"""Whom a call comes from: the bearer token, and every way in which Sentry refuses one."""

from service.sandbox.call import Call
from service.sandbox.responses import Refused, answer_json, unauthorized
from service.sandbox.structure import Barrier, Organization
from service.sandbox.world import Token

_MESSAGES: dict[Barrier, str] = {
    "sso-required": "Must login via SSO",
    "2fa-required": "Organization requires two-factor authentication to be enabled",
    "member-disabled-over-limit": "Organization over member limit",
}


def authenticate(call: Call) -> tuple[Token | None, Refused | None]:
    """The token of a call, or why it is refused; neither where the call brings no credentials."""
    kind, _, value = call.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        return None, unauthorized("Invalid username/password.")
    if kind.lower() != "bearer":
        return None, None
    token = call.world.find_token(value.strip())
    problem = _find_problem(token, value, call)
    return (None, unauthorized(problem)) if problem else (token, None)


def _find_problem(token: Token | None, value: str, call: Call) -> str:
    if token is None:
        return "Invalid org token" if value.startswith("sntrys_") else "Invalid token"
    if token.expires and token.expires <= call.now:
        return "Token expired"
    if token.user and not token.user.is_active:
        return "User inactive or deleted"
    client = token.application or token.app
    return "UserApplication inactive or deleted" if client and not client.is_active else ""


def refuse_barrier(organization: Organization, token: Token) -> Refused | None:
    """The 401 of an organization that asks its people for more than a token; apps pass."""
    if organization.barrier is None or token.kind != "user":
        return None
    extra = {"loginUrl": f"/auth/login/{organization.slug}/"} if organization.barrier == "sso-required" else {}
    shown = {"code": organization.barrier, "message": _MESSAGES[organization.barrier], "extra": extra}
    return Refused(answer_json({"detail": shown}, 401, {"www-authenticate": 'xBasic realm="api"'}))
