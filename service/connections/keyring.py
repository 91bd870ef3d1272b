"""The keyring: a JSON file of versioned keys that seal secrets, and of the two keys that never rotate with them.

``{"version": 1, "active": "key_…", "keys": {"key_…": base64 of 256 bits}, "apiKeyPepper": …, "cursorKey": …}``

Every replica and the command line read the same file. Changes are atomic (a new file, synced, renamed over the old)
and made under a lock, so that a reader sees the old keyring or the new one, and no two changes lose each other's key.
A serving process notices a change before it seals and when it meets a key id that it does not know.
"""

import base64
import binascii
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import structlog
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.errors import ConfigurationError, Conflict, NotFound

KEY_BYTES = 32
_VERSION = 1

_log = structlog.get_logger(__name__)


class UnknownKey(LookupError):
    """A key id that the keyring does not hold."""


@dataclass(frozen=True, slots=True, repr=False)
class _Contents:
    """What the file says. Without a repr: it is nothing but secrets."""

    active: str
    keys: dict[str, bytes]
    api_key_pepper: bytes
    cursor_key: bytes


_Stamp = tuple[int, int, int]  # modification time in ns, inode, size: together they tell one rename from the next


class Keyring:
    """The keys of one file, read again whenever the file changes."""

    def __init__(self, path: Path, contents: _Contents, stamp: _Stamp) -> None:
        self._path = path
        self._contents = contents
        self._stamp = stamp

    def __repr__(self) -> str:
        return f"Keyring({str(self._path)!r}, active={self._contents.active!r}, keys={len(self._contents.keys)})"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a keyring file.

        Raises :class:`ConfigurationError` where it is missing, malformed, or open to other users of the machine. A
        file of our own must be private (0600 or stricter). A file of another owner, such as a mounted secret, may be
        readable by our group, since nothing else would let us read it; never writable by it, nor open to all.
        """
        contents, stamp = _read(path)
        return cls(path, contents, stamp)

    @classmethod
    def init(cls, path: Path) -> Self:
        """Make a keyring file with fresh keys. Raises :class:`ConfigurationError` where a file is there already."""
        contents = _Contents(
            active=(first := _new_key_id()),
            keys={first: secrets.token_bytes(KEY_BYTES)},
            api_key_pepper=secrets.token_bytes(KEY_BYTES),
            cursor_key=secrets.token_bytes(KEY_BYTES),
        )
        with _writing(path):
            if path.exists():
                raise ConfigurationError(
                    f"{path}: there is a keyring already; a new one would make every stored secret unreadable",
                    cure="Use `keys rotate` to add a key.",
                )
            _write(path, contents)
        return cls.load(path)

    @property
    def active_id(self) -> str:
        """The id of the key that seals; all others only open."""
        return self._contents.active

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(self._contents.keys)

    @property
    def api_key_pepper(self) -> bytes:
        """The 256-bit HMAC key under which API keys are stored."""
        return self._contents.api_key_pepper

    @property
    def cursor_key(self) -> bytes:
        """The 256-bit HMAC key that signs cursors."""
        return self._contents.cursor_key

    def derive(self, purpose: str) -> bytes:
        """A 256-bit key of its own for ``purpose`` (HKDF, RFC 5869); it stays the same when keys rotate."""
        hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"sentry-graph {purpose}".encode())
        return hkdf.derive(self._contents.api_key_pepper)

    def key(self, key_id: str) -> bytes:
        """The 256-bit key of that id; an unknown id has the file read again first.

        Raises :class:`UnknownKey`.
        """
        if key_id not in self._contents.keys:
            self.reload_if_changed()
        try:
            return self._contents.keys[key_id]
        except KeyError:
            raise UnknownKey(key_id) from None

    def reload_if_changed(self) -> bool:
        """Read the file again if it changed since; the check is one ``stat``. True where it did.

        While serving, a file that has gone bad is logged and the keys in memory serve on.
        """
        try:
            stamp = _stamp(self._path.stat())
            if stamp == self._stamp:
                return False
            self._stamp = stamp  # also of a bad file, which is then logged once and not at every call
            self._contents, self._stamp = _read(self._path)
        except (OSError, ConfigurationError) as error:
            _log.error("keyring_not_reloaded", path=str(self._path), reason=str(error))
            return False
        _log.info("keyring_reloaded", active=self._contents.active, keys=sorted(self._contents.keys))
        return True

    def rotate(self) -> str:
        """Add a fresh key and make it the one that seals. Returns its id."""
        added = _new_key_id()

        def change(contents: _Contents) -> _Contents:
            return replace(contents, active=added, keys=contents.keys | {added: secrets.token_bytes(KEY_BYTES)})

        self._change(change)
        return added

    def remove(self, key_id: str) -> bytes:
        """Take a key out and return it. Nothing here knows whether a row needs it: see ``rewrap.retire``.

        Raises :class:`NotFound`, or :class:`Conflict` for the active key.
        """

        def change(contents: _Contents) -> _Contents:
            if key_id not in contents.keys:
                raise NotFound(f"The keyring has no key `{key_id}`.")
            if key_id == contents.active:
                raise Conflict(f"`{key_id}` is the active key.", cure="Run `keys rotate` and `keys rewrap` first.")
            return replace(contents, keys={name: key for name, key in contents.keys.items() if name != key_id})

        before = self._change(change)
        return before.keys[key_id]

    def restore(self, key_id: str, key: bytes) -> None:
        """Put a key that :meth:`remove` returned back."""
        self._change(lambda contents: replace(contents, keys=contents.keys | {key_id: key}))

    def _change(self, change: Callable[[_Contents], _Contents]) -> _Contents:
        """Change what the file holds now, which may be newer than what we read. Returns what it held before."""
        with _writing(self._path):
            before, _ = _read(self._path)
            _write(self._path, change(before))
            self._contents, self._stamp = _read(self._path)
        return before


def _new_key_id() -> str:
    return f"key_{secrets.token_hex(4)}"


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> tuple[_Contents, _Stamp]:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            _check_private(path, found)
            text = file.read()
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no keyring file", cure="Make one with `keys init`.") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    return _parse(path, text), _stamp(found)


def _check_private(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    forbidden = 0o077 if found.st_uid == os.geteuid() else 0o027
    if mode & forbidden:
        raise ConfigurationError(
            f"{path}: the keyring is open to other users of this machine (mode {mode:04o})",
            cure=f"Run `chmod 600 {path}`.",
        )


def _parse(path: Path, text: bytes) -> _Contents:
    try:
        found = json.loads(text)
        if found["version"] != _VERSION:
            raise ConfigurationError(f"{path}: a keyring of version {found['version']}; this service reads {_VERSION}")
        keys = {key_id: _decode(key) for key_id, key in found["keys"].items()}
        contents = _Contents(found["active"], keys, _decode(found["apiKeyPepper"]), _decode(found["cursorKey"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        # Nothing of the cause is shown or chained: it may quote a key.
        raise ConfigurationError(f"{path}: not a keyring file", cure="Restore it from a backup.") from None
    if contents.active not in contents.keys:
        raise ConfigurationError(f"{path}: the active key is not among the keys", cure="Restore it from a backup.")
    return contents


def _decode(text: Any) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(key) != KEY_BYTES:
        raise ValueError("not 256 bits")
    return key


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Hold the lock of the keyring's folder, so that two commands change the file one after the other."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(f"{path}: its folder cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, contents: _Contents) -> None:
    text = json.dumps(
        {
            "version": _VERSION,
            "active": contents.active,
            "keys": {key_id: base64.b64encode(key).decode() for key_id, key in contents.keys.items()},
            "apiKeyPepper": base64.b64encode(contents.api_key_pepper).decode(),
            "cursorKey": base64.b64encode(contents.cursor_key).decode(),
        },
        indent=2,
    )
    target = path.resolve()  # a link stays a link; what it names is replaced
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
        except BaseException:
            with suppress(OSError):
                fresh.unlink()
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)  # makes the rename itself durable
    finally:
        os.close(descriptor)
