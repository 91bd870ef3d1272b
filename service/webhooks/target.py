"""Where webhooks are sent: an address of a tenant's, parsed strictly. Pure."""

import re
from dataclasses import dataclass

from service.errors import BadInput
from service.sentry.origin import Origin

LONGEST_URL = 2000

_URL = re.compile(
    r"(?P<base>https?://[^/?#]+)"
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)"
    r"(?P<query>\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Target:
    """An address, and the origin by which it is judged. ``url`` is what is requested, in canonical form."""

    origin: Origin
    url: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Parse an address such as ``https://consumer.example/hooks?tenant=7`` (RFC 3986).

        Raises :class:`BadInput`, which does not repeat the text: it may hold a password.
        """
        found = _URL.match(text) if len(text) <= LONGEST_URL else None
        if found is None or "@" in found["base"]:
            raise _not_a_target()
        try:
            origin = Origin.parse(found["base"])
        except BadInput:
            raise _not_a_target() from None
        return cls(origin, origin.url + (found["path"] or "/") + (found["query"] or ""))


def _not_a_target() -> BadInput:
    return BadInput(
        "`url` is not the address of a webhook endpoint.",
        cure=f"Write it as https://consumer.example/hooks, percent-encoded, with at most {LONGEST_URL} characters; no "
        "user name, no fragment.",
    )
