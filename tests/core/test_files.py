"""Atomic and private files: whole or not at all, through exceptions, full disks and kills."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventveil.host.files import append_private, atomic_file, private_folder, remove_parts, write_atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("previous", [None, b"previous"])
def test_a_file_is_written_or_replaced_and_nothing_else_is_left(tmp_path, previous):
    path = tmp_path / "a.bin"
    if previous is not None:
        path.write_bytes(previous)
    write_atomic(path, b"content")
    assert path.read_bytes() == b"content"
    assert names(tmp_path) == ["a.bin"]


def test_until_the_block_ends_readers_see_the_previous_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"previous")
    with atomic_file(path) as file:
        file.write(b"content")
        file.flush()
        assert path.read_bytes() == b"previous"
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_keeps_the_previous_file(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"previous")

    def fail():
        with atomic_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"previous"
    assert names(tmp_path) == ["a.bin"]


def test_a_full_disk_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"previous")

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("eventveil.host.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"content")
    assert path.read_bytes() == b"previous"
    assert names(tmp_path) == ["a.bin"]


KILLED = """
import os, pathlib, signal, sys
from eventveil.host.files import atomic_file
with atomic_file(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_keeps_the_previous_file_and_its_part_can_be_removed(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"previous")
    (tmp_path / "b.bin").write_bytes(b"other")
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"previous"
    assert len(names(tmp_path)) == 3
    remove_parts(path)
    assert names(tmp_path) == ["a.bin", "b.bin"]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_file(path) as one:
        with atomic_file(path) as other:
            other.write(b"other")
            one.write(b"one")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.usefixtures("open_umask")
def test_files_are_private_from_the_first_byte(tmp_path):
    path = tmp_path / "a.bin"
    path.touch()
    with atomic_file(path) as file:
        assert mode(Path(file.name)) == 0o600
        assert Path(file.name).parent == tmp_path
    assert mode(path) == 0o600
    append_private(tmp_path / "log", b"1")
    append_private(tmp_path / "log", b"2")
    assert ((tmp_path / "log").read_bytes(), mode(tmp_path / "log")) == (b"12", 0o600)


@pytest.mark.usefixtures("open_umask")
def test_appending_makes_a_file_of_an_earlier_version_private(tmp_path):
    path = tmp_path / "log"
    path.touch()
    path.chmod(0o644)
    append_private(path, b"1")
    assert mode(path) == 0o600


@pytest.mark.usefixtures("open_umask")
def test_folders_are_private_with_all_missing_ones_above_and_others_keep_their_mode(tmp_path):
    (tmp_path / "shared").mkdir(0o755)
    private_folder(tmp_path / "shared" / "runs" / "first")
    private_folder(tmp_path / "shared")
    assert [mode(path) for path in (tmp_path / "shared", *sorted((tmp_path / "shared").rglob("*")))] == [
        0o755, 0o700, 0o700,
    ]  # fmt: skip


def test_a_new_file_replaces_none(tmp_path):
    path = tmp_path / "key"
    write_atomic(path, b"secret", replace=False)
    with pytest.raises(FileExistsError, match="it exists already"):
        write_atomic(path, b"other", replace=False)
    assert path.read_bytes() == b"secret"
    assert names(tmp_path) == ["key"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "a file system without"])
@pytest.mark.parametrize("moment", ["while it is written", "at the last moment"])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, links, moment):
    path = tmp_path / "a.bin"
    if moment == "at the last moment":
        monkeypatch.setattr("eventveil.host.files.check_target", lambda *_, **__: None)
    if not links:
        monkeypatch.setattr("eventveil.host.files.os.link", refuse_links)

    def write():
        with atomic_file(path, replace=False) as file:
            file.write(b"ours")
            path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        write()
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.bin"]


def test_a_file_system_without_hard_links_gets_new_files(tmp_path, monkeypatch):
    monkeypatch.setattr("eventveil.host.files.os.link", refuse_links)
    write_atomic(tmp_path / "a.bin", b"content", replace=False)
    assert (tmp_path / "a.bin").read_bytes() == b"content"
    assert mode(tmp_path / "a.bin") == 0o600
    assert names(tmp_path) == ["a.bin"]


def refuse_links(*_):
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("write", [write_atomic, append_private])
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_what_is_not_a_file_is_neither_followed_nor_replaced(tmp_path, write, kind):
    path, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_bytes(b"precious")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(precious if kind == "link" else tmp_path / "missing")
    before = path.lstat()
    with pytest.raises(FileExistsError, match="it is a "):
        write(path, b"content")
    assert path.lstat() == before
    assert precious.read_bytes() == b"precious"
    assert names(tmp_path) == ["out", "precious"]


def test_a_link_that_appears_meanwhile_is_not_followed(tmp_path):
    path, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_bytes(b"precious")

    def write():
        with atomic_file(path) as file:
            file.write(b"ours")
            path.symlink_to(precious)

    with pytest.raises(FileExistsError, match="symbolic link"):
        write()
    assert precious.read_bytes() == b"precious"


def test_a_file_that_cannot_be_written_leaves_nothing_in_the_way_of_the_next(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "no space")

    path = tmp_path / "secret.key"
    with monkeypatch.context() as patch:
        patch.setattr("eventveil.host.files.os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            write_atomic(path, b"secret", replace=False)
    assert names(tmp_path) == []
    write_atomic(path, b"secret", replace=False)
    assert path.read_bytes() == b"secret"
