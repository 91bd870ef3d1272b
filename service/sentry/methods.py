"""HTTP methods that calls to Sentry may have."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

SAFE_METHODS = frozenset({"GET", "HEAD"})
"""Those that change nothing (RFC 9110, section 9.2.1).

Repeating any other may do a thing twice: PUT and DELETE are idempotent, but not against another's change.
"""
