"""Which machines eventveil runs on. It is checked before anything else is imported."""

from __future__ import annotations

import platform
import sys

TESTED = {("linux", "x86_64")}
"""Systems and processors on which the tests have run."""


def refusal(system: str = sys.platform, max_size: int = sys.maxsize) -> str | None:
    """Return why eventveil cannot run on this machine, or None.

    Args:
        system: as `sys.platform`.
        max_size: as `sys.maxsize`, which tells 64 bits from 32.

    >>> refusal("linux", 2**63 - 1)
    >>> refusal("win32", 2**63 - 1)
    'Windows is not supported: locks, private files and process supervision need Linux or macOS; use WSL 2'
    """
    if system in ("win32", "cygwin"):
        return "Windows is not supported: locks, private files and process supervision need Linux or macOS; use WSL 2"
    if max_size < 2**63 - 1:
        return "a 32-bit Python is not supported: PyTorch and numba need 64 bits; install a 64-bit Python"
    return None


def is_tested(system: str = sys.platform, machine: str | None = None) -> bool:
    """Return whether the tests have run on such a machine.

    Args:
        system: as `sys.platform`.
        machine: as `platform.machine()`, by default of this machine.

    >>> is_tested("linux", "x86_64"), is_tested("darwin", "arm64")
    (True, False)
    """
    return (system, machine or platform.machine()) in TESTED
