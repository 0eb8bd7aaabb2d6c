"""Keys of publishers and subscribers: CURVE key pairs in files that only their owner may read.

    DIR/secret.key      the secret key; it never leaves this machine
    DIR/NAME.pub        the public key, to hand out
    DIR/allowed/*.pub   a publisher's list of those who may subscribe

Files are ZeroMQ certificates (keys in Z85, in ZPL), as pyzmq and CZMQ read and write them. Whoever can read a secret
key listens in its owner's name, and whoever can write the list lets himself in: files and folders that others may get
at are refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.utils import z85

from eventveil.errors import AccessError
from eventveil.files import create_private

SECRET, PUBLIC_SUFFIX, ALLOWED = "secret.key", ".pub", "allowed"
MAX_FILE = 1 << 16  # bytes; a certificate has some 300
NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]{0,63}")  # names of files, and shown in logs
_READABLE, _WRITABLE = 0o077, 0o022  # what others may not do with secrets, and with public keys

_ABOUT_SECRET = (
    "#  eventveil: SECRET key, CURVE. Whoever has it subscribes or publishes in your name: keep it to yourself."
)
_ABOUT_PUBLIC = "#  eventveil: public key, CURVE. To be handed out, on a way that nobody can change it on."


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whom somebody is known by: a name, which is the file's, and 40 characters of Z85."""

    name: str
    key: bytes


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both keys in Z85. The secret one is in no representation."""

    public: bytes
    secret: bytes = field(repr=False)


def new_keys(folder: Path, name: str | None = None) -> Path:
    """Make a key pair: `secret.key` and `NAME.pub` in a folder for its owner alone.

    Args:
        folder: made where there is none.
        name: who that is; the folder's name unless said.

    Returns:
        The path of the public key.

    Raises:
        AccessError: there is a key already, the name is none, or the folder is open to others or cannot be made.
    """
    name = folder.absolute().name if name is None else name
    if not NAME.fullmatch(name):
        raise AccessError(f"{name!r} is no name for a key: expected 1 to 64 of A-Z a-z 0-9 . _ @ -; give --name NAME")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AccessError(f"{folder}: cannot be made: {error.strerror}; choose another folder") from error
    check_folder(folder)
    public, secret = zmq.curve_keypair()
    _write(folder / SECRET, _ABOUT_SECRET, name, public, secret)
    path = folder / f"{name}{PUBLIC_SUFFIX}"
    _write(path, _ABOUT_PUBLIC, name, public)
    return path


def read_secret(path: Path) -> KeyPair:
    """Read a secret key file.

    Raises:
        AccessError: it cannot be read, holds no secret key, or others may get at it.
    """
    public, secret = _read(path, _READABLE)
    if secret is None:
        raise AccessError(f"{path}: holds no secret key; expected the file {SECRET} that `eventveil keys new` made")
    try:
        derived = zmq.curve_public(secret)
    except (zmq.ZMQError, ValueError):
        raise AccessError(f"{path}: the secret key is no CURVE key; make a new one with `eventveil keys new`") from None
    if derived != public:
        raise AccessError(f"{path}: the two keys do not belong together; make new ones with `eventveil keys new`")
    return KeyPair(public, secret)


def read_public(path: Path) -> PublicKey:
    """Read a public key file, named after its file.

    Raises:
        AccessError: it cannot be read, holds no public key or a secret one besides, or others may change it.
    """
    public, secret = _read(path, _WRITABLE)
    if secret is not None:
        raise AccessError(f"{path}: holds a secret key, which belongs to one place only; give the {PUBLIC_SUFFIX} file")
    if not NAME.fullmatch(path.stem):
        raise AccessError(f"{path}: expected a name of 1 to 64 of A-Z a-z 0-9 . _ @ -; rename it")
    return PublicKey(path.stem, public)


def read_folder(folder: Path) -> KeyPair:
    """Read the secret key of a folder, with the folder's rights checked.

    Raises:
        AccessError: as `read_secret`, or the folder is missing or open to others.
    """
    check_folder(folder)
    return read_secret(folder / SECRET)


def check_folder(folder: Path) -> None:
    """Hold a folder to being its owner's alone.

    Raises:
        AccessError: it is missing, no folder, or others may enter it.
    """
    try:
        state = folder.stat()
    except OSError as error:
        raise AccessError(f"{folder}: {error.strerror}; `eventveil keys new {folder}` makes keys there") from error
    if not stat.S_ISDIR(state.st_mode):
        raise AccessError(f"{folder}: is no folder; `eventveil keys new DIR` makes one with keys")
    _check_rights(folder, state, _READABLE, "700")


class AllowList:
    """Who may subscribe: the public keys in a folder.

    Args:
        keys: the publisher's folder of keys; the list lies in its folder `allowed`.
    """

    def __init__(self, keys: Path) -> None:
        self.folder = keys / ALLOWED

    def read(self) -> dict[bytes, str]:
        """Names by key; none where there is no list yet.

        Raises:
            AccessError: the folder or one of its files is not as it must be.
        """
        if not self.folder.exists():
            return {}
        check_folder(self.folder)
        found = [read_public(path) for path in sorted(self.folder.glob(f"*{PUBLIC_SUFFIX}"))]
        return {one.key: one.name for one in found}

    def state(self) -> tuple[object, ...]:
        """A value that changes whenever the list may have changed."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            states = sorted((entry.name, *_state_of(entry.stat())) for entry in entries)
            return (*_state_of(self.folder.stat()), *states)
        return ()

    def allow(self, public: PublicKey) -> Path:
        """Let somebody subscribe; who is on the list already stays there.

        Raises:
            AccessError: the name is another one's, or the list cannot be written.
        """
        known = self.read()
        path = self.folder / f"{public.name}{PUBLIC_SUFFIX}"
        if public.key in known:
            return self.folder / f"{known[public.key]}{PUBLIC_SUFFIX}"
        if public.name in known.values():
            raise AccessError(f"{path}: is another one's key; revoke it first, or rename the new file")
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise AccessError(f"{self.folder}: cannot be made: {error.strerror}") from error
        _write(path, _ABOUT_PUBLIC, public.name, public.key)
        return path

    def revoke(self, name: str) -> None:
        """Take somebody off the list.

        Raises:
            AccessError: nobody of that name is on it.
        """
        known = self.read()
        if name not in known.values():
            listed = ", ".join(sorted(known.values())) or "nobody"
            raise AccessError(f"{self.folder}: no {name!r} on the list; on it: {listed}")
        (self.folder / f"{name}{PUBLIC_SUFFIX}").unlink()


def _state_of(state: os.stat_result) -> tuple[int, ...]:
    return state.st_ino, state.st_mode, state.st_uid, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _write(path: Path, about: str, name: str, public: bytes, secret: bytes | None = None) -> None:
    lines = [about, "metadata", f"    name = {name}", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    try:
        create_private(path, "\n".join([*lines, ""]).encode("ascii"))
    except FileExistsError:
        raise AccessError(
            f"{path}: there is a key already, and it is not written over; choose another folder"
        ) from None
    except OSError as error:
        raise AccessError(f"{path}: cannot be written: {error.strerror}; choose another folder") from error


def _read(path: Path, closed: int) -> tuple[bytes, bytes | None]:
    """The keys in a file that is the owner's, and that others may not get at."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_FILE:
            raise AccessError(f"{path}: is no key file; `eventveil keys new` makes one")
        _check_rights(path, state, closed, "600" if closed == _READABLE else "go-w")
        public, secret = load_certificate(path)
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except (ValueError, IndexError):  # no line with a key, or one without a value
        raise AccessError(f"{path}: holds no public key; expected a file that `eventveil keys new` made") from None
    if not _is_key(public) or (secret is not None and not _is_key(secret)):
        raise AccessError(f"{path}: the key is no CURVE key: expected 40 characters of Z85; get the file once more")
    return public, secret


def _check_rights(path: Path, state: os.stat_result, closed: int, mend: str) -> None:
    quoted = shlex.quote(str(path))
    if state.st_uid not in (os.getuid(), 0):  # root could read and change it anyway
        raise AccessError(f"{path}: belongs to another user, who may change it; chown {os.getuid()} {quoted}")
    if state.st_mode & closed:
        mode = stat.S_IMODE(state.st_mode)
        raise AccessError(f"{path}: others may get at it (mode {mode:04o}): refused; chmod {mend} {quoted}")


def _is_key(text: bytes) -> bool:
    try:
        return len(text) == 40 and len(z85.decode(text)) == 32
    except (KeyError, struct.error, ValueError):
        return False
