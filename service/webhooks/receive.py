"""Receiving Sentry's webhooks: that they are genuine, whose they are, and that they are stored before Sentry is told.

Sentry waits a second. What cannot be stored well within that is answered with 503, and the gap is remembered.
"""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.clients import Clients
from service.connections.installations import InstallationKey, Installations, Installed
from service.connections.receiver_models import ReceiverKind, ReceiverRecord
from service.db import Database
from service.errors import ServiceError, StorageUnavailable, Unauthenticated
from service.last_used import LastUsed
from service.sentry.hooks import Headers, Hook, read_app_hook, read_plugin_post, read_service_hook
from service.sentry.installations import SentryApp
from service.sentry.signatures import verify_signature
from service.tasks import Coalescer
from service.webhooks.addresses import Addresses
from service.webhooks.finding import ReceiverFinder, Receiving
from service.webhooks.gaps import Gaps, Source
from service.webhooks.sorting import Arrival, sort_app_hook, sort_own_hook
from service.webhooks.storing import HookStore, write_arrivals

SECONDS = 0.8
"""How long the database may take; Sentry waits a second for everything."""

_APP_SIGNATURE = "sentry-hook-signature"
_SIGNATURES = {
    ReceiverKind.INTERNAL_INTEGRATION: _APP_SIGNATURE,
    ReceiverKind.SERVICE_HOOK: "x-servicehook-signature",
}
_NOBODYS_SECRETS = ("nobody's",)
"""What a made-up address is checked with, so that it takes as long to refuse."""

_READERS: dict[ReceiverKind, Callable[[Headers, bytes], Hook]] = {
    ReceiverKind.INTERNAL_INTEGRATION: read_app_hook,
    ReceiverKind.SERVICE_HOOK: read_service_hook,
    ReceiverKind.LEGACY_PLUGIN: read_plugin_post,
}

_log = structlog.get_logger(__name__)


class Outcome(enum.StrEnum):
    """What became of a webhook."""

    ACCEPTED = "accepted"
    REPEAT = "repeat"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    FAILED = "failed"


Observe = Callable[[str, str], None]
"""Is told what kind of address it came to (``app``, ``receiver``, or ``unknown``), and what became of it."""


@dataclass(frozen=True)
class HookRequest:
    """A request as it came: its headers in order, by lower-case names, and the raw bytes that the signature is over."""

    pairs: Sequence[tuple[str, str]]
    body: bytes

    @cached_property
    def headers(self) -> Headers:
        """The headers by name; of one that came twice the first."""
        return dict(reversed(self.pairs))

    def is_signed_by(self, header: str, secrets: Sequence[str]) -> bool:
        """Whether one of the secrets has signed the body, by the one header of that name."""
        found = [value for name, value in self.pairs if name == header]
        return verify_signature(self.body, found[0] if len(found) == 1 else None, secrets)


class HookReceiver:
    """Takes webhooks. What it returns from is stored; what it raises for is not, as far as it knows."""

    def __init__(
        self,
        database: Database,
        *,
        clients: Clients,
        addresses: Addresses,
        installations: Installations,
        finder: ReceiverFinder,
        last_used: LastUsed,
        observe: Observe = lambda *_: None,
        seconds: float = SECONDS,
    ) -> None:
        """``seconds`` is how long storing a webhook may take until it counts as missed."""
        self._apps = {app.client_id: app for app in clients.apps}
        self._addresses = addresses
        self._installations = installations
        self._finder = finder
        self._last_used = last_used
        self._observe = observe
        self._seconds = seconds
        self._store = HookStore(database)
        self._gaps = Gaps(database)
        # Kept when Sentry's patience ends, as what is being stored is.
        self._uninstalls: Coalescer[tuple[InstallationKey, bytes], Outcome] = Coalescer(is_kept=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close gaps while the block runs; at its end wait for what is being stored."""
        async with self._gaps.running():
            try:
                yield
            finally:
                await self._store.drain()
                await self._uninstalls.drain()

    def is_of_app(self, client_id: str, token: str) -> bool:
        """Whether these are the parts of the address of a public app that is known here."""
        return client_id in self._apps and self._addresses.is_app(client_id, token)

    def is_of_receiver(self, receiver_id: str, token: str) -> bool:
        """Whether these are the parts of a receiver's address; the receiver may be gone."""
        return self._addresses.is_receiver(receiver_id, token)

    async def receive_for_app(self, client_id: str, token: str, request: HookRequest) -> Outcome:
        """Take a webhook that came to the address of a public app, and return once it is stored.

        Raises :class:`Unauthenticated`, for a made-up address as for a bad signature; :class:`BadInput` for a webhook
        that contradicts itself; :class:`StorageUnavailable`.
        """
        app = self._apps[client_id] if self.is_of_app(client_id, token) else None
        return await self._attend("app", app, self._take_for_app(app, request))

    async def receive(self, receiver_id: str, token: str, request: HookRequest) -> Outcome:
        """Take a webhook that came to a receiver of one connection: as :meth:`receive_for_app`."""
        known = receiver_id if self.is_of_receiver(receiver_id, token) else None
        return await self._attend("receiver", known, self._take(known, request))

    async def _attend(self, sender: str, source: Source | None, work: Awaitable[Outcome]) -> Outcome:
        """Await the work, as long as Sentry waits, and tell how it ended."""
        outcome = Outcome.FAILED
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    outcome = await work
            except TimeoutError:
                raise StorageUnavailable("The database takes too long.") from None
        except StorageUnavailable:
            if source is not None:
                self._gaps.note(source)
            raise
        except ServiceError as error:
            outcome = Outcome.REFUSED if error.status < 500 else Outcome.FAILED
            raise
        finally:
            self._observe("unknown" if source is None else sender, outcome)
        return outcome

    async def _take_for_app(self, app: SentryApp | None, request: HookRequest) -> Outcome:
        is_genuine = request.is_signed_by(_APP_SIGNATURE, _NOBODYS_SECRETS if app is None else app.secrets)
        if app is None or not is_genuine:
            raise _not_genuine()
        hook = read_app_hook(request.headers, request.body)

        def sort(installed: Installed) -> Arrival:
            return sort_app_hook(app.client_id, installed, hook, request.headers, request.body)

        if hook.installation_id is None:
            return await self._keep(sort(Installed((), was_linked=False)))
        key = InstallationKey(app.origin.url, app.client_id, hook.installation_id)
        if hook.is_uninstalled:
            return await self._uninstall(key, request.body, sort)
        return await self._keep(sort(await self._installations.find(key)))

    async def _take(self, receiver_id: str | None, request: HookRequest) -> Outcome:
        found = None if receiver_id is None else await self._finder.find(receiver_id)
        if not self._is_genuine(found, request) or found is None:
            raise _not_genuine()
        self._last_used.note(ReceiverRecord, found.receiver.id)
        hook = _READERS[found.receiver.kind](request.headers, request.body)
        return await self._keep(sort_own_hook(found, hook, request.headers, request.body))

    def _is_genuine(self, found: Receiving | None, request: HookRequest) -> bool:
        if found is None:
            return request.is_signed_by(_APP_SIGNATURE, _NOBODYS_SECRETS)
        if found.receiver.kind is ReceiverKind.LEGACY_PLUGIN:
            return True  # its address is its secret
        header = _SIGNATURES[found.receiver.kind]
        return request.is_signed_by(header, self._finder.secrets(found.receiver))

    async def _keep(self, arrival: Arrival) -> Outcome:
        is_repeat = await self._store.add(arrival)
        return _tell(arrival, is_repeat=is_repeat)

    async def _uninstall(self, key: InstallationKey, body: bytes, sort: Callable[[Installed], Arrival]) -> Outcome:
        """Store it and unlink what it ends, in one transaction."""

        async def work() -> Outcome:
            stored: list[Outcome] = []

            async def store(session: AsyncSession, installed: Installed) -> None:
                arrival = sort(installed)
                [is_repeat] = await write_arrivals(session, [arrival])
                stored.append(_tell(arrival, is_repeat=is_repeat))

            unlinked = await self._installations.unlink(key, store)
            ids = [connection.id for connection in unlinked]
            _log.info("installation_deleted", installation=key.installation_id, connections=ids)
            return stored[-1]

        return await self._uninstalls.run((key, body), work)


def _tell(arrival: Arrival, *, is_repeat: bool) -> Outcome:
    for item in arrival.quarantined:
        _log.info(
            "webhook_quarantined",
            reason=item.reason.value,
            client=item.client_id,
            receiver=item.receiver_id,
            installation=item.hook.installation_id,
            request=item.hook.request_id,
            sent_at=item.hook.sent_at,
        )
    if arrival.quarantined and not arrival.events:
        return Outcome.QUARANTINED
    return Outcome.REPEAT if is_repeat else Outcome.ACCEPTED


def _not_genuine() -> Unauthenticated:
    return Unauthenticated("The webhook is not signed by anybody who is known here.", cure="")
