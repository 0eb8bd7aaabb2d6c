"""What is installed for a service: files with their text, and commands. Nothing is done here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from eventveil.config import read_yaml, run_settings
from eventveil.errors import ConfigError
from eventveil.io.camera.errors import udev_rules
from eventveil.service.paths import CONFIGS, RULES, USER, ServicePaths
from eventveil.stream.settings.pipeline import PipelineSettings

MARK = "# Installed by `eventveil service install`."
"""The first line of each installed file: no other file is ever replaced or removed."""
UDEV = ("udevadm control --reload", "udevadm trigger --subsystem-match=usb")
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""Folders that ProtectHome= and PrivateTmp= of the unit hide from the service."""


@dataclass(frozen=True)
class Installation:
    """Everything that an installation does.

    Attributes:
        paths: paths of the service.
        files: text of each file by its path. Those in /etc/eventveil belong to the service's user, others to root.
        keys: folder of the publisher's keys, which are created if missing; None if the service publishes without keys.
        before: commands that come first.
        after: commands that come last.
        problems: why the service could not run; with any, nothing is installed.
    """

    paths: ServicePaths
    files: dict[Path, str]
    keys: Path | None
    before: tuple[str, ...]
    after: tuple[str, ...]
    problems: tuple[str, ...] = ()


def plan(config: Path, *, executable: Path, keep_logs_s: float, start: bool = True) -> Installation:
    """Plan the installation of a service.

    Args:
        config: configuration of its pipeline, which is copied. Paths in it are relative to /etc/eventveil.
        executable: the `eventveil` that the service runs.
        keep_logs_s: how long its log is kept, in seconds.
        start: whether it is started at once, and whenever the machine starts.

    Raises:
        ConfigError: the configuration is invalid, or its keys are not below /etc/eventveil.
    """
    settings = run_settings(read_yaml(config), name=str(config))
    paths = ServicePaths(config.stem)
    unit = f"{paths.unit_name}.service"
    text = config.read_text(encoding="utf-8")
    return Installation(
        paths,
        {
            paths.config: text if text.startswith(MARK) else f"{MARK}\n{text}",
            paths.unit: unit_of(paths, executable),
            paths.journal: f"{MARK}\n[Journal]\nMaxRetentionSec={round(keep_logs_s)}\n",
            RULES: f"{MARK}\n{udev_rules(USER, USER)}\n",
        },
        _keys_of(settings, config),
        (f"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {USER}",),
        ("systemctl daemon-reload", *UDEV, *((f"systemctl enable --now {unit}",) if start else ())),
        (*_problems_of(executable), *_problems_in(settings, config)),
    )


def unit_of(paths: ServicePaths, executable: Path) -> str:
    """Return the unit of a service: deploy/eventveil.service with its names in place of those of the example."""
    text = files("eventveil.deploy").joinpath("eventveil.service").read_text(encoding="utf-8")
    text = text[text.index("[Unit]") :]
    for pattern, replacement in (
        (r"/opt/eventveil/bin/eventveil", str(executable)),
        (r"/etc/eventveil/line\.yaml", str(paths.config)),
        (r"(?<=/var/lib/)eventveil\b", paths.unit_name),
        (r"(?<=/run/)eventveil\b", paths.unit_name),
        (r"(?<=^RuntimeDirectory=)eventveil$", paths.unit_name),
        (r"(?<=^StateDirectory=)eventveil$", paths.unit_name),
        (r"(?<=^LogNamespace=)eventveil$", paths.unit_name),
    ):
        text, number = re.subn(pattern, lambda _, new=replacement: new, text, flags=re.MULTILINE)  # type: ignore[misc]
        assert number, f"the example has no {pattern}"
    return f"{MARK}\n{text}"


def _keys_of(settings: PipelineSettings, config: Path) -> Path | None:
    """Return the folder of the publisher's keys, which is below /etc/eventveil, or None."""
    if settings.publish.keys is None:
        return None
    folder = Path(os.path.normpath(CONFIGS / settings.publish.keys))
    if CONFIGS not in folder.parents:
        raise ConfigError(
            f"{config}: publish.keys: expected a folder in {CONFIGS}, such as `keys: keys`, got {settings.publish.keys}"
        )
    return folder


def _problems_of(executable: Path) -> Iterator[str]:
    """Yield the reasons why a service cannot run a program."""
    if not executable.is_file():
        yield f"{executable}: no such program; install eventveil into an environment such as /opt/eventveil"
    elif (hidden := _hidden(executable)) is not None:
        yield (
            f"{executable}: a service cannot see {hidden}; install eventveil elsewhere and run it from there: "
            "`python3 -m venv /opt/eventveil && /opt/eventveil/bin/pip install 'eventveil[line]'`"
        )


def _problems_in(settings: PipelineSettings, config: Path) -> Iterator[str]:
    """Yield a message for each file in the configuration that a service could not read."""
    if settings.anonymize.weights is None:
        yield f"{config}: anonymize.weights: a service needs its weights here, such as `weights: shipped`"
    named = {
        "anonymize.weights": settings.anonymize.weights,
        "anonymize.book": settings.anonymize.book,
        "anonymize.certificate": settings.anonymize.certificate,
        "classify.weights": settings.classify.weights,
        "watch.token": settings.watch.token,
    }
    for key, path in named.items():
        if path is None:
            continue
        place = CONFIGS / path
        hidden = _hidden(place)
        if hidden is not None or not place.is_file():
            cause = "no such file" if hidden is None else f"a service cannot see {hidden}"
            yield (
                f"{config}: {key}: {place}: {cause}; run: install -o {USER} -m 600 {path} {CONFIGS}/, and give "
                f"{path.name} (paths of a service are relative to {CONFIGS})"
            )


def _hidden(path: Path) -> str | None:
    return next((folder for folder in _HIDDEN if path.is_relative_to(folder)), None)
