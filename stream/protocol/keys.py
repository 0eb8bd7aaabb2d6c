"""Keys of publishers and subscribers: CURVE key pairs in files that only their owner may read.

    DIR/secret.key      the secret key; it never leaves this machine
    DIR/NAME.pub        the public key, to hand out
    DIR/allowed/*.pub   a publisher's list of allowed subscribers

Files are ZeroMQ certificates (keys in Z85, in ZPL), as pyzmq and CZMQ read and write them. A secret key lets its reader
subscribe as its owner, and write access to the list lets anyone subscribe, so files and folders that other users can
access are refused.
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
from eventveil.host.files import private_folder, write_atomic
from eventveil.stream.protocol.public_keys import fingerprint, is_weak_curve25519

SECRET, PUBLIC_SUFFIX, ALLOWED = "secret.key", ".pub", "allowed"
MAX_FILE = 1 << 16  # bytes; a certificate has about 300
NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]{0,63}")  # used as a file name, and shown in logs
_READABLE, _WRITABLE = 0o077, 0o022  # permissions that others must not have on secrets, and on public keys

_ABOUT_SECRET = (
    "#  eventveil: SECRET key, CURVE. Anyone who has it can subscribe or publish in your name: keep it to yourself."
)
_ABOUT_PUBLIC = "#  eventveil: public key, CURVE. Hand it out over a trusted channel: a substitute would be accepted."


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public key of a publisher or subscriber: its name, which is that of the file, and 40 characters of Z85."""

    name: str
    key: bytes

    @property
    def fingerprint(self) -> str:
        """The fingerprint, for people to compare."""
        return key_fingerprint(self.key)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both keys in Z85. The secret one is left out of `repr`."""

    public: bytes
    secret: bytes = field(repr=False)


def key_fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key in Z85."""
    return fingerprint(z85.decode(key))


def new_keys(folder: Path, name: str | None = None) -> Path:
    """Create a key pair: `secret.key` and `NAME.pub`, in a folder that only its owner may enter.

    If a killed process has left a secret key without its public key, the pair is completed: the secret key holds both.

    Args:
        folder: created if missing.
        name: name of the key's owner; by default, the folder's name.

    Returns:
        The path of the public key.

    Raises:
        AccessError: a key exists already, the name is not valid, or the folder is open to others or cannot be created.
    """
    name = folder.absolute().name if name is None else name
    if not NAME.fullmatch(name):
        raise AccessError(f"{name!r} is not a key name: expected 1 to 64 of A-Z a-z 0-9 . _ @ -; give --name NAME")
    try:
        private_folder(folder)
    except OSError as error:
        raise AccessError(f"{folder}: cannot be created: {error.strerror}; choose another folder") from error
    check_folder(folder)
    secret_path, path = folder / SECRET, folder / f"{name}{PUBLIC_SUFFIX}"
    if secret_path.exists() and not any(folder.glob(f"*{PUBLIC_SUFFIX}")):
        public = read_secret(secret_path).public
    else:
        _refuse_existing(path)  # before the secret key is written: half a pair would remain
        public, secret = zmq.curve_keypair()
        _write(secret_path, _ABOUT_SECRET, name, public, secret)
    _write(path, _ABOUT_PUBLIC, name, public)
    return path


def read_secret(path: Path) -> KeyPair:
    """Read a secret key file.

    Raises:
        AccessError: it cannot be read, holds no secret key, or others can access it.
    """
    public, secret = _read(path, _READABLE)
    if secret is None:
        raise AccessError(f"{path}: holds no secret key; expected the file {SECRET} that `eventveil keys new` creates")
    try:
        derived = zmq.curve_public(secret)
    except (zmq.ZMQError, ValueError):
        raise AccessError(
            f"{path}: the secret key is not a CURVE key; create a new pair with `eventveil keys new`"
        ) from None
    if derived != public:
        raise AccessError(
            f"{path}: the public and the secret key do not match; create a new pair with `eventveil keys new`"
        )
    return KeyPair(public, secret)


def read_public(path: Path) -> PublicKey:
    """Read a public key file; the key takes its name from the file.

    Raises:
        AccessError: it cannot be read, holds no public key, a weak one, or also a secret one, or others can change it.
    """
    public, secret = _read(path, _WRITABLE)
    if secret is not None:
        raise AccessError(f"{path}: holds a secret key, which must not be copied; give the {PUBLIC_SUFFIX} file")
    if not NAME.fullmatch(path.stem):
        raise AccessError(f"{path}: expected a name of 1 to 64 of A-Z a-z 0-9 . _ @ -; rename the file")
    return PublicKey(path.stem, public)


def read_folder(folder: Path) -> KeyPair:
    """Check the permissions of a folder and read its secret key.

    Raises:
        AccessError: as in `read_secret`, or the folder is missing or open to others.
    """
    check_folder(folder)
    return read_secret(folder / SECRET)


def check_folder(folder: Path) -> None:
    """Check that a folder belongs to this user and that no other user may enter it.

    Raises:
        AccessError: it is missing, is not a folder, or others may enter it.
    """
    try:
        state = folder.stat()
    except OSError as error:
        raise AccessError(f"{folder}: {error.strerror}; `eventveil keys new {folder}` creates keys there") from error
    if not stat.S_ISDIR(state.st_mode):
        raise AccessError(f"{folder}: is not a folder; `eventveil keys new DIR` creates one with keys")
    _check_permissions(folder, state, _READABLE, "700")


class AllowList:
    """The allowed subscribers: the public keys in a folder.

    Args:
        keys: the publisher's folder of keys; the list is its folder `allowed`.
    """

    def __init__(self, keys: Path) -> None:
        self.folder = keys / ALLOWED

    def read(self) -> dict[bytes, str]:
        """Return the names by key; empty if there is no list yet.

        Raises:
            AccessError: the folder or one of its files is malformed or open to others.
        """
        return {key.key: key.name for key in self._keys()}

    def state(self) -> tuple[object, ...]:
        """Return a value that changes whenever the list may have changed."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            states = sorted((entry.name, *_file_state(entry.stat())) for entry in entries)
            return (*_file_state(self.folder.stat()), *states)
        return ()

    def allow(self, public: PublicKey) -> Path:
        """Add a key to the list and return its file; a key that is already on the list stays as it is.

        Raises:
            AccessError: the name belongs to another key, or the list cannot be written.
        """
        names = self.read()
        path = self.folder / f"{public.name}{PUBLIC_SUFFIX}"
        if public.key in names:
            return self.folder / f"{names[public.key]}{PUBLIC_SUFFIX}"
        if public.name in names.values():
            raise AccessError(f"{path}: holds another key; revoke it first, or rename the new file")
        try:
            private_folder(self.folder)
        except OSError as error:
            raise AccessError(f"{self.folder}: cannot be created: {error.strerror}") from error
        _write(path, _ABOUT_PUBLIC, public.name, public.key)
        return path

    def revoke(self, name: str) -> None:
        """Remove a key from the list, under whatever names it is there: files may have been copied by hand.

        Raises:
            AccessError: no key of that name is on it.
        """
        keys = self._keys()
        revoked = {key.key for key in keys if key.name == name}
        if not revoked:
            listed = ", ".join(sorted(key.name for key in keys)) or "no key"
            raise AccessError(f"{self.folder}: {name!r} is not on the list; on it: {listed}")
        for key in keys:
            if key.key in revoked:
                (self.folder / f"{key.name}{PUBLIC_SUFFIX}").unlink(missing_ok=True)

    def _keys(self) -> list[PublicKey]:
        if not self.folder.exists():
            return []
        check_folder(self.folder)
        try:  # not with `glob`: a folder that cannot be read would pass for an empty one
            paths = sorted(path for path in self.folder.iterdir() if path.name.endswith(PUBLIC_SUFFIX))
        except OSError as error:
            raise AccessError(f"{self.folder}: cannot be read: {error.strerror}; check its permissions") from error
        return [read_public(path) for path in paths]


def _file_state(state: os.stat_result) -> tuple[int, ...]:
    return state.st_ino, state.st_mode, state.st_uid, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _write(path: Path, about: str, name: str, public: bytes, secret: bytes | None = None) -> None:
    lines = [about, "metadata", f"    name = {name}", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    _refuse_existing(path)
    try:
        write_atomic(path, "\n".join([*lines, ""]).encode("ascii"), replace=False)
    except OSError as error:
        raise AccessError(f"{path}: cannot be written: {error.strerror}; choose another folder") from error


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise AccessError(f"{path}: a key exists already and is not overwritten; choose another folder")


def _read(path: Path, forbidden: int) -> tuple[bytes, bytes | None]:
    """Read the keys in a file that belongs to this user and on which others lack the `forbidden` permissions."""
    try:
        _check_file(path, forbidden, "is not a key file; `eventveil keys new` creates one")
        public, secret = load_certificate(path)
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except (ValueError, IndexError):  # the file has no line with a key, or the line has no value
        raise AccessError(f"{path}: holds no public key; expected a file that `eventveil keys new` creates") from None
    if not _is_key(public) or (secret is not None and not _is_key(secret)):
        raise AccessError(f"{path}: the key is not a CURVE key: expected 40 characters of Z85; fetch the file again")
    if is_weak_curve25519(z85.decode(public)):
        raise AccessError(
            f"{path}: is a weak key, with which anyone could connect: refused; get a key made by `eventveil keys new`"
        )
    return public, secret


def _check_permissions(path: Path, state: os.stat_result, forbidden: int, mode: str) -> None:
    quoted = shlex.quote(str(path))
    if state.st_uid not in (os.getuid(), 0):  # root could read and change it anyway
        raise AccessError(f"{path}: belongs to another user, who can change it; chown {os.getuid()} {quoted}")
    if state.st_mode & forbidden:
        current = stat.S_IMODE(state.st_mode)
        raise AccessError(f"{path}: others can access it (mode {current:04o}): refused; chmod {mode} {quoted}")


def check_secret_file(path: Path) -> None:
    """Check that a file is small, belongs to this user or to root, and that no other user can read it.

    Raises:
        AccessError: it is not such a file.
        OSError: there is none.
    """
    _check_file(path, _READABLE, "is not a file with a secret; expected a small text file")


def _check_file(path: Path, forbidden: int, problem: str) -> None:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_FILE:
        raise AccessError(f"{path}: {problem}")
    _check_permissions(path, state, forbidden, "600" if forbidden == _READABLE else "go-w")


def _is_key(text: bytes) -> bool:
    try:
        return len(text) == 40 and len(z85.decode(text)) == 32
    except (KeyError, struct.error, ValueError):
        return False
