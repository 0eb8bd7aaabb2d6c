"""The systemd unit: how exposed it is, whether a pipeline runs under its filter, and what systemd is told."""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import system_calls
from pipeline_setup import PROGRAM, make_kit

from eventveil.cli.service_manager import ServiceManager

UNIT = Path(__file__).parents[2] / "deploy" / "eventveil.service"
EXPOSURE = 2.0
REPORTS = """
import time
from eventveil.cli.service_manager import ServiceManager
manager = ServiceManager()
while True:
    manager.alive()
    time.sleep(0.01)
"""


def text(of=UNIT):
    """The unit without its comments."""
    return re.sub("(?m)^#.*$", "", of.read_text())


@pytest.fixture
def systemd():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """Systemd's end of the socket that a service reports to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


def waiting(receiver, seconds=0.0):
    """Return the next datagram as a set of lines, or None."""
    if not select.select([receiver], [], [], seconds)[0]:
        return None
    return set(receiver.recv(4096).decode().splitlines())


def test_the_unit_is_hardly_exposed(systemd):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", UNIT], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""  # no unknown key and no unknown value
    assert float(re.search(r"exposure level.*: ([\d.]+)", done.stdout)[1]) <= EXPOSURE


def test_the_cameras_are_not_hidden_and_the_rules_admit_the_unit():
    assert not re.search("(?m)^(PrivateDevices|MemoryDenyWriteExecute)=", text())
    assert re.search("(?m)^DeviceAllow=char-usb_device rw$", text())
    (group,) = re.findall("(?m)^Group=(.+)$", text())
    assert f"eventveil cameras --udev-rules --group {group} " in UNIT.read_text()


@pytest.mark.nightly
def test_a_pipeline_runs_with_the_units_system_calls_and_reports_to_systemd(systemd, manager, tmp_path):
    if ctypes.util.find_library("seccomp") is None:
        pytest.skip("libseccomp is not installed")
    assert "mount" not in system_calls.allowed(UNIT)
    kit = make_kit(tmp_path, seconds=2.0)
    launch = [sys.executable, system_calls.__file__, UNIT, *PROGRAM, "run", kit.recording, "--json"]
    options = ["--weights", kit.anonymizer, "--allow-untrained", "--metrics", "127.0.0.1:0"]
    sets = ["--set", "line.run_as=processes", "--set", f"publish.bind=ipc://{tmp_path}/public"]
    command = [str(part) for part in (*launch, *options, *sets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pipeline:
        assert waiting(manager, 120) == {"READY=1", "WATCHDOG=1"}
        status = Path(f"/proc/{pipeline.pid}/status").read_text()
        out, err = pipeline.communicate(timeout=60)
    assert pipeline.returncode == 0, err
    assert re.search(r"Seccomp:\s+2", status)  # the filter was in force
    assert json.loads(out.splitlines()[-1])["windows"] >= 20  # one more if the first begins before the first event
    others = list(iter(lambda: waiting(manager), None))
    assert others.pop() == {"STOPPING=1"}
    assert all(state == {"WATCHDOG=1"} for state in others)


def test_a_halted_supervisor_says_nothing_more(manager):
    halted = subprocess.Popen([sys.executable, "-c", REPORTS])
    try:
        assert waiting(manager, 60) == {"READY=1", "WATCHDOG=1"}
        halted.send_signal(signal.SIGSTOP)
        os.waitpid(halted.pid, os.WUNTRACED)
        while waiting(manager):
            pass
        assert waiting(manager, 0.2) is None
    finally:
        halted.kill()
        halted.wait()


def test_an_end_before_the_first_report_is_not_a_failure_to_start(manager):
    ServiceManager().stopping()
    assert waiting(manager) == {"READY=1", "STOPPING=1"}


def test_a_report_that_was_lost_is_repeated_and_nothing_blocks(manager):
    service = ServiceManager()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as flood:
        flood.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while flood.sendto(b"flood", os.environ["NOTIFY_SOCKET"]):
                pass
    service.alive()
    while waiting(manager) == {"flood"}:
        pass
    service.alive()
    assert waiting(manager) == {"READY=1", "WATCHDOG=1"}


def test_without_systemd_nothing_is_sent(manager, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET")
    ServiceManager().alive()
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    ServiceManager().alive()
    assert waiting(manager) is None


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_an_abstract_address_is_understood(monkeypatch):
    name = f"eventveil-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        ServiceManager().alive()
        assert waiting(receiver) == {"READY=1", "WATCHDOG=1"}
