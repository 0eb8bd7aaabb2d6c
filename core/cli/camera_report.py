"""Measures an attached camera for a report to the project: counts, rates, losses and versions, but no events."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from typing import Any

import numpy as np

from eventveil.errors import CameraError
from eventveil.io.camera.live import LiveCamera
from eventveil.io.camera.uri import DRIVERS, CameraUri
from eventveil.version import __version__

PACKAGES = ("dv-processing", "neuromorphic-drivers", "numpy", "numba")
RECONNECT_S = 60.0
"""How long a camera that disappears may stay away."""


def measure(uri: str, seconds: float, *, max_age_ms: int, watch: Callable[[float, int], object]) -> dict[str, Any]:
    """Read a camera for a while, and return the report as plain values.

    The report names no serial number. It gives the number of events in total, and in the quietest, the median and the
    busiest second.

    Args:
        uri: URI of the camera.
        seconds: how long to read it; Ctrl-C ends it earlier.
        max_age_ms: events that have waited longer are discarded and counted, as in live operation.
        watch: called with the seconds so far, and the events.

    Raises:
        ConfigError: the URI names no camera.
        CameraError: the camera is missing or cannot be opened.
    """
    camera = LiveCamera(CameraUri.parse(uri), max_age_ms=max_age_ms)
    incidents: Counter[str] = Counter()
    per_second: Counter[int] = Counter()
    failure, packets, now, last, silence_s = None, 0, 0.0, 0.0, 0.0
    try:
        camera.connect(within_s=0)
        start = time.monotonic()
        with suppress(KeyboardInterrupt):
            while failure is None and (now := time.monotonic() - start) < seconds:
                watch(now, per_second.total())
                try:
                    packet = camera.read()
                except CameraError as error:
                    incidents["disconnected"] += 1
                    failure = _reconnect(camera, error)
                    continue
                incidents.update(camera.incidents)
                camera.incidents.clear()
                if packet is not None and len(packet):
                    silence_s, last, packets = max(silence_s, now - last), now, packets + 1
                    per_second[int(now)] += len(packet)
    finally:
        camera.close()
    info = camera.info.to_dict()
    rates = [per_second[second] for second in range(int(now))] or [per_second.total()]
    return {
        "report": 1,
        "eventveil": __version__,
        "machine": {
            "system": platform.system(), "release": platform.release(), "processor": platform.machine(),
            "cores": os.cpu_count(), "python": platform.python_version(),
        },
        "packages": {name: _version(name) for name in PACKAGES},
        "camera": {key: info[key] for key in ("driver", "model", "sensor", "firmware", "connection")} | _peer(camera),
        "seconds": round(now, 1),
        "requested_seconds": seconds,
        "failure": failure,
        "counts": asdict(camera.counters) | {"reads": packets},
        "events_per_second": {
            name: int(np.percentile(rates, share)) for name, share in (("lowest", 0), ("median", 50), ("highest", 100))
        },
        "longest_silence_s": round(max(silence_s, now - last), 3),
        "incidents": dict(incidents),
    }  # fmt: skip


def losses_of(report: dict[str, Any]) -> list[str]:
    """Return what went wrong, in words; nothing if all events arrived in order."""
    counts, incidents = report["counts"], report["incidents"]
    reasons = {
        "the camera disappeared and did not come back": report["failure"] is not None,
        "the camera sent no events": counts["read"] == 0,
        "events were discarded as too old": counts["dropped"] + counts["packets"] > 0,
        "events were damaged": counts["damaged"] > 0,
        "the camera or its driver lost events": "overflow" in incidents,
        "the camera was disconnected for a while": "disconnected" in incidents,
        "the camera's clock did not advance evenly": "clock" in incidents,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _reconnect(camera: LiveCamera, gone: CameraError) -> str | None:
    """Wait for a camera that has disappeared; return why it did not come back, or None."""
    try:
        camera.connect(within_s=RECONNECT_S)
    except CameraError:
        return str(gone.found)
    return None


def _peer(camera: LiveCamera) -> dict[str, str]:
    """Return what replaces the model of a camera at the other end of a network: its sender's name for it."""
    # DV and dv-processing name cameras MODEL_SERIAL, and others as they like.
    return {} if camera.uri.kind in DRIVERS else {"model": "a camera that another program reads"}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
