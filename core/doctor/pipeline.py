"""What `eventveil doctor` sees of what a line works with: cameras, address, the folder of sockets, weights."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from eventveil.addresses import split_host_port
from eventveil.doctor.finding import Check, Finding
from eventveil.errors import EventVeilError
from eventveil.stream.settings import PipelineSettings

RULES_FOLDERS = (Path("/etc/udev/rules.d"), Path("/run/udev/rules.d"), Path("/usr/lib/udev/rules.d"))
USB = Path("/sys/bus/usb")


def _cameras(_: PipelineSettings) -> Iterator[Finding]:
    from eventveil.io.camera.drivers import INSTALL
    from eventveil.io.camera.listing import list_cameras

    found, drivers = list_cameras()
    for driver, state in drivers.items():
        if state not in ("ready", "not installed"):
            yield Finding(f"driver {driver}", "amber", state, f"install it anew: {INSTALL[driver]}")
        else:
            remedy = None if state == "ready" else f"only where you need it: {INSTALL[driver]}"
            yield Finding(f"driver {driver}", "green", state, remedy)
    for camera in found:
        name = f"camera {camera.model}"
        if camera.problem is None:
            yield Finding(name, "green", f"opens with {camera.uri}")
        else:
            yield Finding(name, "red", camera.problem, camera.remedy)
    if not found:
        yield Finding("cameras", "green", "none attached; `eventveil run simulate:` does without")


def _udev_rules(_: PipelineSettings) -> Iterator[Finding]:
    from eventveil.io.camera.errors import PRODUCTS, udev_command

    if sys.platform != "linux" or not USB.exists():
        yield Finding("udev rules", "green", "not needed: there is no USB here that they would be for")
        return
    files = [file for folder in RULES_FOLDERS if folder.is_dir() for file in folder.glob("*.rules")]
    named = [file for file in files if any(f'idVendor}}=="{vendor}"' in _text(file) for vendor in PRODUCTS)]
    if named:
        yield Finding("udev rules", "green", f"event cameras are named in {named[0]}")
    else:
        remedy = f"before you plug one in, run: {udev_command()}"
        yield Finding("udev rules", "amber", "no rule lets you open an event camera", remedy)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _endpoint(settings: PipelineSettings) -> Iterator[Finding]:
    bind = settings.publish.bind
    host, port = split_host_port(bind.removeprefix("tcp://"))
    tcp = bind.startswith("tcp://")
    if not tcp or port == "*":
        folder = Path(bind.removeprefix("ipc://")).parent
        usable = tcp or os.access(folder, os.W_OK)
        yield (
            Finding("endpoint", "green", f"{bind} can be made")
            if usable
            else Finding(
                "endpoint",
                "red",
                f"{bind}: no socket can be made in {folder}",
                "make that folder, or change publish.bind",
            )
        )
        return
    yield _port("endpoint", bind, "" if host == "*" else host, int(port), "publish.bind")


def _metrics(settings: PipelineSettings) -> Iterator[Finding]:
    if settings.watch.metrics is not None:
        host, port = settings.watch.metrics
        yield _port("metrics", f"{host}:{port}", host, port, "watch.metrics")


def _port(about: str, address: str, host: str, port: int, key: str) -> Finding:
    """Whether a port is free: it is taken for a moment."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        remedy = f"end what runs there, or choose another address as {key}"
        return Finding(about, "red", f"{address}: {error.strerror or error}", remedy)
    return Finding(about, "green", f"{address} is free")


def _runtime_folder(settings: PipelineSettings) -> Iterator[Finding]:
    from eventveil.stream.runtime.sockets import runtime_folder

    chosen = settings.line.runtime_dir
    if chosen is not None and not chosen.exists():
        place = next(parent for parent in chosen.absolute().parents if parent.exists())
        usable = os.access(place, os.W_OK)
        yield (
            Finding("runtime folder", "green", f"{chosen} can be made")
            if usable
            else Finding(
                "runtime folder", "red", f"{chosen}: may not be made in {place}", "choose another as line.runtime_dir"
            )
        )
        return
    try:
        folder = runtime_folder(chosen)
    except EventVeilError as error:
        yield Finding("runtime folder", "red", str(error), "a folder of yours with mode 0700 as line.runtime_dir")
        return
    if chosen is None:
        folder.rmdir()
    told = f"{chosen}: only you may enter" if chosen else f"made in {folder.parent} for each run, only you may enter"
    yield Finding("runtime folder", "green", told)


def _weights(settings: PipelineSettings) -> Iterator[Finding]:
    from eventveil.stream.planning import plan

    try:
        planned = plan(settings)
    except EventVeilError as error:
        yield Finding("weights", "red", str(error), "see there")
        return
    yield Finding("weights", "green", f"{settings.anonymize.weights}: {planned.provenance.anonymizer[:16]}")
    if planned.provenance.certificate is not None:
        yield Finding("certificate", "green", f"found, and about these weights: {planned.provenance.certificate[:16]}")
    if not planned.provenance.trained:
        yield Finding(
            "training", "amber", "the anonymizer is untrained: it protects nobody", "train one, or take shipped"
        )
    for remark in planned.remarks:
        yield Finding("certificate and settings", "amber", remark, "docs/audit.md tells how an anonymizer is audited")


LOOKS: tuple[Check, ...] = (_cameras, _udev_rules, _endpoint, _metrics, _runtime_folder, _weights)
