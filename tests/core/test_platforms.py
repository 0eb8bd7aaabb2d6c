"""On machines where eventveil cannot run, it says so before anything else is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from eventveil.host.platforms import is_tested, refusal

AS_ON = """
import sys, eventveil
sys.modules.update(fcntl=None, grp=None, pwd=None, resource=None)  # as where there are none
sys.platform = {system!r}
import eventveil.cli
"""


@pytest.mark.parametrize("system", ["win32", "cygwin"])
def test_windows_is_refused_with_status_2_and_a_remedy(system):
    command = [sys.executable, "-c", AS_ON.format(system=system)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("eventveil: Windows is not supported")
    assert done.stderr.count("\n") == 1
    assert "WSL" in done.stderr


def test_32_bits_are_refused_and_linux_and_macos_are_not():
    assert "64-bit Python" in refusal("linux", 2**31 - 1)
    for system in ("linux", "darwin"):
        assert refusal(system, 2**63 - 1) is None
    assert is_tested("linux", "x86_64")
    assert not is_tested("linux", "aarch64")
