"""URIs of live cameras: the kind of camera, which one, and the driver or the TLS files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl

from eventveil.errors import ConfigError
from eventveil.host.addresses import parse_port, split_host_port

DV, DV_TCP, DV_UNIX, PROPHESEE = "dv", "dv+tcp", "dv+unix", "prophesee"
DV_PROCESSING, NEUROMORPHIC, METAVISION = "dv-processing", "neuromorphic-drivers", "metavision"
DRIVERS = {DV: (DV_PROCESSING, NEUROMORPHIC), PROPHESEE: (METAVISION, NEUROMORPHIC)}
"""Drivers of each kind of camera; if both are installed, the first one is used."""
EXAMPLES = {
    DV: "dv:// or dv://DXB00010",
    DV_TCP: "dv+tcp://192.168.0.7:7777",
    DV_UNIX: "dv+unix:///run/dv/events.sock",
    PROPHESEE: "prophesee:// or prophesee://00050423",
}


@dataclass(frozen=True, slots=True)
class CameraUri:
    """A URI that names a live camera, or a camera's stream on the network.

    Attributes:
        kind: "dv" (iniVation), "prophesee", "dv+tcp" or "dv+unix" (a stream that dv-processing's NetworkWriter sends).
        name: the serial number, or "" for the first camera found; HOST:PORT; or the path of a socket.
        options: `driver` of a camera; `certificate` and `key` of a TCP stream, paths to PEM files.
    """

    kind: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parse a URI, without checking that the camera exists.

        Raises:
            ConfigError: the kind or an option is unknown, or the host, port or path is missing.
        """
        kind, _, rest = uri.partition("://")
        if kind not in EXAMPLES:
            raise ConfigError(f"{uri}: expected a camera as {', '.join(EXAMPLES.values())}")
        name, _, query = rest.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        known = {DV_TCP: ("certificate", "key"), DV_UNIX: ()}.get(kind, ("driver",))
        if unknown := [option for option in options if option not in known]:
            takes = f"takes {', '.join(known)}" if known else "takes no options"
            raise ConfigError(f"{uri}: unknown option {', '.join(unknown)}; {kind}:// {takes}")
        parsed = cls(kind, name, options)
        parsed._check(uri)
        return parsed

    def _check(self, uri: str) -> None:
        if self.kind == DV_TCP:
            host, port = split_host_port(self.name)
            if not host or not parse_port(port):
                raise ConfigError(f"{uri}: expected a host and a port, as in {EXAMPLES[DV_TCP]}")
            if len(self.options) == 1:
                raise ConfigError(f"{uri}: TLS takes both certificate=FILE.pem and key=FILE.pem, those of this client")
        elif self.kind == DV_UNIX:
            if not self.name.startswith("/"):
                raise ConfigError(f"{uri}: expected the path of a socket, with three slashes: {EXAMPLES[DV_UNIX]}")
        elif self.driver not in (None, *DRIVERS[self.kind]):
            raise ConfigError(f"{uri}: unknown driver {self.driver!r}; expected {' or '.join(DRIVERS[self.kind])}")

    @property
    def driver(self) -> str | None:
        """The requested driver; None: the first one installed."""
        return self.options.get("driver")

    def __str__(self) -> str:
        query = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.kind}://{self.name}{'?' if query else ''}{query}"


def is_camera(uri: str) -> bool:
    """Return whether a URI names a live camera or a camera's stream."""
    return uri.partition("://")[0] in EXAMPLES
