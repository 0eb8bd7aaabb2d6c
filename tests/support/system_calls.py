"""Runs a command under the SystemCallFilter= of a systemd unit, as systemd does it: with libseccomp.

python system_calls.py UNIT COMMAND...
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import subprocess
import sys
from errno import EPERM
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp.h: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO


def values_of(unit: Path, key: str) -> list[str]:
    """Return the values of a key in a unit, in order."""
    lines = [line.partition("=") for line in unit.read_text().splitlines() if not line.startswith("#")]
    return [value for name, _, value in lines if name == key]


def members(group: str) -> set[str]:
    """Return the system calls of a group of systemd's, such as @default."""
    done = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = [line.strip() for line in done.stdout.splitlines()[1:]]
    calls = {name for name in names if name and name[0] not in "#@"}
    return calls.union(*(members(name) for name in names if name.startswith("@")))


def allowed(unit: Path) -> set[str]:
    """Return the system calls that a unit allows: one list to allow, then lists to forbid."""
    first, *others = values_of(unit, "SystemCallFilter")
    calls = members("@default").union(*(members(name) for name in first.split()))
    return calls.difference(*(members(name.removeprefix("~")) for name in others))


def confine(calls: set[str]) -> None:
    """Let every other system call of this process and its children fail with EPERM, forever."""
    seccomp = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(_ERRNO | EPERM))
    for name in calls:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else a system call of other processors
            assert seccomp.seccomp_rule_add(context, _ALLOW, number, 0) == 0, name
    assert ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert seccomp.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(allowed(Path(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])
