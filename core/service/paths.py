"""Where the parts of an installed service are. A service is named after its configuration: line.yaml is `line`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eventveil.errors import ConfigError

USER = "eventveil"
"""The user, and the group, that all services run as."""
CONFIGS = Path("/etc/eventveil")
RULES = Path("/etc/udev/rules.d/66-eventveil-service.rules")
"""The udev rules for all services. They come after 65-eventveil.rules, so a user whom those admit stays admitted."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


@dataclass(frozen=True)
class ServicePaths:
    """The names and paths of one service.

    Attributes:
        name: name of its configuration, without the suffix.

    Raises:
        ConfigError: the name cannot be that of a service.
    """

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} cannot name a service: expected up to 31 of a-z 0-9 - _; rename the configuration"
            )

    @classmethod
    def of_installed(cls, config: Path) -> Self | None:
        """Return the paths of the service that uses this configuration; None if it is not installed."""
        absolute = config.absolute()
        return cls(absolute.stem) if absolute.parent == CONFIGS and _NAME.fullmatch(absolute.stem) else None

    @property
    def unit_name(self) -> str:
        """The name of the unit, without `.service`: also that of its folders and of its log."""
        return f"eventveil-{self.name}"

    @property
    def config(self) -> Path:
        """The configuration that the service reads."""
        return CONFIGS / f"{self.name}.yaml"

    @property
    def unit(self) -> Path:
        """The unit."""
        return Path(f"/etc/systemd/system/{self.unit_name}.service")

    @property
    def journal(self) -> Path:
        """The settings of the service's own log."""
        return Path(f"/etc/systemd/journald@{self.unit_name}.conf")

    @property
    def state(self) -> Path:
        """The folder for hot pixels and compiled kernels."""
        return Path(f"/var/lib/{self.unit_name}")
