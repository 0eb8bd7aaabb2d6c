"""eventveil works where neither its package folder nor the home folder can be written to."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import eventveil
from eventveil.host import kernel_cache

SOURCES = Path(eventveil.__file__).parent
IO = Path(__import__("eventveil.io", fromlist=["io"]).__file__).parent
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
SCRIPT = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import eventveil
from eventveil.io.validation.checks import first_fault
from eventveil import EventPacket, Sensor
from eventveil.host.kernel_cache import find_cache, is_temporary
assert eventveil.__file__.startswith(sys.argv[1]), eventveil.__file__
fault = first_fault(EventPacket.of([1], [9], [0], [1]), Sensor(2, 2), 0)
folder = find_cache()
mode, kernels = oct(os.stat(folder).st_mode & 0o777), len(list(folder.rglob("*.nbc")))
print(json.dumps([fault.rule, str(folder), is_temporary(folder), mode, kernels]))
"""


def without_powers():
    """Make the superuser obey permissions, as every other user does."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_folder_that_permissions_allow_but_that_cannot_be_written_to_does_not_count(monkeypatch, tmp_path):
    """The superuser may write to /proc, but nobody can; the same goes for a full disk."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernel_cache, "PACKAGE", Path("/proc/nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert kernel_cache.find_cache() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert kernel_cache.find_cache() == tmp_path / "home" / "numba"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="drops a capability of Linux")
def test_kernels_go_to_a_private_temporary_folder_if_nothing_else_can_be_written(tmp_path):
    package = tmp_path / "site" / "eventveil"
    package.mkdir(parents=True)
    for file in SOURCES.glob("*.py"):
        shutil.copy(file, package)
    for folder in (IO, SOURCES / "host"):
        shutil.copytree(folder, package / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    folders = [home, *package.rglob("*/"), package]
    for folder in folders:
        folder.chmod(0o555)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary)}
    result = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, str(tmp_path / "site")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=without_powers,
    )
    for folder in folders:
        folder.chmod(0o755)
    assert result.returncode == 0, result.stderr
    rule, folder, is_temporary, mode, kernels = json.loads(result.stdout)
    assert (rule, is_temporary, mode) == ("sensor", True, "0o700")
    assert folder.startswith(str(temporary))
    assert kernels > 0
    assert list(temporary.iterdir()) == []  # removed at the end
