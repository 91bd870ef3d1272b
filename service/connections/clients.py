"""The OAuth clients and Sentry apps that the operator has registered, each at one Sentry."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from service.sentry.installations import SentryApp
from service.sentry.oauth import OAuthClient
from service.sentry.origin import Origin

C = TypeVar("C", OAuthClient, SentryApp)


@dataclass(frozen=True, slots=True)
class Clients:
    """Whom tokens are issued to. Client ids are unique among clients, and among apps."""

    oauth: tuple[OAuthClient, ...] = ()
    apps: tuple[SentryApp, ...] = ()

    def find_oauth(self, client_id: str | None, origin: Origin) -> OAuthClient | None:
        """The OAuth client of that id at that Sentry: its secret is meant for no other."""
        return _find(self.oauth, client_id, origin)

    def find_app(self, client_id: str | None, origin: Origin) -> SentryApp | None:
        """The Sentry app of that id at that Sentry."""
        return _find(self.apps, client_id, origin)


def _find(clients: Iterable[C], client_id: str | None, origin: Origin) -> C | None:
    return next((each for each in clients if each.client_id == client_id and each.origin == origin), None)
