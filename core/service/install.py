"""Installs a service, and removes it: the only code that changes the system, and only as root."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from pathlib import Path

from eventveil.errors import ConfigError
from eventveil.host.files import private_folder, write_atomic
from eventveil.service.paths import CONFIGS, RULES, USER, ServicePaths
from eventveil.service.plan import MARK, UDEV, Installation
from eventveil.stream.protocol.keys import SECRET, new_keys

BOOTED = Path("/run/systemd/system")
"""Exists if systemd runs this machine. Source: sd_booted(3)."""
READABLE = 0o644  # settings of the system, which hold no secret; systemd warns about private ones
ENTERED = 0o750  # a folder of root that the services may enter


class System:
    """The machine: its files, its users and its commands. Tests use another root and other commands.

    Args:
        root: folder in place of /.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def place(self, path: Path) -> Path:
        """Return where an absolute path is."""
        return self._root / path.relative_to("/")

    def check(self) -> None:
        """Check that a service can be installed or removed.

        Raises:
            ConfigError: this machine is not run by systemd, or this process not by root.
        """
        if not BOOTED.is_dir():
            raise ConfigError("this machine does not run systemd; a service needs Linux with systemd")
        if os.geteuid() != 0:
            raise ConfigError("only root can change services; run this with sudo, or use --dry-run to see what it does")

    def has_user(self) -> bool:
        """Return whether the user of the services exists."""
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return False
        return True

    def give(self, *paths: Path) -> None:
        """Make the user of the services the owner of files and folders."""
        user = pwd.getpwnam(USER)
        for path in paths:
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)

    def admit(self, folder: Path) -> None:
        """Let the user of the services enter a folder of root, and change nothing in it."""
        os.chown(folder, 0, pwd.getpwnam(USER).pw_gid)
        folder.chmod(ENTERED)

    def run(self, command: str) -> None:
        """Run a command.

        Raises:
            ConfigError: it fails.
        """
        try:
            completed = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
        except OSError as error:
            raise ConfigError(f"{command}: cannot be run: {error.strerror}; completed steps were not undone") from None
        if completed.returncode != 0:
            reason = completed.stderr.strip() or f"exit status {completed.returncode}"
            raise ConfigError(
                f"{command}: {reason}; completed steps were not undone: `eventveil service uninstall` undoes them"
            )


def install(installation: Installation, system: System) -> None:
    """Install a service, or install it again with another configuration.

    Raises:
        ConfigError: the service could not run; a file that is not ours is in the way, a file cannot be written, or a
            command fails.
        AccessError: the keys cannot be created.
    """
    system.check()
    if installation.problems:
        raise ConfigError("\n".join(installation.problems))
    for path in installation.files:
        _check_ours(system.place(path))
    if installation.keys is not None:
        _refuse_link(system.place(installation.keys), system.place(CONFIGS))
    if not system.has_user():
        for command in installation.before:
            system.run(command)
    try:
        private_folder(system.place(CONFIGS))
        # Root writes here, so the services must not: they could put a link in the way of a file.
        system.admit(system.place(CONFIGS))
        for path, text in installation.files.items():
            place = system.place(path)
            write_atomic(place, text.encode())
            if path.is_relative_to(CONFIGS):
                system.give(place)
            else:
                place.chmod(READABLE)
        if installation.keys is not None:
            _create_keys(system.place(installation.keys), installation.paths.name, system)
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be written ({error.strerror}); free some space, or check its folder"
        ) from None
    for command in installation.after:
        system.run(command)


def removal(paths: ServicePaths, system: System) -> tuple[list[Path], list[str]]:
    """Return the files to remove and the commands to run to uninstall a service; the first command stops it.

    Configuration, keys, state, log and user stay. Removing the last service also removes the udev rules.

    Raises:
        ConfigError: there is no such service, or one of the files is not ours.
    """
    if not system.place(paths.unit).is_file():
        raise ConfigError(
            f"{paths.unit}: no such service; a service is named after its configuration: `line` for line.yaml"
        )
    units = system.place(paths.unit.parent).glob("eventveil-*.service")
    is_last = [unit.name for unit in units] == [paths.unit.name]
    listed = [paths.unit, paths.journal, *([RULES] if is_last else [])]
    for path in listed:
        _check_ours(system.place(path))
    commands = [f"systemctl disable --now {paths.unit_name}.service", "systemctl daemon-reload"]
    return [path for path in listed if system.place(path).exists()], [*commands, *(UDEV if is_last else ())]


def uninstall(paths: ServicePaths, system: System) -> list[Path]:
    """Stop and remove a service; return the removed files.

    Raises:
        ConfigError: as `removal`; or a file cannot be removed, or a command fails.
    """
    system.check()
    listed, (stop, *commands) = removal(paths, system)
    system.run(stop)
    try:
        for path in listed:
            system.place(path).unlink()
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be removed ({error.strerror}); remove it yourself") from None
    for command in commands:
        system.run(command)
    return listed


def _create_keys(folder: Path, name: str, system: System) -> None:
    """Create the publisher's keys unless they exist, and give them, and no other file, to the services."""
    configs = system.place(CONFIGS)
    _refuse_link(folder, configs)  # once more: now only root can put one there
    if (folder / SECRET).exists():
        return
    folders = [each for each in (folder, *folder.parents) if configs in each.parents]
    new = [each for each in folders if not each.exists()]
    public = new_keys(folder, name)
    system.give(folder / SECRET, public, *dict.fromkeys([folder, *new]))  # folders last: nothing changes in them before


def _refuse_link(folder: Path, configs: Path) -> None:
    """Refuse a link on the way from one folder to another: root would write, and give away, where it leads.

    Raises:
        ConfigError: there is one.
    """
    for each in (folder, *folder.parents):
        if configs in each.parents and each.is_symlink():
            raise ConfigError(f"{each}: is a symbolic link, which is never followed; move it away")


def _check_ours(path: Path) -> None:
    """Refuse to touch a file that `eventveil service install` has not written.

    Raises:
        ConfigError: it is such a file, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); move it away") from None
    if not text.startswith(MARK):
        raise ConfigError(f"{path}: exists, and `eventveil service install` has not written it; move it away")
