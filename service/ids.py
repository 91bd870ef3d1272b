"""Opaque global ids. They say what they name, so that ``node(id)`` can route them; they never grant anything."""

import os
import re
import time
from collections.abc import Sequence

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_LARGEST = 2**63 - 1  # of Sentry's ids; asked for a larger one, it answers 500
_MOST_DIGITS = len(str(_LARGEST))
_BODY = r"[0-9a-hjkmnp-tv-z]{26}"
_CONNECTION = re.compile(rf"con_{_BODY}\Z")
_USERS_OF = re.compile(rf"usr_{_BODY}")
# One digit less than the largest has, so that none can be too large.
_MEMBERS = re.compile(rf"[0-9]{{1,{_MOST_DIGITS - 1}}}(_[0-9]{{1,{_MOST_DIGITS - 1}}})*")
_USER = re.compile(rf"usr_({_BODY})_([0-9]{{1,{_MOST_DIGITS}}})\Z")
_EVENT = re.compile(rf"evt_{_BODY}\Z")


def new_id(prefix: str) -> str:
    """A new id such as ``con_01jd…``: 48 bits of milliseconds, so that ids sort by birth, and 80 random bits."""
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def is_connection_id(text: str) -> bool:
    """Whether the text has the form of a connection's id."""
    return _CONNECTION.match(text) is not None


def is_event_id(text: str) -> bool:
    """Whether the text has the form of an event's id."""
    return _EVENT.match(text) is not None


def build_user_id(connection_id: str, member_id: str) -> str:
    """The id of a connection's organization member: it survives slug renames and an invite being accepted."""
    return f"usr_{connection_id.removeprefix('con_')}_{member_id}"


def build_inner_id(prefix: str, connection_id: str, *names: str) -> str:
    """The id of something in a connection's organization, such as a group.

    Sentry's own ids repeat from one organization to the next; clients that keep objects by id would mix them up.
    """
    return "_".join((prefix, connection_id.removeprefix("con_"), *names))


def is_sentry_id(text: str) -> bool:
    """Whether the text may be one of Sentry's numeric ids."""
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and int(text) <= _LARGEST


def parse_user_id(text: str) -> tuple[str, str] | None:
    """``(connection id, member id)`` of a user's id, or None where the text has another form."""
    found = _USER.match(text)
    if found is None:
        return None
    body, member_id = found.groups()
    is_too_large = len(member_id) == _MOST_DIGITS and int(member_id) > _LARGEST
    return None if is_too_large else (f"con_{body}", member_id)


def parse_user_ids(texts: Sequence[str]) -> list[tuple[str, str] | None]:
    """:func:`parse_user_id` of each: where all are right, a connection is looked at once, and the members in one go."""
    parts = [text.rpartition("_") for text in texts]
    heads = {head for head, _, _ in parts}
    if not all(map(_USERS_OF.fullmatch, heads)) or not _MEMBERS.fullmatch("_".join([each for _, _, each in parts])):
        return [parse_user_id(text) for text in texts]
    ids = {head: f"con_{head.removeprefix('usr_')}" for head in heads}
    return [(ids[head], member_id) for head, _, member_id in parts]
