"""Where the browser goes at the end: the redirect URI, with what came of it."""

from urllib.parse import quote, urlsplit

from service.connections.link_models import LinkSessionRecord


def build_return_url(record: LinkSessionRecord, status: str) -> str | None:
    """``redirectUri`` with ``link_session``, ``connection`` and ``status`` after the parameters that it has."""
    if record.redirect_uri is None:
        return None
    told = {"link_session": record.id, "connection": record.connection_id, "status": status}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in told.items() if value is not None)
    _, mark, before = record.redirect_uri.partition("?")
    joint = "?" if not mark else "&" if before and not before.endswith("&") else ""
    return f"{record.redirect_uri}{joint}{query}"


def find_host(url: str) -> str:
    """The host to name a destination by."""
    return urlsplit(url).netloc
