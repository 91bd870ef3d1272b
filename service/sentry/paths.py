"""Paths below ``/api/0/``: split into segments, checked, and rebuilt. No caller's string is ever joined to a URL."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, urlencode, urlsplit

from service.errors import BadInput, PathRefused
from service.sentry.origin import Origin

Query = Sequence[tuple[str, str]]
"""Parameters in order; a name may come several times."""

_LONGEST_PATH = 2000
_LONGEST_URL = 8000  # common servers read a request line of 8 KiB
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+\Z")  # RFC 3986, section 2.3: most segments, which need no encoding

# How many segments after the root are names or ids, even where they read like one of the words below.
_NAMES_AFTER_ROOT = {
    "organizations": 1,
    "projects": 2,
    "teams": 2,
    "issues": 1,
    "groups": 1,
    "users": 1,
    "sentry-apps": 1,
    "sentry-app-installations": 1,
}
# The fixed words of Sentry's URLs. A word that is missing here only makes a template, and so a bucket, coarser.
_WORDS = frozenset(
    """
    Groups Users actions activities api-tokens attachments attributes authorizations autofix avatar broadcasts
    build-distribution checkins chunk-upload chunks clicks combined-rules comments commitfiles commits committers config
    dashboards delete deploys detectors discover dsyms environments eventids events events-facets events-meta
    events-stats events-timeseries external-issues external-teams external-users files filters flags flamegraph
    forwarding groups hashes hooks images install-details integrations invite-requests issues issues-stats jobs keys
    latest latest-base logs me members merge models monitors notes notifications oldest organizations ownership
    plugins preprod preprodartifacts processingissues profiles profiling project-keys projects recommended
    recording-segments regions relay_usage release-threshold-statuses releases replay-count replay-selectors replays
    repo repos rules saved scim searches seer sent-first-event sentry-app-installations sentry-apps sessions shortids
    size-analysis snapshots source-map-debug source-maps spike-protections stats stats-summary stats_v2
    status-check-rules status-checks symbol-sources tags teams trace trace-items trace-meta transfer user-feedback
    user-issue user-reports user-teams users v2 values viewed-by workflows
    """.split()  # noqa: SIM905 - as a list literal it is not for reading
)


@dataclass(frozen=True, slots=True)
class ApiPath:
    """A path below ``/api/0/`` as its decoded segments; none of them can be read as anything but one segment."""

    segments: tuple[str, ...]

    @classmethod
    @lru_cache(maxsize=1024)  # callers ask for the same again
    def parse(cls, text: str) -> "ApiPath":
        """Read a caller's path, with or without ``/api/0/`` and outer slashes.

        Each segment may be percent-encoded once. Raises :class:`PathRefused` for whatever a server or proxy along the
        way might read differently: other URLs, empty or dot segments, encoded slashes, double encoding, controls.
        """
        if len(text) > _LONGEST_PATH:
            raise PathRefused(f"The path is longer than {_LONGEST_PATH} characters.")
        if "?" in text or "#" in text:
            raise PathRefused("The path holds a query or a fragment.", cure="Pass parameters in `query`.")
        if "//" in text or _SCHEME.match(text):
            raise PathRefused(
                "The path must not name a host or hold empty segments.",
                cure="Write it as organizations/{organization}/projects/, below /api/0/.",
            )
        inner = text.removeprefix("/").removesuffix("/")
        segments = tuple(_decode(segment) for segment in inner.split("/")) if inner else ()
        return cls.of(*(segments[2:] if segments[:2] == ("api", "0") else segments))

    @classmethod
    def of(cls, *segments: str) -> "ApiPath":
        """Build a path out of values as they are, such as a slug or a release's version.

        Raises :class:`PathRefused` for a value that cannot be one segment.
        """
        for segment in segments:
            _check(segment)
        return cls(segments)

    @property
    def text(self) -> str:
        """The path as it is sent, every segment fully percent-encoded (RFC 3986): ``organizations/acme/``.

        Sentry's routes end in a slash; only SCIM's do not.
        """
        if not self.segments:
            return ""
        joined = "/".join(
            [segment if _UNRESERVED.match(segment) else quote(segment, safe="") for segment in self.segments]
        )
        return joined if self.segments[2:3] == ("scim",) else joined + "/"

    @property
    def template(self) -> str:
        """The endpoint without names and ids, such as ``organizations/{}/members/``: a bounded set."""
        names = _NAMES_AFTER_ROOT.get(self.segments[0], 0) if self.segments else 0
        return "".join(
            f"{segment}/" if segment in _WORDS and not 1 <= place <= names else "{}/"
            for place, segment in enumerate(self.segments)
        )


def build_url(origin: Origin, path: ApiPath, query: Query = ()) -> str:
    """The absolute URL of a path on an origin.

    Raises :class:`BadInput` for a query that is too long or not text, and :class:`PathRefused` where the URL, parsed
    again, is not below the origin's ``/api/0/``.
    """
    base = f"{origin.prefix}/api/0/"
    url = f"{origin.url}/api/0/{path.text}"
    if query:
        try:
            url = f"{url}?{urlencode(query)}"
        except UnicodeEncodeError:
            raise BadInput("A query parameter is not valid Unicode text.") from None
    if len(url) > _LONGEST_URL:
        raise BadInput("The query is too long for one request.", cure="Ask for fewer things at once.")
    parsed = urlsplit(url)
    if (parsed.scheme, parsed.netloc) != (origin.scheme, origin.authority) or not parsed.path.startswith(base):
        raise PathRefused("The path leaves the connection's own API.")  # unreachable unless a check above is broken
    return url


def _decode(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise PathRefused("A segment of the path is not valid UTF-8.") from None


def _check(segment: str) -> None:
    if segment.partition(";")[0] in {"", ".", ".."}:  # some servers cut a segment at ";"
        raise PathRefused("A segment of the path is empty or made of dots.")
    if "/" in segment or "\\" in segment or not segment.isprintable():
        raise PathRefused("A segment of the path holds a slash, a backslash or a control character.")
    if _ESCAPE.search(segment):
        raise PathRefused("A segment of the path is percent-encoded twice.", cure="Percent-encode it once, or not.")
