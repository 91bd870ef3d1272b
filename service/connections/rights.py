"""What a credential may do in its organization, and which of the two is missing where it may not. Pure.

Effective rights are a token's scopes as far as the role of its user allows. Sentry tells the first at ``/api/0/``, and
what is left of it as ``access`` of the organization.
"""

from collections.abc import Collection, Sequence

from service.connections.credentials import FEATURES
from service.connections.diagnosis import Feature, Finding, Severity
from service.connections.models import ConnectionRecord
from service.sentry.payloads import Organization
from service.sentry.profiles import Profile, missing_scopes


def judge_rights(
    connection: ConnectionRecord, scopes: Collection[str], organization: Organization | None
) -> tuple[list[Feature], list[Finding]]:
    """What the credential reaches, and what it does not by its scopes or by its user's role.

    A connection of the profile ``full`` asks for nothing in particular: it may do whatever its credential can.
    """
    access = organization.access if organization else None
    role = (organization.org_role if organization else None) or "unknown"
    features, found = [], []
    for name, any_of in FEATURES.items():
        held = set(any_of) & set(scopes)
        is_limited = bool(held) and access is not None and not held & set(access)
        features.append(Feature(name, bool(held) and not is_limited, any_of if not held else (), is_limited))
        if not held:
            found.append(_missing_scope(name, any_of))
        elif is_limited:
            found.append(_missing_role(name, sorted(held), role))
    if connection.profile is not Profile.FULL:
        found += _judge_profile(connection.profile, scopes, access, role)
    if set(scopes) != set(connection.scopes):
        found.append(
            Finding(
                "SCOPES_CHANGED",
                Severity.WARNING,
                "The credential's scopes were changed in Sentry since the account was linked.",
                "Link the account again with the same externalId, so that `scopes` and `missingScopes` tell the truth.",
            )
        )
    return features, found


def _missing_scope(feature: str, any_of: Sequence[str]) -> Finding:
    return Finding(
        "MISSING_SCOPE",
        Severity.WARNING,
        f"Without one of the scopes {', '.join(any_of)} the token does not reach {feature}.",
        f"Link again with a token that holds `{any_of[0]}`.",
    )


def _missing_role(feature: str, held: Sequence[str], role: str) -> Finding:
    return Finding(
        "MISSING_ROLE",
        Severity.WARNING,
        f"The token holds {', '.join(held)}, which the role of its user (`{role}`) does not allow: no {feature}.",
        "Give the user a higher role in Sentry, or link a token of somebody who has one.",
    )


def _judge_profile(
    profile: Profile, scopes: Collection[str], access: Collection[str] | None, role: str
) -> list[Finding]:
    if lacked := missing_scopes(profile, scopes):
        return [
            Finding(
                "PROFILE_NOT_COVERED",
                Severity.WARNING,
                f"The profile `{profile}` is for more than the token can do: it lacks {', '.join(lacked)}.",
                "Link again with a token that holds these scopes, or narrow the profile.",
            )
        ]
    if access is not None and (refused := missing_scopes(profile, access)):
        return [
            Finding(
                "PROFILE_NOT_COVERED",
                Severity.WARNING,
                f"The profile `{profile}` is for more than the role of the token's user (`{role}`) allows: "
                f"{', '.join(refused)}.",
                "Give the user a higher role in Sentry, or narrow the profile.",
            )
        ]
    return []
