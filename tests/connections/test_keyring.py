import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.connections.keyring import Keyring, UnknownKey
from service.errors import ConfigurationError, Conflict, NotFound


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keyring.json"


def test_init_makes_a_private_file_with_one_active_key(path):
    keyring = Keyring.init(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keyring.key_ids == {keyring.active_id}
    assert len(keyring.key(keyring.active_id)) == len(keyring.api_key_pepper) == len(keyring.cursor_key) == 32
    assert set(json.loads(path.read_text())) == {"version", "active", "keys", "apiKeyPepper", "cursorKey"}
    assert list(path.parent.iterdir()) == [path]


def test_init_never_overwrites(path):
    Keyring.init(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        Keyring.init(path)
    assert path.read_bytes() == before


def test_load_gives_what_was_written(path):
    made, loaded = Keyring.init(path), Keyring.load(path)
    assert loaded.key(made.active_id) == made.key(made.active_id)
    assert loaded.api_key_pepper == made.api_key_pepper
    assert loaded.cursor_key == made.cursor_key
    assert not loaded.reload_if_changed()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o601])
def test_a_file_open_to_others_is_refused(path, mode):
    Keyring.init(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"{mode:04o}") as caught:
        Keyring.load(path)
    assert "chmod 600" in str(caught.value.cure)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("mode", "accepted"), [(0o440, True), (0o640, True), (0o660, False), (0o644, False)])
def test_a_mounted_secret_may_be_readable_by_our_group_only(path, mode, accepted):
    Keyring.init(path)
    os.chown(path, 12345, -1)
    path.chmod(mode)
    if accepted:
        Keyring.load(path)
    else:
        with pytest.raises(ConfigurationError, match="open to other users"):
            Keyring.load(path)


def test_a_missing_file_says_how_to_make_one(path):
    with pytest.raises(ConfigurationError, match="no keyring file") as caught:
        Keyring.load(path)
    assert "keys init" in str(caught.value.cure)


KEY = base64.b64encode(b"k" * 32).decode()
GOOD = {"version": 1, "active": "a", "keys": {"a": KEY}, "apiKeyPepper": KEY, "cursorKey": KEY}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[]",
        b"1",
        json.dumps(GOOD | {"version": 2}).encode(),
        json.dumps(GOOD | {"active": "b"}).encode(),
        json.dumps(GOOD | {"keys": [KEY]}).encode(),
        json.dumps(GOOD | {"keys": {"a": "c2hvcnQ="}}).encode(),
        json.dumps(GOOD | {"keys": {"a": KEY + "!"}}).encode(),
        json.dumps(GOOD | {"keys": {"a": 5}}).encode(),
        json.dumps({"version": 1, "active": "a", "keys": {"a": KEY}, "apiKeyPepper": KEY}).encode(),
    ],
)
def test_a_malformed_file_is_one_clear_line_without_a_key(path, text):
    path.parent.mkdir()
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        Keyring.load(path)
    assert "\n" not in caught.value.message
    assert KEY not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_folder_in_the_files_place_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Keyring.load(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="folder"):
        Keyring.init(tmp_path / "file" / "keyring.json")


def test_a_keyring_that_cannot_be_written_is_left_whole(path):
    keyring = Keyring.init(path)
    before = path.read_bytes()
    if os.geteuid() == 0:
        long = path.with_name("k" * 250)  # its temporary name is over the file system's 255 bytes
        path.rename(long)
        keyring = Keyring.load(long)
        path = long
    else:
        path.parent.chmod(0o500)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        keyring.rotate()
    path.parent.chmod(0o700)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_rotate_adds_a_key_and_another_process_picks_it_up(path):
    keyring, other = Keyring.init(path), Keyring.load(path)
    old = keyring.active_id
    new = keyring.rotate()
    assert keyring.active_id == new
    assert keyring.key_ids == {old, new}
    assert other.active_id == old
    with capture_logs() as logs:
        assert other.reload_if_changed()
        assert not other.reload_if_changed()
    assert logs == [{"event": "keyring_reloaded", "log_level": "info", "active": new, "keys": sorted([old, new])}]
    assert other.active_id == new
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unknown_key_id_has_the_file_read_again(path):
    keyring, other = Keyring.init(path), Keyring.load(path)
    new = keyring.rotate()
    assert other.key(new) == keyring.key(new)
    with pytest.raises(UnknownKey):
        other.key("key_never")


def test_pepper_cursor_key_and_derived_keys_survive_rotation(path):
    keyring = Keyring.init(path)
    before = keyring.api_key_pepper, keyring.cursor_key, keyring.derive("one")
    keyring.rotate()
    assert (keyring.api_key_pepper, keyring.cursor_key, keyring.derive("one")) == before
    assert keyring.derive("one") != keyring.derive("two")
    assert keyring.derive("one") != keyring.api_key_pepper


def test_remove_takes_a_key_out_and_restore_puts_it_back(path):
    keyring = Keyring.init(path)
    old = keyring.active_id
    secret = keyring.key(old)
    keyring.rotate()
    assert keyring.remove(old) == secret
    assert old not in Keyring.load(path).key_ids
    keyring.restore(old, secret)
    assert Keyring.load(path).key(old) == secret


def test_a_key_that_another_process_added_can_be_removed(path):
    keyring, other = Keyring.init(path), Keyring.load(path)
    added = other.rotate()
    secret = other.key(added)
    other.rotate()
    assert keyring.remove(added) == secret


def test_the_active_key_and_unknown_keys_are_not_removed(path):
    keyring = Keyring.init(path)
    with pytest.raises(Conflict):
        keyring.remove(keyring.active_id)
    with pytest.raises(NotFound):
        keyring.remove("key_never")


def test_a_file_gone_bad_while_serving_leaves_the_keys_in_memory(path):
    keyring = Keyring.init(path)
    active = keyring.active_id
    path.write_text("{")
    assert not keyring.reload_if_changed()
    path.unlink()
    assert not keyring.reload_if_changed()
    assert len(keyring.key(active)) == 32


def test_concurrent_rotations_lose_no_key(path):
    Keyring.init(path)
    added: list[str] = []
    threads = [threading.Thread(target=lambda: added.append(Keyring.load(path).rotate())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(added)) == 8
    assert Keyring.load(path).key_ids >= set(added)


def test_a_link_to_the_file_stays_a_link(path, tmp_path):
    Keyring.init(path)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    new = Keyring.load(link).rotate()
    assert link.is_symlink()
    assert Keyring.load(path).active_id == new


def test_repr_shows_no_key(path):
    keyring = Keyring.init(path)
    shown = repr(keyring) + repr(vars(keyring))
    for secret in (keyring.key(keyring.active_id), keyring.api_key_pepper, keyring.cursor_key):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
        assert base64.b64encode(secret).decode() not in shown
