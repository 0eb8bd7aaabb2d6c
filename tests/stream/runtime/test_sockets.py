"""Private sockets never leave the machine, and only their owner may enter their folder."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from pipeline_helpers import PATIENCE_MS

from eventveil.errors import BoundaryError, ConfigError
from eventveil.stream.publisher.expelled import forget_expelled
from eventveil.stream.runtime.sockets import (
    PRIVATE_HWM,
    UNIX_PATH_LIMIT,
    PrivateSockets,
    lock_folder,
    runtime_folder,
)


@pytest.fixture
def short_folder():
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="ev-", dir="/tmp") as folder:
        yield Path(folder)


def mode(folder):
    return stat.S_IMODE(folder.stat().st_mode)


def test_a_runtime_folder_is_made_for_its_owner_alone(short_folder, monkeypatch):
    monkeypatch.setattr("multiprocessing.util.get_temp_dir", lambda: str(short_folder))
    folder = runtime_folder(None)
    assert folder.parent == short_folder
    assert mode(folder) == 0o700
    assert runtime_folder(None) != folder


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_chosen_folder_is_made_for_its_owner_alone(short_folder, umask):
    before = os.umask(umask)
    try:
        folder = runtime_folder(short_folder / "line")
    finally:
        os.umask(before)
    assert folder == short_folder / "line"
    assert mode(folder) == 0o700
    assert runtime_folder(folder) == folder


@pytest.mark.parametrize("bits", [0o755, 0o750, 0o710, 0o701, 0o704, 0o770, 0o777])
def test_a_folder_that_others_may_enter_is_refused_and_left_as_it_is(short_folder, bits):
    short_folder.chmod(bits)
    with pytest.raises(BoundaryError, match=f"{short_folder}.*mode 0700; chmod 700 it"):
        runtime_folder(short_folder)
    assert mode(short_folder) == bits


def test_a_folder_of_another_user_is_refused(short_folder, monkeypatch):
    other = os.getuid() + 1
    monkeypatch.setattr("eventveil.stream.runtime.sockets.os.getuid", lambda: other)
    with pytest.raises(BoundaryError, match="a folder that you own"):
        runtime_folder(short_folder)


def test_a_folder_too_long_for_a_socket_is_refused(short_folder):
    longest = UNIX_PATH_LIMIT - len("/anonymize.sock") - len(f"{short_folder}/")
    assert runtime_folder(short_folder / ("x" * longest))
    with pytest.raises(ConfigError, match=r"line\.runtime_dir: .* is too long for a socket"):
        runtime_folder(short_folder / ("x" * (longest + 1)))
    with pytest.raises(ConfigError, match="is too long for a socket"):
        runtime_folder(short_folder / ("\N{BLACK STAR}" * (longest // 2)))  # three bytes each


@pytest.mark.parametrize("below", ["", "/line"])
def test_a_path_that_is_not_a_folder_is_refused(short_folder, below):
    (short_folder / "file").write_text("here")
    with pytest.raises(ConfigError, match=r"line\.runtime_dir: cannot create .*; choose another folder"):
        runtime_folder(Path(f"{short_folder}/file{below}"))


def test_a_private_socket_passes_what_it_is_given_and_stays_in_memory(context):
    sockets = PrivateSockets("line", context)
    with sockets.pull("publish") as pull, sockets.push("publish") as push:
        assert pull.last_endpoint == b"inproc://line-publish"
        pull.rcvtimeo = PATIENCE_MS
        push.send(b"window")
        assert pull.recv() == b"window"
        assert (pull.rcvhwm, push.sndhwm) == (PRIVATE_HWM, PRIVATE_HWM)


def test_a_private_socket_passes_what_it_is_given_and_stays_in_its_folder(context, short_folder):
    sockets = PrivateSockets(short_folder, context)
    with sockets.push("publish") as push, sockets.pull("publish") as pull:
        pull.rcvtimeo = PATIENCE_MS
        push.send(b"window")
        assert pull.recv() == b"window"
        assert [path.name for path in short_folder.iterdir()] == ["publish.sock"]


@pytest.mark.parametrize("base", ["tcp://127.0.0.1:5599", "tcp://*", "@tcp://"])
@pytest.mark.parametrize("name", ["publish", ":5599", "/tcp://127.0.0.1:5599"])
def test_a_private_socket_cannot_be_bound_to_the_network(context, base, name):
    with PrivateSockets(base, context).pull(name) as pull, PrivateSockets(base, context).push(name) as push:
        assert pull.last_endpoint.startswith(b"inproc://")
        assert push.last_endpoint.startswith(b"inproc://")


def test_a_folder_belongs_to_one_pipeline_until_it_lets_go(short_folder):
    handle = lock_folder(short_folder)
    with pytest.raises(ConfigError, match=rf"line\.runtime_dir: another pipeline uses {short_folder}"):
        lock_folder(short_folder)
    os.close(handle)
    os.close(lock_folder(short_folder))
    assert (short_folder / "lock").stat().st_mode & 0o777 == 0o600


def test_something_else_in_the_place_of_the_lock_is_explained(short_folder):
    (short_folder / "lock").mkdir()
    with pytest.raises(ConfigError, match="lock: cannot be locked: Is a directory; choose another folder"):
        lock_folder(short_folder)
    (short_folder / "lock").rmdir()
    (short_folder / "lock").symlink_to(short_folder / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be locked"):
        lock_folder(short_folder)
    assert not (short_folder / "elsewhere").exists()


def test_something_else_in_the_place_of_expelled_keys_is_explained(short_folder):
    forget_expelled(short_folder / "expelled")
    (short_folder / "expelled").mkdir()
    with pytest.raises(ConfigError, match=r"expelled: cannot be removed: .*; choose another folder"):
        forget_expelled(short_folder / "expelled")


def test_what_is_not_a_socket_is_not_replaced_by_a_private_one(context, short_folder):
    file, link = short_folder / "publish.sock", short_folder / "classify.sock"
    file.write_text("precious")
    link.symlink_to("nothing")
    for name in ("publish", "classify"):
        with pytest.raises(ConfigError, match="is not a socket"):
            PrivateSockets(short_folder, context).pull(name)
    assert file.read_text() == "precious"
    assert link.is_symlink()
