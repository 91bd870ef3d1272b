"""A profile in the words of the summary: what can be done with what is held, and what cannot. Pure."""

from collections.abc import Collection, Iterable

from service.link.words import Words
from service.sentry.profiles import SCOPES, Profile, missing_scopes


def describe(profile: Profile, held: Collection[str], words: Words) -> tuple[list[str], list[str]]:
    """Lines of what the profile allows and the scopes reach, and of what they do not reach."""
    missing = missing_scopes(profile, held)
    return (
        _group((scope for scope in SCOPES[profile] if scope not in missing), words),
        _group(missing, words),
    )


def goes_beyond(profile: Profile, held: Collection[str]) -> bool:
    """Whether the credential could do more than the profile asks for."""
    return bool(set(held) - set(SCOPES[profile]))


def _group(scopes: Iterable[str], words: Words) -> list[str]:
    """``event:read event:write`` as ``Issues and events: read, change``."""
    kinds: dict[str, list[str]] = {}
    for scope in scopes:
        kind, _, level = scope.partition(":")
        kinds.setdefault(kind, []).append(words(f"levels.{level}"))
    return [f"{words(f'kinds.{kind}')}: {', '.join(levels)}" for kind, levels in kinds.items()]
