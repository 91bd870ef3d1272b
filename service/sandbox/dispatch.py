"""The road of an API call: path → endpoint; scopes; organization and role; handler."""

import re
from dataclasses import replace
from urllib.parse import unquote

from service.sandbox.authentication import refuse_barrier
from service.sandbox.call import Call, Endpoint
from service.sandbox.endpoints import ENDPOINTS
from service.sandbox.responses import (
    Answer,
    Refused,
    forbidden,
    method_not_allowed,
    no_route,
    not_found,
    unauthorized,
)
from service.sandbox.world import Token

_ROOT = "/api/0/"
_TABLE: dict[int, list[tuple[Endpoint, re.Pattern[str]]]] = {}
for _endpoint in ENDPOINTS:
    _TABLE.setdefault(_endpoint.template.count("/"), []).append((_endpoint, _endpoint.pattern()))


def find_endpoint(call: Call) -> tuple[Endpoint | None, Call]:
    """The endpoint at a call's path, or None, and the call with the names in its path."""
    # As real servers do, decode first and split then: %2F separates segments, too.
    path = unquote(call.path)
    if not path.startswith(_ROOT):
        return None, call
    below = path.removeprefix(_ROOT)
    for endpoint, pattern in _TABLE.get(below.count("/"), ()):
        if (found := pattern.match(below)) and (endpoint.since == "23.7" or call.manner == "latest"):
            return endpoint, replace(call, names=found.groupdict())
    return None, call


def answer(call: Call, endpoint: Endpoint | None, token: Token | None, problem: Refused | None) -> Answer:
    """What an endpoint answers; ``problem`` is why the call's credentials were refused, where they were."""
    try:
        if endpoint is None:
            return _outside(call)
        if call.method == "OPTIONS":
            return Answer(200, b"", "text/html; charset=utf-8")
        if problem:
            raise problem
        call.token = token
        return _handle(call, endpoint)
    except Refused as refused:
        return refused.answer


def _handle(call: Call, endpoint: Endpoint) -> Answer:
    if endpoint.needs is not None:
        token = call.token
        if token is None:
            raise unauthorized()
        needed = endpoint.needs.get(call.method, frozenset())
        challenge = call.manner == "latest"
        if token.scopes.isdisjoint(needed):
            raise forbidden(needed, challenge=challenge)
        if "organization" in call.names:
            organization = call.world.find_organization(call.names["organization"], call.manner)
            if organization is None:
                raise not_found()
            if barred := refuse_barrier(organization, token):
                raise barred
            effective = token.scopes_in(organization)
            if effective is None or effective.isdisjoint(needed):
                raise forbidden(needed, challenge=challenge)
            call.found, call.access = organization, effective
    handler = endpoint.handlers.get("GET" if call.method == "HEAD" else call.method)
    if handler is None:
        raise method_not_allowed(call.method)
    return handler(call)


def _outside(call: Call) -> Answer:
    """Paths that are no endpoint: two redirects, and 404."""
    if call.path == "/api/0":
        return Answer(301, b"", "text/html; charset=utf-8", {"location": _ROOT})
    if call.path == "/":
        return Answer(302, b"", "text/html; charset=utf-8", {"location": "/auth/login/"})
    raise no_route(call.path)
