"""`eventveil doctor`: each problem is found, has its colour, and comes with a remedy."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from book_helpers import small_book
from certificates import certificate
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stand_in_helpers import book_of, make_stand_in_kit
from typer.testing import CliRunner

from eventveil import doctor
from eventveil.cli import app
from eventveil.cli.doctor import _settings
from eventveil.config import run_settings
from eventveil.doctor import machine, pipeline
from eventveil.io.camera import listing
from eventveil.io.camera.device import CameraInfo
from eventveil.models import load_weights, shipped

PORT = "publish.bind=ipc:///tmp/eventveil-doctor"


def settings(*overrides, config=None):
    return _settings(config, [*overrides])


def finding(check, about, *overrides):
    findings = {one.about: one for one in check(settings(*overrides))}
    return findings[about]


def test_a_machine_without_camera_gpu_usb_or_sdk_is_looked_at_to_the_end(monkeypatch):
    monkeypatch.setattr(listing, "is_installed", lambda _: False)
    monkeypatch.setattr(listing, "usb_cameras", list)
    monkeypatch.setattr(pipeline, "USB", Path("/no/such/folder"))
    done = CliRunner().invoke(app, ["doctor", "--json", "--set", PORT])
    findings = json.loads(done.stdout)
    assert done.exit_code == 0, findings
    assert {one["colour"] for one in findings} <= {"green", "amber"}
    assert all(one["remedy"] for one in findings if one["colour"] != "green")
    about = [one["about"] for one in findings]
    for needed in ("python", "packages", "cpu", "gpu", "driver dv-processing", "cameras", "udev rules", "endpoint",
                   "runtime folder", "weights", "clock", "time synchronisation", "disk, here"):  # fmt: skip
        assert needed in about
    assert "could not be checked" not in done.stdout


def test_text_names_colours_and_remedies_and_counts_them():
    done = CliRunner().invoke(app, ["doctor", "--set", "anonymize.weights=/no/such/file", "--set", PORT])
    assert done.exit_code == 1
    assert "red    weights: /no/such/file: cannot be read" in done.stdout
    assert "1 red" in done.stderr


def test_an_address_that_is_taken_is_red():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        bind = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        taken = finding(pipeline._endpoint, "endpoint", f"publish.bind={bind}")
        metrics = finding(pipeline._metrics, "metrics", f"watch.metrics={bind.removeprefix('tcp://')}")
    assert (taken.colour, metrics.colour) == ("red", "red")
    assert bind in taken.found
    assert "watch.metrics" in metrics.remedy
    assert finding(pipeline._endpoint, "endpoint", f"publish.bind={bind}").colour == "green"
    assert list(pipeline._metrics(settings())) == []


def test_a_token_that_others_can_read_is_red(tmp_path):
    token = tmp_path / "token"
    token.write_text("q0jRz9L0kQ2mX7uE5b1nVtYcH8sWpA3d")
    for mode, colour in ((0o644, "red"), (0o600, "green")):
        token.chmod(mode)
        found = finding(
            pipeline._metrics, "metrics token", "watch.metrics=127.0.0.1:0", f"watch.token={json.dumps(str(token))}"
        )
        assert found.colour == colour


@pytest.mark.parametrize(
    ("bind", "colour"), [("tcp://127.0.0.1:*", "green"), ("ipc:///tmp/x", "green"), ("ipc:///no/such/x", "red")]
)
def test_an_address_without_a_port_of_its_own(bind, colour):
    assert finding(pipeline._endpoint, "endpoint", f"publish.bind={json.dumps(bind)}").colour == colour


def test_a_runtime_folder_that_others_may_enter_is_red(tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    override = f"line.runtime_dir={open_to_all}"
    assert finding(pipeline._runtime_folder, "runtime folder", override).colour == "red"
    open_to_all.chmod(0o700)
    assert finding(pipeline._runtime_folder, "runtime folder", override).colour == "green"
    new = tmp_path / "new" / "one"
    assert finding(pipeline._runtime_folder, "runtime folder", f"line.runtime_dir={new}").colour == "green"
    assert not new.exists(), "doctor changes nothing"


def test_nothing_is_left_behind(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="eventveil-") as folder:  # short, since socket paths are limited
        monkeypatch.setattr("multiprocessing.util.get_temp_dir", lambda: folder)
        assert finding(pipeline._runtime_folder, "runtime folder").colour == "green"
        assert list(Path(folder).iterdir()) == []


def test_tensors_that_are_not_those_of_the_header_are_red(tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(shipped.NOISY_CHANNEL.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    found = finding(pipeline._weights, "weights", f"anonymize.weights={damaged}", "classify.weights=null")
    assert (found.colour, "do not match the digest" in found.found) == ("red", True)


def test_weights_that_were_never_audited_are_amber_and_missing_ones_red():
    never = (f"anonymize.weights={shipped.NOISY_CHANNEL}", f"classify.weights={shipped.NOISY_CHANNEL_GESTURES}")
    findings = {one.about: one for one in pipeline._weights(settings(*never))}
    assert findings["weights"].colour == "green"
    assert "not certified" in findings["certificate and settings"].found
    assert findings["certificate and settings"].colour == "amber"
    assert finding(pipeline._weights, "weights", "anonymize.weights=null").colour == "red"


def test_the_book_of_a_stand_in_is_checked_and_another_one_is_red(tmp_path):
    kit = make_stand_in_kit(tmp_path, ())
    given = (PORT, f"anonymize.weights={kit.anonymizer}", "anonymize.allow_untrained=true", "classify.weights=null")
    found = finding(pipeline._weights, "book", *given)
    assert (found.colour, "8.77 bits a second" in found.found) == ("green", True)
    small_book().write(book_of(kit))
    found = finding(pipeline._weights, "weights", *given)
    assert (found.colour, "was trained for the book with" in found.found) == ("red", True)


def test_a_certificate_is_found_beside_the_weights(tmp_path):
    weights = tmp_path / "anonymizer.safetensors"
    shutil.copy(shipped.NOISY_CHANNEL, weights)
    text = certificate(Ed25519PrivateKey.generate(), (load_weights(weights).digest, 0))
    (tmp_path / "certificate.json").write_text(text)
    chosen = settings(f"anonymize.weights={weights}", f"classify.weights={shipped.NOISY_CHANNEL_GESTURES}")
    findings = {one.about: one for one in pipeline._weights(chosen)}
    assert findings["certificate"].colour == "green"
    assert "certificate and settings" not in findings


def test_a_camera_that_cannot_be_opened_is_red_and_a_driver_that_fails_amber(monkeypatch):
    there = CameraInfo(driver="", model="EVK4", uri="prophesee://1", problem="no udev rule", remedy="run: this")
    ready = CameraInfo(driver="dv-processing", model="DVXplorer", uri="dv://2")
    drivers = {"dv-processing": "ready", "neuromorphic-drivers": "failed while listing cameras"}
    monkeypatch.setattr(listing, "list_cameras", lambda: ([there, ready], drivers))
    findings = {one.about: one for one in pipeline._cameras(settings())}
    assert (findings["camera EVK4"].colour, findings["camera EVK4"].remedy) == ("red", "run: this")
    assert findings["camera DVXplorer"].colour == "green"
    assert findings["driver neuromorphic-drivers"].colour == "amber"


@pytest.mark.skipif(sys.platform != "linux", reason="udev is Linux's")
def test_udev_rules_are_found_by_what_they_say(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "USB", tmp_path)
    monkeypatch.setattr(pipeline, "RULES_FOLDERS", (tmp_path / "none", tmp_path))
    (tmp_path / "70-mouse.rules").write_text('SUBSYSTEM=="usb", ATTR{idVendor}=="046d", MODE="0666"\n')
    missing = finding(pipeline._udev_rules, "udev rules")
    assert missing.colour == "amber"
    assert "eventveil cameras --udev-rules" in missing.remedy
    (tmp_path / "65-cameras.rules").write_text('SUBSYSTEM=="usb", ATTRS{idVendor}=="152a", MODE="0600"\n')
    assert finding(pipeline._udev_rules, "udev rules").colour == "green"


def test_a_package_that_is_missing_is_red_and_an_optional_one_amber(monkeypatch):
    whole = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: None if name in ("pyzmq", "jinja2") else whole(name))
    findings = {one.about: one for one in machine._packages(settings())}
    assert (findings["packages"].colour, findings["packages"].found) == ("red", "not installed: pyzmq")
    assert findings["optional packages"].colour == "amber"
    assert "jinja2" in findings["optional packages"].found


@pytest.mark.parametrize(("free", "colour"), [(1e6, "red"), (1e9, "amber"), (1e12, "green")])
def test_a_disk_that_is_all_but_full(monkeypatch, free, colour):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2e12, 0, free))
    assert finding(machine._disk, "disk, here").colour == colour


def test_a_clock_that_steps_is_reported(monkeypatch):
    steady = finding(machine._clock, "clock")
    assert steady.colour == "green"
    steps = itertools.count(2e9, 7)
    monkeypatch.setattr(machine.time, "time", lambda: next(steps))
    assert finding(machine._clock, "clock").colour == "amber"


@pytest.mark.parametrize(("kept", "colour"), [(True, "green"), (False, "amber"), (None, "green")])
def test_what_the_kernel_says_of_the_clock_is_reported(monkeypatch, kept, colour):
    monkeypatch.setattr(machine, "_synchronised", lambda: kept)
    assert finding(machine._clock, "time synchronisation").colour == colour


def test_a_check_that_fails_is_a_finding_and_quotes_no_values(monkeypatch):
    def _broken_thing(_):
        raise KeyError("secret")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (_broken_thing, machine._python))
    first, second = doctor.examine(settings())
    assert (first.about, first.colour, second.about) == ("broken thing", "amber", "python")
    assert "KeyError" in first.found
    assert "secret" not in first.found


def test_a_gpu_that_is_required_and_missing_is_red(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert finding(machine._gpu, "gpu", "anonymize.device=cuda").colour == "red"
    assert finding(machine._gpu, "gpu").colour in ("green", "amber")


def test_settings_come_from_a_configuration_of_the_package():
    assert settings(config=Path("live")).line.delivery == "live"
    assert settings(config=Path("kiosk")).sources[0].stream == "kiosk"  # a preset, as `eventveil run` takes it


def test_settings_come_from_a_file_and_are_checked(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("sources: [{uri: 'simulate:'}]\npublish: {bind: tcp://127.0.0.1:7000}\n")
    assert settings(config=file) == run_settings(
        {"sources": [{"uri": "simulate:"}], "publish": {"bind": "tcp://127.0.0.1:7000"}}, name="x"
    )


@pytest.mark.parametrize(("folder", "colour"), [(None, "amber"), ("eventveil-kernels-x", "amber"), ("numba", "green")])
def test_a_missing_folder_for_kernels_is_amber(monkeypatch, tmp_path, folder, colour):
    monkeypatch.setattr(machine, "find_cache", lambda: None if folder is None else tmp_path / folder)
    (finding,) = machine._kernel_cache(settings())
    assert finding.colour == colour
    assert colour == "green" or "NUMBA_CACHE_DIR" in finding.remedy
