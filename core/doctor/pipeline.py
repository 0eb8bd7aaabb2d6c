"""Checks of what a pipeline works with: cameras, addresses, the folder for sockets, weights."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from eventveil.doctor.finding import Check, Finding
from eventveil.errors import EventVeilError
from eventveil.host.addresses import split_host_port
from eventveil.host.extras import require_line
from eventveil.stream.settings.pipeline import PipelineSettings

RULES_FOLDERS = (Path("/etc/udev/rules.d"), Path("/run/udev/rules.d"), Path("/usr/lib/udev/rules.d"))
USB = Path("/sys/bus/usb")


def _cameras(_: PipelineSettings) -> Iterator[Finding]:
    from eventveil.io.camera.drivers import INSTALL
    from eventveil.io.camera.listing import list_cameras

    cameras, drivers = list_cameras()
    for driver, state in drivers.items():
        if state not in ("ready", "not installed"):
            yield Finding(f"driver {driver}", "amber", state, f"reinstall it: {INSTALL[driver]}")
        else:
            remedy = None if state == "ready" else f"only if you need it: {INSTALL[driver]}"
            yield Finding(f"driver {driver}", "green", state, remedy)
    for camera in cameras:
        name = f"camera {camera.model}"
        if camera.problem is None:
            yield Finding(name, "green", f"opens with {camera.uri}")
        else:
            yield Finding(name, "red", camera.problem, camera.remedy)
    if not cameras:
        yield Finding("cameras", "green", "none attached; `eventveil run simulate:` needs none")


def _udev_rules(_: PipelineSettings) -> Iterator[Finding]:
    from eventveil.io.camera.errors import PRODUCTS, udev_command

    if sys.platform != "linux" or not USB.exists():
        yield Finding("udev rules", "green", "not needed: this system has no USB bus")
        return
    files = [file for folder in RULES_FOLDERS if folder.is_dir() for file in folder.glob("*.rules")]
    matching = [file for file in files if any(f'idVendor}}=="{vendor}"' in _text(file) for vendor in PRODUCTS)]
    if matching:
        yield Finding("udev rules", "green", f"event cameras are covered by {matching[0]}")
    else:
        remedy = f"before you plug one in, run: {udev_command()}"
        yield Finding("udev rules", "amber", "no rule allows you to open event cameras", remedy)


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
            Finding("endpoint", "green", f"{bind} can be created")
            if usable
            else Finding(
                "endpoint",
                "red",
                f"{bind}: no socket can be created in {folder}",
                "create that folder, or change publish.bind",
            )
        )
        return
    yield _port("endpoint", bind, "" if host == "*" else host, int(port), "publish.bind")


def _metrics(settings: PipelineSettings) -> Iterator[Finding]:
    from eventveil.stream.monitoring.token import read_token

    if settings.watch.token is not None:
        try:
            read_token(settings.watch.token)
        except EventVeilError as error:
            yield Finding("metrics token", "red", str(error), "repair the file, or set watch.token to another")
        else:
            yield Finding("metrics token", "green", f"{settings.watch.token}: private")
    if settings.watch.metrics is not None:
        host, port = settings.watch.metrics
        yield _port("metrics", f"{host}:{port}", host, port, "watch.metrics")


def _port(about: str, address: str, host: str, port: int, key: str) -> Finding:
    """Check that a port is free, by binding it for a moment."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        remedy = f"end the program that uses it, or set {key} to another address"
        return Finding(about, "red", f"{address}: {error.strerror or error}", remedy)
    return Finding(about, "green", f"{address} is free")


def _runtime_folder(settings: PipelineSettings) -> Iterator[Finding]:
    from eventveil.stream.runtime.sockets import runtime_folder

    chosen = settings.line.runtime_dir
    if chosen is not None and not chosen.exists():
        existing = next(parent for parent in chosen.absolute().parents if parent.exists())
        usable = os.access(existing, os.W_OK)
        yield (
            Finding("runtime folder", "green", f"{chosen} can be created")
            if usable
            else Finding(
                "runtime folder",
                "red",
                f"{chosen}: cannot be created in {existing}",
                "set line.runtime_dir to another folder",
            )
        )
        return
    try:
        folder = runtime_folder(chosen)
    except EventVeilError as error:
        yield Finding(
            "runtime folder", "red", str(error), "set line.runtime_dir to a folder that you own, with mode 0700"
        )
        return
    if chosen is None:
        folder.rmdir()
    state = f"{chosen}: private" if chosen else f"each run creates a private one in {tempfile.gettempdir()}"
    yield Finding("runtime folder", "green", state)


def _weights(settings: PipelineSettings) -> Iterator[Finding]:
    from eventveil.stream.planning.planner import plan

    try:
        require_line("a network")
        from eventveil.models.weights import load_same

        planned = plan(settings)
        digests = planned.provenance.anonymizer, planned.provenance.classifier
        for stage, digest in zip((settings.anonymize, settings.classify), digests, strict=True):
            if stage.weights is not None:
                load_same(stage.weights, digest)  # a plan reads headers only
    except EventVeilError as error:
        yield Finding(
            "weights", "red", str(error), "correct what the message names, for example --set anonymize.weights=FILE"
        )
        return
    yield Finding("weights", "green", f"{settings.anonymize.weights}: {planned.provenance.anonymizer[:16]}")
    if planned.book is not None:
        yield Finding("book", "green", planned.book.summary)
    if planned.provenance.certificate is not None:
        yield Finding("certificate", "green", f"found, and covers these weights: {planned.provenance.certificate[:16]}")
    if not planned.provenance.trained:
        yield Finding(
            "training", "amber", "the anonymizer is untrained: it protects no one", "train it, or use --weights shipped"
        )
    for remark in planned.remarks:
        yield Finding("certificate and settings", "amber", remark, "docs/audit.md explains how to audit an anonymizer")


CHECKS: tuple[Check, ...] = (_cameras, _udev_rules, _endpoint, _metrics, _runtime_folder, _weights)
