"""`eventveil cameras` and the USB bus: without a camera, and with cameras that cannot be opened."""

from __future__ import annotations

import grp
import json
import os
import subprocess
from importlib.util import find_spec

import pytest
from camera_helpers import FAKES, fake_camera
from pipeline_setup import PROGRAM
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import ConfigError
from eventveil.io.camera import drivers, listing
from eventveil.io.camera.device import CameraInfo
from eventveil.io.camera.errors import udev_rules
from eventveil.io.camera.usb import UsbCamera, usb_cameras


def cameras(*options):
    done = subprocess.run([*PROGRAM, "cameras", *options], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def no_usb(tmp_path, monkeypatch):
    """Drivers that find no camera, whatever is attached to this machine."""
    pytest.importorskip("neuromorphic_drivers")
    paths = [str(FAKES / driver) for driver in ("neuromorphic", "dv")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, str(FAKES)]))
    monkeypatch.setenv("FAKE_CAMERA", str(tmp_path))


def test_without_a_camera_it_says_so_and_what_to_do(no_usb):
    status, out, err = cameras()
    assert (status, out) == (3, "")
    assert "no event camera is attached (dv-processing: ready, neuromorphic-drivers: ready, metavision: not" in err
    assert "plug one in, or use a network stream" in err
    status, out, _ = cameras("--json")
    assert status == 3
    output = json.loads(out)
    assert output["cameras"] == []
    assert output["drivers"]["dv-processing"] == "ready"


def test_the_real_drivers_can_be_asked_whether_there_is_usb_or_not():
    for driver in ("dv-processing", "neuromorphic-drivers"):
        if find_spec(drivers.MODULES[driver]):
            state, cameras_found = listing._ask(driver)
            assert state == "ready"
            assert all(isinstance(camera, CameraInfo) for camera in cameras_found)


def test_a_camera_that_is_attached_is_listed_with_what_opens_it(tmp_path, monkeypatch):
    fake_camera(tmp_path, monkeypatch, "dv", serial="DXB00010")
    status, out, _ = cameras("--json")
    assert status == 0
    (camera,) = json.loads(out)["cameras"]
    assert camera == {
        "driver": "dv-processing",
        "model": "iniVation DVXPLORER",
        "serial": "DXB00010",
        "sensor": None,
        "firmware": "7",
        "connection": "USB bus 2, device 9",
        "uri": "dv://DXB00010",
        "problem": None,
        "remedy": None,
    }
    status, out, _ = cameras()
    assert status == 0
    assert out.splitlines()[0] == "dv://DXB00010"
    assert ["driver", "dv-processing"] in [line.split() for line in out.splitlines()]


def test_a_camera_that_cannot_be_opened_is_listed_with_the_command_that_mends_it(tmp_path, monkeypatch):
    pytest.importorskip("neuromorphic_drivers")
    fake_camera(tmp_path, monkeypatch, "neuromorphic", error="Access denied (insufficient permissions)")
    status, out, _ = cameras()
    assert status == 2
    text = " ".join(out.split())
    assert "model Prophesee EVK4 sensor 1280x720 driver neuromorphic-drivers" in text
    assert "may not open it: there is no udev rule for it remedy run: eventveil cameras --udev-rules | sudo tee" in text


def test_the_rules_let_one_user_in_and_nobody_else():
    rules = udev_rules("alice").splitlines()
    davis = 'SUBSYSTEM=="usb", ATTR{idVendor}=="152a", ATTR{idProduct}=="84[0-1]?", MODE="0600", OWNER="alice"'
    assert davis in rules
    assert all('MODE="0600", OWNER="alice"' in rule for rule in rules)
    status, out, _ = cameras("--udev-rules")
    assert status == 0
    assert out.count('SUBSYSTEM=="usb"') == 4


def test_the_rules_let_a_group_in_and_nobody_else():
    group = grp.getgrgid(os.getgid()).gr_name
    rules = CliRunner().invoke(app, ["cameras", "--udev-rules", "--group", group]).stdout.splitlines()
    assert len(rules) == 4
    assert all(rule.endswith(f', MODE="0660", GROUP="{group}"') and "OWNER" not in rule for rule in rules)


def test_a_group_that_udev_would_ignore_is_refused():
    for options, words in (
        (("--udev-rules", "--group", "no-such-group"), "this machine has no such group"),
        (("--group", "root"), "add --udev-rules"),
    ):
        error = CliRunner().invoke(app, ["cameras", *options]).exception
        assert isinstance(error, ConfigError)
        assert words in str(error)


# -- the USB bus -------------------------------------------------------------------------------------------------------


@pytest.fixture
def usb(tmp_path):
    """Return the folders of an empty USB bus, for `plug`."""
    return tmp_path / "sys", tmp_path / "dev", tmp_path / "proc"


def plug(usb, port, number, *, node=True, claimed=False, **facts):
    """Attach a device, with or without a node that can be opened."""
    system, nodes, _ = usb
    device = system / port
    interface = device / f"{port}:1.0"
    interface.mkdir(parents=True)
    for name, value in {"busnum": "2", "devnum": str(number), "speed": "5000", **facts}.items():
        (device / name).write_text(f"{value}\n")
    if node:
        (nodes / "002").mkdir(parents=True, exist_ok=True)
        (nodes / "002" / f"{number:03}").touch()
    if claimed:
        (system / "usbfs").mkdir(exist_ok=True)
        (interface / "driver").symlink_to(system / "usbfs")


def test_event_cameras_are_told_from_other_devices(usb):
    plug(usb, "2-1", 4, idVendor="152a", idProduct="8419", product="DVXplorer", serial="DXB00010")
    plug(usb, "2-2", 5, idVendor="04b4", idProduct="00f5", product="EVK4", serial="00050423")
    plug(usb, "2-3", 6, idVendor="04b4", idProduct="6570", product="a hub")
    plug(usb, "2-5", 8, idVendor="152a", idProduct="8750", product="a sound card")
    plug(usb, "2-4", 7, idVendor="046d", idProduct="0825", product="a webcam")
    assert usb_cameras(*usb) == [
        UsbCamera("iniVation", "DVXplorer", "DXB00010", "USB bus 2, device 4, 5000 Mb/s"),
        UsbCamera("Prophesee", "EVK4", "00050423", "USB bus 2, device 5, 5000 Mb/s"),
    ]


def test_without_usb_there_is_no_camera(usb):
    assert usb_cameras(*usb) == []


def test_a_device_that_may_not_be_opened_lacks_a_rule(usb):
    plug(usb, "2-1", 4, node=False, idVendor="152a", idProduct="8419")
    (camera,) = usb_cameras(*usb)
    assert "may not open" in camera.problem
    assert camera.remedy.startswith("run: eventveil cameras --udev-rules | sudo tee /etc/udev/rules.d/")


def test_a_device_that_is_claimed_is_in_use_by_who_has_opened_it(usb):
    _, nodes, processes = usb
    plug(usb, "2-1", 4, claimed=True, idVendor="152a", idProduct="8419")
    assert usb_cameras(*usb)[0].problem == "in use by another program"
    files = processes / "4711" / "fd"
    files.mkdir(parents=True)
    (files / "5").symlink_to(nodes / "002" / "004")
    (camera,) = usb_cameras(*usb)
    assert (camera.problem, camera.remedy) == ("in use by process 4711", "end it: kill 4711")


USB = UsbCamera("Prophesee", "EVK4", "00050423", "USB bus 2", None, None)
SEEN = CameraInfo(driver="neuromorphic-drivers", model="Prophesee EVK4", serial="50423", uri="prophesee://50423")


def test_what_drivers_and_the_usb_see_is_one_camera_where_it_is_one():
    assert listing._merge([SEEN], [USB]) == [SEEN]
    stuck = UsbCamera("Prophesee", "EVK4", "00050423", "USB bus 2", "in use", "end it")
    (camera,) = listing._merge([SEEN], [stuck])
    assert (camera.driver, camera.problem, camera.remedy) == ("neuromorphic-drivers", "in use", "end it")
    other = UsbCamera("Prophesee", "EVK4", "00077777", "USB bus 2", "in use", "end it")
    assert [one.problem for one in listing._merge([SEEN], [other])] == [None, "in use"]


def test_a_camera_that_no_driver_sees_lacks_one(monkeypatch):
    monkeypatch.setattr(listing, "is_installed", lambda driver: driver == "dv-processing")
    (camera,) = listing._merge([], [USB])
    assert camera.driver == ""
    assert camera.problem == "no driver sees it; not installed: metavision, neuromorphic-drivers"
    assert camera.remedy == "pip install '.[prophesee]' in a checkout of eventveil"


@pytest.mark.parametrize("answer", ["raise SystemExit(1)", "import os; os.abort()", "print('nothing')", "pass"])
def test_a_driver_that_crashes_costs_only_its_own_cameras(answer, tmp_path, monkeypatch):
    (tmp_path / "dv_processing.py").write_text(answer)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert listing._ask("dv-processing") == ("failed while listing cameras", [])


def test_a_driver_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "dv_processing.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(listing, "PATIENCE_S", 1)
    assert listing._ask("dv-processing") == ("gave no answer within 1 s", [])
