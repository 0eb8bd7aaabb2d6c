"""Atomic and private files: whole or not at all, through exceptions, full disks and kills."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from eventveil.files import atomic_file, create_private, remove_parts, write_atomic


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

    monkeypatch.setattr("eventveil.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"content")
    assert path.read_bytes() == b"previous"
    assert names(tmp_path) == ["a.bin"]


KILLED = """
import os, pathlib, signal, sys
from eventveil.files import atomic_file
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
def test_private_files_are_private_from_the_first_byte(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_file(path, private=True):
        assert [mode(part) for part in tmp_path.iterdir()] == [0o600]
    assert mode(path) == 0o600
    write_atomic(tmp_path / "b.bin", b"")
    assert mode(tmp_path / "b.bin") == 0o666


@pytest.mark.usefixtures("open_umask")
def test_a_new_private_file_replaces_none(tmp_path):
    path = tmp_path / "key"
    create_private(path, b"secret")
    assert (path.read_bytes(), mode(path)) == (b"secret", 0o600)
    with pytest.raises(FileExistsError):
        create_private(path, b"other")
    assert path.read_bytes() == b"secret"


def test_a_private_file_that_cannot_be_written_leaves_nothing_in_the_way_of_the_next(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "no space")

    path = tmp_path / "secret.key"
    with monkeypatch.context() as patch:
        patch.setattr("eventveil.files.os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            create_private(path, b"secret")
    assert names(tmp_path) == []
    create_private(path, b"secret")
    assert path.read_bytes() == b"secret"
