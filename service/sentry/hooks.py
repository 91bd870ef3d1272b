"""Webhooks' bodies, as typed structs. Their headers are not signed, so the body alone says what it is."""

from typing import Any, TypeVar

import msgspec

from service.errors import BadInput
from service.sentry.payloads import AppSlug, OrganizationSlug, Payload

T = TypeVar("T")


class Actor(Payload, frozen=True):
    """Who did it: ``type`` is ``user`` or ``application``. An application sees its own name, whichever did it."""

    type: str | None = None
    id: str | int | None = None
    name: str | None = None


class HookInstallation(Payload, frozen=True):
    """An installation as ``installation.*`` tells of it. ``code`` is to be exchanged for tokens, within ten minutes."""

    uuid: str
    status: str | None = None
    organization: OrganizationSlug | None = None
    app: AppSlug | None = None
    code: str | None = None

    def __repr__(self) -> str:
        return f"HookInstallation(uuid={self.uuid!r}, status={self.status!r})"  # the code is a secret


class InstallationHook(Payload, frozen=True):
    """``installation.created`` or ``installation.deleted``; newer Sentrys may know more."""

    action: str
    installation: HookInstallation
    actor: Actor | None = None


class OtherHook(Payload, frozen=True):
    """Any other, which is not read. ``installation_id`` is None where it does not say."""

    action: str | None
    installation_id: str | None


class _Envelope(Payload, frozen=True):
    action: Any = None
    installation: msgspec.Raw = msgspec.Raw(b"null")
    data: msgspec.Raw = msgspec.Raw(b"null")
    actor: msgspec.Raw = msgspec.Raw(b"null")


class _Reference(Payload, frozen=True):
    uuid: str


class _Data(Payload, frozen=True):
    installation: HookInstallation


_envelopes = msgspec.json.Decoder(_Envelope)
_references = msgspec.json.Decoder(_Reference)
_data = msgspec.json.Decoder(_Data)
_actors = msgspec.json.Decoder(Actor)


def decode_hook(body: bytes) -> InstallationHook | OtherHook:
    """Read a body whose signature was verified; what is unknown or of another shape than we know is left alone.

    Raises :class:`BadInput` where it is not a JSON object, or names two installations.
    """
    try:
        envelope = _envelopes.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadInput("The body is not that of one of Sentry's webhooks.") from None
    action = envelope.action if isinstance(envelope.action, str) else None
    reference = _read(_references, envelope.installation)
    data = _read(_data, envelope.data)
    if data is None or action is None:
        return OtherHook(action=action, installation_id=reference.uuid if reference else None)
    if reference is not None and reference.uuid != data.installation.uuid:
        raise BadInput("The webhook names two installations.")
    return InstallationHook(action=action, installation=data.installation, actor=_read(_actors, envelope.actor))


def _read(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
