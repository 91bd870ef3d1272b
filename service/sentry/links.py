"""Sentry's ``Link`` response header (RFC 8288, with two attributes of its own), read for its cursors alone."""

import re
from dataclasses import dataclass
from functools import lru_cache

# Parts are searched for, not anchored: GlitchTip wraps the whole value in {'…'}. The URLs are never used: they name
# the host that answered, which behind a proxy is another one.
_PART = re.compile(r"""<[^<>]*>((?:\s*;\s*[A-Za-z]+\s*=\s*(?:"[^"]*"|[^\s",;'}]+))+)""")
_ATTRIBUTE = re.compile(r""";\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([^\s",;'}]+))""")
_LONGEST_HEADER = 8192
_LONGEST_CURSOR = 200
# A cursor is written into our own `Link` headers, which common clients cut at `, <` even inside of quotes: a hostile
# Sentry's cursor would name them a URL to send their key to.
_URL_ENDS = frozenset("<>")


@dataclass(frozen=True, slots=True)
class PageLink:
    """One direction: Sentry's cursor, and whether there is anything to be found there."""

    cursor: str
    results: bool


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Both directions; None where the header does not name one (a list that comes whole)."""

    previous: PageLink | None = None
    next: PageLink | None = None


NO_LINKS = PageLinks()


@lru_cache(maxsize=256)  # a page that is asked for again comes with the same
def parse_link(header: str | None) -> PageLinks:
    """Read both directions out of a ``Link`` header; whatever is not understood is left out, nothing is raised."""
    if not header or len(header) > _LONGEST_HEADER:
        return NO_LINKS
    found: dict[str, PageLink] = {}
    for attributes in _PART.findall(header):
        values = {name.lower(): quoted or bare for name, quoted, bare in _ATTRIBUTE.findall(attributes)}
        cursor = values.get("cursor", "")
        if cursor and len(cursor) <= _LONGEST_CURSOR and cursor.isprintable() and not _URL_ENDS & set(cursor):
            found.setdefault(values.get("rel", ""), PageLink(cursor, results=values.get("results") == "true"))
    return PageLinks(found.get("previous"), found.get("next"))
