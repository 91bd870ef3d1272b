"""Whose a genuine webhook is: events of connections, or something to put into quarantine. Pure."""

from dataclasses import dataclass

from service.connections.installations import Installed
from service.connections.models import ConnectionRecord, ConnectionStatus
from service.connections.receiver_models import QuarantineReason, ReceiverKind
from service.events.append import NewEvent
from service.events.types import build_type
from service.sentry.hooks import Headers, Hook, keep_headers
from service.webhooks.finding import Receiving

# Their addresses and secrets are of one project, so that nothing else should come there.
_OF_ONE_PROJECT = (ReceiverKind.SERVICE_HOOK, ReceiverKind.LEGACY_PLUGIN)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A webhook that is to be put into quarantine: see :class:`QuarantineRecord`."""

    reason: QuarantineReason
    hook: Hook
    headers: dict[str, str]
    body: bytes
    client_id: str | None = None
    receiver_id: str | None = None
    connection: ConnectionRecord | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is stored of one webhook, all of it or nothing."""

    events: tuple[NewEvent, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    size: int = 0


def sort_app_hook(client_id: str, installed: Installed, hook: Hook, headers: Headers, body: bytes) -> Arrival:
    """What is stored of a public app's webhook: an event of each connection that it linked by the installation."""
    kept = keep_headers(headers)
    if not installed.connections:
        reason = QuarantineReason.UNLINKED if installed.was_linked else QuarantineReason.UNKNOWN_INSTALLATION
        return Arrival(quarantined=(Quarantined(reason, hook, kept, body, client_id=client_id),), size=len(body))
    outside = [each for each in installed.connections if _is_of_other_project(each, hook)]
    return Arrival(
        events=tuple(build_event(each, hook, kept, body) for each in installed.connections if each not in outside),
        quarantined=tuple(
            Quarantined(QuarantineReason.OTHER_PROJECT, hook, kept, body, client_id=client_id, connection=each)
            for each in outside
        ),
        size=len(body),
    )


def sort_own_hook(found: Receiving, hook: Hook, headers: Headers, body: bytes) -> Arrival:
    """What is stored of a webhook that came to a receiver: an event of its connection, unless it is another's."""
    receiver, connection = found.receiver, found.connection
    kept = keep_headers(headers)
    reason = _find_reason(receiver.kind, connection, hook)
    if reason is None:
        return Arrival(events=(build_event(connection, hook, kept, body),), size=len(body))
    put = Quarantined(reason, hook, kept, body, receiver_id=receiver.id, connection=connection)
    return Arrival(quarantined=(put,), size=len(body))


def build_event(connection: ConnectionRecord, hook: Hook, headers: dict[str, str], body: bytes) -> NewEvent:
    """The event of a connection that a webhook tells of."""
    return NewEvent(
        tenant_id=connection.tenant_id,
        type=build_type(hook.resource, hook.action),
        connection_id=connection.id,
        issue_id=hook.issue_id,
        project_id=hook.project_id,
        project_slug=hook.project_slug,
        environment=hook.environment,
        level=hook.level,
        headers=headers,
        body=body,
    )


def _find_reason(kind: ReceiverKind, connection: ConnectionRecord, hook: Hook) -> QuarantineReason | None:
    if connection.status is ConnectionStatus.UNLINKED:
        return QuarantineReason.UNLINKED
    known = connection.installation_id
    if known is not None and hook.installation_id not in {None, known.lower()}:
        return QuarantineReason.OTHER_INSTALLATION
    is_elsewhere = hook.organization not in {None, connection.organization_slug}
    if _is_of_other_project(connection, hook) or (is_elsewhere and kind in _OF_ONE_PROJECT):
        return QuarantineReason.OTHER_PROJECT
    return None


def _is_of_other_project(connection: ConnectionRecord, hook: Hook) -> bool:
    """Whether the webhook names a project that the connection is not limited to. Ids stay when slugs change."""
    projects = connection.projects
    if projects is None or (hook.project_id is None and hook.project_slug is None):
        return False
    if hook.project_id is not None:
        return all(project["id"] != hook.project_id for project in projects)
    return all(project["slug"] != hook.project_slug for project in projects)
