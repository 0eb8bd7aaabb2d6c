"""Parses `HOST:PORT`, for endpoints, cameras on the network and the status server alike, and finds free ports."""

from __future__ import annotations

import socket

MAX_PORT = 65_535


def split_host_port(text: str) -> tuple[str, str]:
    """Split `HOST:PORT` at its last colon and remove the brackets of an IPv6 address.

    Returns:
        Host and port as text, as in `127.0.0.1:9464`, `[::1]:9464` or `*:*`; either is empty if it is missing.
    """
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), port


def parse_port(text: str) -> int | None:
    """Return the port number, from 0 to 65,535; None if the text is not one."""
    return int(text) if text.isdecimal() and len(text) <= 5 and int(text) <= MAX_PORT else None


def free_port() -> int:
    """Return a TCP port that no program on this machine's loopback interface uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
