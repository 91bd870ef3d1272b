"""The OAuth clients and Sentry apps that the operator has registered, each at one Sentry."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from service.errors import BadInput, ConfigurationError
from service.sentry.ca import parse_ca
from service.sentry.installations import SentryApp
from service.sentry.oauth import OAuthClient
from service.sentry.origin import Origin
from service.settings import Settings

C = TypeVar("C", OAuthClient, SentryApp)


@dataclass(frozen=True, slots=True)
class Clients:
    """Whom tokens are issued to. Client ids are unique among clients, and among apps."""

    oauth: tuple[OAuthClient, ...] = ()
    apps: tuple[SentryApp, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> "Clients":
        """Those that the settings name. Raises :class:`ConfigurationError`."""
        oauth = [
            OAuthClient(
                origin=_parse_origin("OAUTH_CLIENTS", each.origin),
                client_id=each.client_id,
                client_secret=each.client_secret.get_secret_value(),
                ca=_read_ca("OAUTH_CLIENTS", each.ca_file),
            )
            for each in settings.oauth_clients
        ]
        apps = [
            SentryApp(
                origin=_parse_origin("SENTRY_APPS", each.origin),
                slug=each.slug,
                client_id=each.client_id,
                client_secret=each.client_secret.get_secret_value(),
                previous_client_secret=_reveal(each.previous_client_secret),
                verify_install=each.verify_install,
                ca=_read_ca("SENTRY_APPS", each.ca_file),
            )
            for each in settings.sentry_apps
        ]
        return cls(tuple(oauth), tuple(apps))

    def find_oauth(self, client_id: str | None, origin: Origin) -> OAuthClient | None:
        """The OAuth client of that id at that Sentry: its secret is meant for no other."""
        return _find(self.oauth, client_id, origin)

    def find_app(self, client_id: str | None, origin: Origin) -> SentryApp | None:
        """The Sentry app of that id at that Sentry."""
        return _find(self.apps, client_id, origin)


def _find(clients: Iterable[C], client_id: str | None, origin: Origin) -> C | None:
    return next((each for each in clients if each.client_id == client_id and each.origin == origin), None)


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _read_ca(setting: str, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return parse_ca(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, BadInput):
        raise ConfigurationError(f"SENTRY_GRAPH_{setting}: `ca_file` {path} is no PEM file of certificates") from None


def _parse_origin(setting: str, text: str) -> Origin:
    try:
        return Origin.parse(text)
    except BadInput:
        raise ConfigurationError(
            f"SENTRY_GRAPH_{setting}: `origin` must be Sentry's base address, such as https://sentry.io"
        ) from None
