"""Installations that nobody was seen to begin: held in the browser, sealed, until a session in it takes them up.

Nothing is linked by such a callback, and its code is not even exchanged: whoever sent it may want their installation
linked to somebody else's account.
"""

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from service.columns import now
from service.connections.vault import Binding, Sealed, Vault
from service.errors import SecretUnreadable

HELD_FOR = timedelta(minutes=10)
"""Sentry's codes live no longer."""

_BINDING = Binding("", "", "cookie.held_install", "")
_LONGEST = 3000


@dataclass(frozen=True, slots=True)
class HeldInstall:
    """An installation as the redirect named it, and which app it is of. Nothing of it has been verified."""

    client_id: str
    installation_id: str
    code: str = field(repr=False)
    organization: str | None
    until: datetime


def seal_held(vault: Vault, held: HeldInstall) -> str:
    """The value of the cookie."""
    sealed = vault.seal(msgspec.json.encode(held), binding=_BINDING)
    return f"{sealed.key_id}.{base64.urlsafe_b64encode(sealed.data).rstrip(b'=').decode()}"


def open_held(vault: Vault, value: str | None) -> HeldInstall | None:
    """What a cookie holds; None where it holds nothing, not any more, or was not made by us."""
    if not value or len(value) > _LONGEST:
        return None
    key_id, _, text = value.partition(".")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        held = msgspec.json.decode(vault.open(Sealed(key_id, data), _BINDING), type=HeldInstall)
    except (binascii.Error, ValueError, SecretUnreadable):
        return None
    return held if held.until > now() else None
