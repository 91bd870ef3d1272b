"""Webhooks of Sentry Apps, received: whose they are, that they are genuine, and what they change here."""

from collections.abc import Sequence

import structlog

from service.connections.clients import Clients
from service.connections.installations import Installations
from service.errors import BadInput, Unauthenticated
from service.sentry.hooks import InstallationHook, decode_hook
from service.sentry.installations import SentryApp, check_installation_id
from service.sentry.signatures import verify_signature

_INSTALLATION = "installation"

_log = structlog.get_logger(__name__)


class HookReceiver:
    """Takes webhooks of the configured apps. Only those of installations change anything yet."""

    def __init__(self, clients: Clients, installations: Installations) -> None:
        self._apps = {app.client_id: app for app in clients.apps}
        self._installations = installations

    async def receive(self, client_id: str, signatures: Sequence[str], resource: str | None, body: bytes) -> None:
        """Act on a webhook, and return once that is stored.

        ``resource`` is the header of that name, which nobody has signed: a body of another shape is refused. Raises
        :class:`Unauthenticated`, for an unknown app as for a bad signature; :class:`BadInput`; and
        :class:`StorageUnavailable`, after which Sentry's message is lost unless it is sent again.
        """
        app = self._verify(client_id, signatures, body)
        hook = decode_hook(body)
        is_installation = isinstance(hook, InstallationHook)
        if resource is None or (resource == _INSTALLATION) != is_installation:
            raise BadInput("The resource in the header is not that of the body.")
        if not isinstance(hook, InstallationHook):
            return
        installation_id = check_installation_id(hook.installation.uuid)
        said = {"app": app.slug, "installation": installation_id}
        if hook.action != "deleted":
            _log.info("installation_hook", action=hook.action, **said)
            return
        unlinked = await self._installations.unlink(
            control_origin=app.origin.url, client_id=app.client_id, installation_id=installation_id
        )
        _log.info("installation_deleted", connections=[connection.id for connection in unlinked], **said)

    def _verify(self, client_id: str, signatures: Sequence[str], body: bytes) -> SentryApp:
        """The app that the body is for. Raises :class:`Unauthenticated`, after as much work in either case."""
        app = self._apps.get(client_id)
        secrets = ("unknown",) if app is None else app.secrets
        signature = signatures[0] if len(signatures) == 1 else None
        is_genuine = verify_signature(body, signature, secrets)
        if app is None or not is_genuine:
            raise Unauthenticated("The webhook is not signed by an app that is known here.", cure="")
        return app
