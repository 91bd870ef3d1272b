"""Settings: read once from the environment into one frozen object. Secrets are never printed.

Every variable begins with ``SENTRY_GRAPH_``; lists and objects are JSON.
"""

import os
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from service.errors import ConfigurationError

PREFIX = "SENTRY_GRAPH_"

_CLIENT_ID = r"^[A-Za-z0-9_-]{1,200}$"

DEMO = {"graphiql": True, "introspection": True, "suggestions": True, "log_format": "console"}
"""What the demo switches on, whatever the environment says."""


Role = Literal["all", "web", "worker"]
"""What a process does."""


class JwtIssuer(BaseModel):
    """A gateway or identity provider whose JWTs are accepted, and the tenants it may name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1, description="The exact `iss` claim.")
    audience: str = Field(min_length=1, description="The `aud` claim that names this service.")
    jwks_url: str | None = Field(default=None, description="Where the issuer publishes its keys (https).")
    jwks_file: Path | None = Field(default=None, description="A local JWKS file instead of `jwks_url`.")
    tenants: tuple[str, ...] = Field(
        min_length=1, description="The tenant ids this issuer may name; any other is refused."
    )
    tenant_claim: str = Field(default="tenant", description="The claim that holds the tenant's id.")
    role_claim: str = Field(default="role", description="The claim that holds `read`, `write` or `admin`.")
    max_role: Literal["read", "write", "admin"] = Field(
        default="read",
        description="The highest role this issuer may give; without the claim the role is `read`.",
    )
    connections_claim: str = Field(
        default="connections", description="The claim that lists connection ids to narrow to."
    )
    external_ids_claim: str = Field(
        default="external_ids", description="The claim that lists externalIds to narrow to."
    )
    algorithms: tuple[Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "Ed25519", "EdDSA"], ...] = Field(
        default=("RS256", "ES256"), min_length=1, description="The signature algorithms accepted."
    )

    @model_validator(mode="after")
    def _has_one_source_of_keys(self) -> Self:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("give one of jwks_url and jwks_file")
        return self

    @field_validator("jwks_url")
    @classmethod
    def _keys_come_over_https(cls, value: str | None) -> str | None:
        url = urlsplit(value or "https://none")
        is_loopback = url.scheme == "http" and url.hostname in ("localhost", "127.0.0.1", "::1")
        if not (url.scheme == "https" or is_loopback) or not url.hostname or "@" in url.netloc:
            raise ValueError("use an https:// address without a user name (http:// on loopback only)")
        return value


class OAuthClientSettings(BaseModel):
    """An OAuth application, registered at one Sentry, by which customers link their accounts."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    origin: str = Field(default="https://sentry.io", description="The Sentry that it is registered at.")
    client_id: str = Field(pattern=_CLIENT_ID, description="The application's client id.")
    client_secret: SecretStr = Field(min_length=1, description="Its client secret.")
    ca_file: Path | None = Field(
        default=None, description="A PEM file with that Sentry's certificate authority, where it has a private one."
    )


class SentryAppSettings(OAuthClientSettings):
    """A public integration ("Sentry App"), registered at one Sentry, that customers install."""

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$", description="The integration's slug.")
    previous_client_secret: SecretStr | None = Field(
        default=None, description="The secret before, while Sentry may still sign webhooks with it."
    )
    verify_install: bool = Field(
        default=True, description="Whether the integration has `Verify Installation` switched on."
    )


class Settings(BaseSettings):
    """All settings. Field descriptions are the documentation: ``docs/settings.md`` is generated from them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    # --- serving ---
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on.")
    public_url: str | None = Field(
        default=None,
        description="The address by which clients reach this service, such as `https://graph.example`: links in "
        "answers and pages, and redirects from Sentry, begin with it. Linking by page needs it.",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins of browser frontends that may call this service, such as `https://app.example`.",
    )
    shutdown_seconds: int = Field(
        default=20, ge=1, le=600, description="How long SIGTERM lets running requests finish."
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="How long after SIGTERM requests are still taken while `/ready` fails; behind a load balancer, "
        "longer than it takes to notice.",
    )

    # --- storage ---
    database_url: str = Field(
        default="sqlite:///data/sentry-graph.db",
        repr=False,  # it holds a password
        description="`sqlite:///path` (one serving process) or `postgresql://user:password@host/name` (any number).",
    )
    keyring_file: Path = Field(
        default=Path("data/keyring.json"),
        description="The keys that seal stored secrets; made by `keys init`. Every replica reads the same file.",
    )

    # --- callers ---
    jwt_issuers: tuple[JwtIssuer, ...] = Field(
        default=(), description="Issuers of bearer JWTs, as a JSON list of objects."
    )

    audit_days: int = Field(default=365, ge=1, le=36500, description="How long entries of the audit log are kept.")

    # --- events ---
    event_days: int = Field(
        default=30, ge=1, le=36500, description="How long events and what became of their deliveries are kept."
    )
    forward_allow: tuple[str, ...] = Field(
        default=(),
        description="Origins of webhook endpoints that may be http or on a private address, such as "
        "`http://consumer.internal:8080`.",
    )
    legacy_webhooks: bool = Field(
        default=False,
        description="Let tenants make receivers for Sentry's legacy WebHooks plugin, which signs nothing: whoever "
        "knows such an address can send events.",
    )
    repair_seconds: int = Field(
        default=300,
        ge=0,
        le=86400,
        description="How often a connection's issues are compared with Sentry, to make up for webhooks that never "
        "came; 0 never.",
    )
    subscriptions: int = Field(
        default=2000,
        ge=0,
        le=100_000,
        description="Subscriptions open at once in a process at most; 0 offers none. The last eighth of them is for "
        "tenants that hold less than half.",
    )
    subscription_buffer: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="Events that wait for a slow subscriber at most; after that its subscription ends with `OVERFLOW`.",
    )
    role: Role = Field(
        default="all",
        description="What a process does: answer requests (`web`), the work behind them such as deliveries, repairs "
        "and refreshing (`worker`), or both. SQLite has one process, which does both.",
    )

    # --- linking ---
    oauth_clients: tuple[OAuthClientSettings, ...] = Field(
        default=(), description="OAuth applications that customers link by, as a JSON list of objects."
    )
    sentry_apps: tuple[SentryAppSettings, ...] = Field(
        default=(), description="Public integrations that customers install, as a JSON list of objects."
    )
    private_ca: bool = Field(
        default=False, description="Let a connection bring its own CA certificate, for a Sentry with a private one."
    )

    # --- Sentry ---
    egress_allow: tuple[str, ...] = Field(
        default=(),
        description="Origins that may be http or on a private address, such as `http://sentry.internal:9000`.",
    )
    upstream_deadline: float = Field(
        default=20.0, gt=0, le=300, description="Seconds one call to Sentry may take, retries included."
    )
    upstream_attempts: int = Field(default=4, ge=1, le=10, description="How often one call is tried at most.")
    upstream_max_bytes: int = Field(
        default=24 * 2**20, ge=2**16, description="The largest answer read from Sentry, decoded."
    )
    upstream_connections: int = Field(
        default=100, ge=1, le=1000, description="Open connections to one Sentry host at most."
    )
    group_cache_seconds: float = Field(
        default=10.0, ge=0, le=300, description="How long a connection's teams are remembered."
    )
    max_scan: int = Field(
        default=5000,
        ge=100,
        le=100_000,
        description="Rows read at most for a filter or order that Sentry cannot apply.",
    )

    proxy_max_upload_bytes: int = Field(
        default=100 * 2**20, ge=2**16, description="The largest body the streaming REST proxy takes up to Sentry."
    )

    # --- GraphQL ---
    graphiql: bool = Field(default=False, description="Serve GraphiQL at /graphql.")
    introspection: bool = Field(default=False, description="Answer introspection queries.")
    suggestions: bool = Field(default=False, description="Suggest similar field names in validation errors.")
    auth_directives: bool = Field(
        default=False, description="Print @authenticated and @requiresScopes (not every gateway composes them)."
    )
    trusted_documents: Path | None = Field(
        default=None, description="A JSON file of {sha256: document}; when set, only these operations run."
    )
    request_deadline: float = Field(default=30.0, gt=0, le=600, description="Seconds a GraphQL request may take.")
    max_body_bytes: int = Field(default=1_000_000, ge=1000, description="The largest request body.")
    max_tokens: int = Field(default=4000, ge=10, description="Lexical tokens in a document.")
    max_depth: int = Field(default=15, ge=3, description="Nesting of fields.")
    max_aliases: int = Field(default=60, ge=0, description="Aliased fields.")
    max_root_fields: int = Field(default=30, ge=1, description="Fields at the root.")
    max_directives: int = Field(default=60, ge=0, description="Directives in a document.")
    compiled_executor: bool = Field(
        default=True,
        description="Run operations compiled to Python; without it, all of them run on graphql-core's own executor.",
    )
    max_cost: int = Field(default=20_000, ge=10, description="Estimated cost of a request; lists multiply.")

    # --- operations ---
    log_format: Literal["json", "console"] = Field(default="json", description="How log lines are written.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level logged."
    )
    metrics: bool = Field(default=True, description="Serve Prometheus metrics at /metrics.")
    metrics_token: str | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description="A bearer token that /metrics asks for; without one it answers loopback only.",
    )
    otel_endpoint: str | None = Field(
        default=None, description="An OTLP/HTTP endpoint that receives traces; off when unset."
    )
    min_free_bytes: int = Field(
        default=64 * 2**20, ge=0, description="/ready fails when the database's disk has less (SQLite)."
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_exact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if "*" in origin or origin.count("/") != 2 or not _is_web_address(origin):
                raise ValueError("list exact origins such as https://app.example, without a path or *")
        return value

    @field_validator("public_url", "otel_endpoint")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not _is_web_address(value):
            raise ValueError("use an address such as https://graph.example, without a user name, query or fragment")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_is_supported(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("use sqlite:///path or postgresql://user:password@host/name")
        return value

    @field_validator("jwt_issuers")
    @classmethod
    def _issuers_differ(cls, value: tuple[JwtIssuer, ...]) -> tuple[JwtIssuer, ...]:
        if len({issuer.issuer for issuer in value}) < len(value):
            raise ValueError("list each issuer once")
        return value

    @field_validator("oauth_clients", "sentry_apps")
    @classmethod
    def _clients_differ(cls, value: tuple[OAuthClientSettings, ...]) -> tuple[OAuthClientSettings, ...]:
        if len({client.client_id for client in value}) < len(value):
            raise ValueError("list each client_id once")
        return value

    @model_validator(mode="after")
    def _clients_have_somewhere_to_return_to(self) -> Self:
        if (self.oauth_clients or self.sentry_apps) and self.public_url is None:
            raise ValueError(f"{PREFIX}PUBLIC_URL: set it, too: Sentry sends people back there after they agreed")
        return self

    @model_validator(mode="after")
    def _sqlite_has_one_process(self) -> Self:
        if self.is_sqlite and self.role != "all":
            raise ValueError(
                f"{PREFIX}ROLE: SQLite has one process, which does everything; several share one PostgreSQL database"
            )
        return self

    @property
    def works(self) -> bool:
        """Whether the process does the work behind requests."""
        return self.role != "web"

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite, and so the process the only one that serves."""
        return self.database_url.startswith("sqlite:")


def read_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; ``overrides`` (a command's options) win, but for None.

    Raises :class:`ConfigurationError` with one line for each wrong value, by the variable's name, without the value.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = [name for name in os.environ if name.startswith(PREFIX) and name not in known]
    if unknown:
        raise ConfigurationError(
            "\n".join(f"{name}: no such setting; see docs/settings.md" for name in sorted(unknown))
        )
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except SettingsError as error:
        name = str(error).split('"')[1]
        raise ConfigurationError(f"{PREFIX}{name.upper()}: not valid JSON") from None
    except ValidationError as error:
        lines = [
            _variable(problem["loc"]) + problem["msg"].removeprefix("Value error, ")
            for problem in error.errors(include_input=False)
        ]
        raise ConfigurationError("\n".join(lines)) from None


def _variable(location: tuple[int | str, ...]) -> str:
    """What a message begins with; one about several settings names them itself."""
    if not location:
        return ""
    first, *rest = location
    return PREFIX + str(first).upper() + "".join(f".{part}" for part in rest) + ": "


def _is_web_address(text: str) -> bool:
    """Whether it is ``http(s)://host``, perhaps with a port and a path."""
    try:
        url = urlsplit(text)
        return (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and (url.port is None or url.port > 0)
            and not any(character in text for character in "@?#\\ ")
        )
    except ValueError:
        return False
