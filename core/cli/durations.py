"""Spans of time and sizes as people write them on a command line."""

from __future__ import annotations

import re

from eventveil.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BYTES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_duration(option: str, text: str | None) -> float | None:
    """Return the seconds of `45s`, `10m`, `12h` or `30d`; None for None.

    Raises:
        ConfigError: the text is not such a time, or not above 0.

    >>> parse_duration("--keep", "30d")
    2592000.0
    """
    return None if text is None else _parse(option, text, _SECONDS, "a time such as 45s, 10m, 12h or 30d")


def parse_size(option: str, text: str | None) -> int | None:
    """Return the bytes of `500MB` or `2GB`; None for None.

    Raises:
        ConfigError: the text is not such a size, or not above 0.

    >>> parse_size("--rotate-size", "1.5MB")
    1500000
    """
    return None if text is None else int(_parse(option, text, _BYTES, "a size such as 500MB or 2GB"))


def _parse(option: str, text: str, units: dict[str, int], expected: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([A-Za-z]+)", text)
    value = float(match[1]) * units.get(match[2], 0) if match else 0.0
    if value <= 0:
        raise ConfigError(f"{option}: expected {expected}, got {text!r}")
    return value
