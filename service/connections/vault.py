"""The vault: AES-256-GCM for each stored secret, bound to the place that it is stored in.

The additional authenticated data names the format, tenant, connection, column, row, origins and key, each with its
length before it. A ciphertext moved to another row, column, tenant, or under another origin does not open, so a dump
of the database is of no use, and a changed address never receives a stored token.
"""

import hashlib
import hmac
import os
import struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.connections.keyring import Keyring, UnknownKey
from service.connections.link_models import LinkSessionRecord
from service.connections.models import ConnectionRecord
from service.connections.receiver_models import ReceiverRecord
from service.errors import SecretUnreadable
from service.events.models import EndpointRecord

_FORMAT = b"\x01"
_NONCE_BYTES = 12


class Binding(msgspec.Struct, frozen=True):
    """The place a secret belongs to. ``row`` tells apart rows of one connection, where a table has several."""

    tenant_id: str
    connection_id: str
    column: str
    origin: str
    row: str = ""


def bind_token(connection: ConnectionRecord) -> Binding:
    """The place of a connection's token."""
    return Binding(connection.tenant_id, connection.id, "credentials.access_token", _origins(connection))


def bind_refresh_token(connection: ConnectionRecord) -> Binding:
    """The place of a connection's refresh token."""
    return Binding(connection.tenant_id, connection.id, "credentials.refresh_token", _origins(connection))


def bind_pending(session: LinkSessionRecord) -> Binding:
    """The place of what a link session received and did not link yet."""
    return Binding(session.tenant_id, "", "link_sessions.pending", "", session.id)


def bind_answer(connection: ConnectionRecord, key: str) -> Binding:
    """The place of the answer to a write that carried an idempotency key."""
    return Binding(connection.tenant_id, connection.id, "idempotency_keys.answer", _origins(connection), key)


def bind_receiver_secret(receiver: ReceiverRecord) -> Binding:
    """The place of the secrets that sign what comes to a webhook receiver: this one's and the one before."""
    return Binding(receiver.tenant_id, receiver.connection_id, "webhook_receivers.secret", "", receiver.id)


def bind_endpoint_secret(endpoint: EndpointRecord) -> Binding:
    """The place of the secrets that sign what goes to an endpoint: this one's and the one before."""
    return Binding(endpoint.tenant_id, "", "webhook_endpoints.secret", endpoint.url, endpoint.id)


class Sealed(msgspec.Struct, frozen=True):
    """A sealed secret: the id of the key that opens it, and format byte + 96-bit nonce + ciphertext + tag."""

    key_id: str
    data: bytes

    def __repr__(self) -> str:
        return f"Sealed({self.key_id})"


class Vault:
    """Seals and opens secrets with the keys of a keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._fingerprint_key = keyring.derive("credential fingerprint")

    def __repr__(self) -> str:
        return f"Vault({self._keyring!r})"

    @property
    def active_key_id(self) -> str:
        """The id of the key that seals now, also where another process has just rotated it."""
        self._keyring.reload_if_changed()
        return self._keyring.active_id

    def seal(self, plaintext: bytes, *, binding: Binding) -> Sealed:
        """Seal a secret with the active key."""
        key_id = self.active_key_id
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = AESGCM(self._keyring.key(key_id)).encrypt(nonce, plaintext, _associated_data(binding, key_id))
        return Sealed(key_id, _FORMAT + nonce + ciphertext)

    def open(self, sealed: Sealed, binding: Binding) -> bytes:
        """The secret. Raises :class:`SecretUnreadable` where its key is gone, or it was changed or moved."""
        if sealed.data[:1] != _FORMAT:
            raise SecretUnreadable("The stored secret has a format that this version does not know.")
        nonce, ciphertext = sealed.data[1 : 1 + _NONCE_BYTES], sealed.data[1 + _NONCE_BYTES :]
        try:
            key = self._keyring.key(sealed.key_id)
            return AESGCM(key).decrypt(nonce, ciphertext, _associated_data(binding, sealed.key_id))
        except UnknownKey:
            raise SecretUnreadable(f"The stored secret needs the key `{sealed.key_id}`, which is missing.") from None
        except (InvalidTag, ValueError):  # ValueError: cut so short that no nonce or tag is left
            raise SecretUnreadable("The stored secret was changed or moved.") from None

    def fingerprint(self, token: str) -> str:
        """64 hex digits, equal for equal tokens (which share Sentry's rate limit) and telling nothing else."""
        return hmac.new(self._fingerprint_key, token.encode(), hashlib.sha256).hexdigest()


def _origins(connection: ConnectionRecord) -> str:
    """Both of a connection's origins: the only places its secrets have to do with."""
    return f"{connection.control_origin} {connection.api_origin}"


def _associated_data(binding: Binding, key_id: str) -> bytes:
    """A canonical encoding: no two different bindings have the same one, since each part tells its length."""
    parts = (binding.tenant_id, binding.connection_id, binding.column, binding.row, binding.origin, key_id)
    encoded = [part.encode() for part in parts]
    return _FORMAT + b"".join(struct.pack(">I", len(part)) + part for part in encoded)
