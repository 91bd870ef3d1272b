"""The ``ConnectionDiagnosis`` type: what a live look at a connection found. Answers from ``Diagnosis``."""

from datetime import datetime

import strawberry

from service.connections.diagnosis import Diagnosis, Feature, Severity
from service.schema.rate_limit import SentryRateLimit, build_rate_limit


@strawberry.type(description="Something that is wrong with a connection.")
class ConnectionDiagnosisProblem:
    """Something that is wrong with a connection."""

    code: str = strawberry.field(
        description="A stable word: one of `ConnectionProblem`, or such as `MISSING_SCOPE`, `MISSING_ROLE`, "
        "`ORGANIZATION_RENAMED`, `WRONG_REGION`, `RATE_LIMIT_LOW`."
    )
    severity: Severity = strawberry.field(description="How much it matters.")
    message: str = strawberry.field(description="What is wrong.")
    cure: str = strawberry.field(description="What to do about it.")


@strawberry.type(description="Whether a connection reaches a feature.")
class ConnectionDiagnosisFeature:
    """Whether a connection reaches a feature."""

    name: str = strawberry.field(description="The feature, such as `users`.")
    is_available: bool = strawberry.field(description="Whether it works.")
    is_limited_by_role: bool = strawberry.field(
        description="Whether the credential has a scope for it, which the role of its user does not allow."
    )

    @strawberry.field(description="The scopes, any one of which the credential would need; empty where it has one.")
    def any_of(feature: strawberry.Parent[Feature]) -> list[str]:
        """The scopes that are missing."""
        return list(feature.any_of)


@strawberry.type(description="What a live look at a connection found. Empty `problems` mean that all is well.")
class ConnectionDiagnosis:
    """What a live look at a connection found."""

    checked_at: datetime = strawberry.field(description="When the look was taken.")
    is_live: bool = strawberry.field(
        description="Whether Sentry was asked. A connection that cannot be used is judged by what is known of it."
    )
    is_refreshable: bool = strawberry.field(description="Whether the service can renew the credential by itself.")
    scopes: list[str] | None = strawberry.field(
        description="The scopes that Sentry says the credential holds; null where it did not say."
    )
    access: list[str] | None = strawberry.field(
        description="The scopes that are in effect in the organization: a user's token is limited by the user's role "
        "there. Null where Sentry did not say."
    )
    role: str | None = strawberry.field(
        description="The role in the organization of the user whom the credential acts as; null for an integration."
    )
    clock_skew: float | None = strawberry.field(
        description="The seconds that Sentry's clock is ahead of this service's, to about a second."
    )

    @strawberry.field(description="What the connection reaches; null where Sentry did not say.")
    def features(diagnosis: strawberry.Parent[Diagnosis]) -> list[ConnectionDiagnosisFeature] | None:
        """The features."""
        return diagnosis.features  # type: ignore[return-value]  # they back the type

    @strawberry.field(description="What is left of Sentry's rate limit.")
    def rate_limit(diagnosis: strawberry.Parent[Diagnosis]) -> SentryRateLimit | None:
        """The latest rate-limit state."""
        return build_rate_limit(diagnosis.rate_limit)

    @strawberry.field(description="What is wrong, the worst first; empty where all is well.")
    def problems(diagnosis: strawberry.Parent[Diagnosis]) -> list[ConnectionDiagnosisProblem]:
        """The findings."""
        return diagnosis.findings  # type: ignore[return-value]  # they back the type
