"""How a running pipeline can be watched. configs/replay.yaml and configs/live.yaml explain each key."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, model_validator

from eventveil.host.addresses import parse_port, split_host_port
from eventveil.settings import Settings
from eventveil.stream.protocol.endpoints import is_loopback
from eventveil.stream.runtime.logs import Form

Address = tuple[str, int]
"""An IP address of this machine, and a port."""


def parse_address(text: str) -> Address:
    """Parse an address such as `127.0.0.1:9464` or `[::1]:9464`.

    Raises:
        ValueError: it is not one.
    """
    host, port_text = split_host_port(text)
    port = parse_port(port_text)
    with contextlib.suppress(ValueError):
        ip_address(host)
        if port is not None:
            return host, port
    raise ValueError(f"expected an IP address of this machine and a port, such as 127.0.0.1:9464, got {text!r}")


def _address(value: object) -> Address | None:
    return value if value is None or isinstance(value, tuple) else parse_address(str(value))


class WatchSettings(Settings):
    """How a running pipeline can be monitored, and its published windows watched."""

    metrics: Annotated[Address | None, BeforeValidator(_address)] = None
    token: Path | None = None
    log: Form = "text"
    view: Annotated[Address | None, BeforeValidator(_address)] = None

    @model_validator(mode="after")
    def _others_need_a_token(self) -> Self:
        if self.metrics is None and self.token is not None:
            raise ValueError("token is for clients of metrics, which is off; set metrics, or leave token out")
        if self.metrics is not None and self.token is None and not is_loopback(ip_address(self.metrics[0])):
            raise ValueError(
                f"other machines can reach {self.metrics[0]}: create a token, "
                "(umask 077 && head -c 32 /dev/urandom | base64 > metrics.token), and set watch.token: metrics.token, "
                "or stay on this machine, with 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _is_viewed_on_this_machine(self) -> Self:
        if self.view is not None and not is_loopback(ip_address(self.view[0])):
            raise ValueError(
                f"other machines can reach {self.view[0]}, and the page of `eventveil run` takes no token: give view "
                "a loopback address, such as 127.0.0.1:8765, or run `eventveil view --http HOST:PORT --token FILE`"
            )
        return self
