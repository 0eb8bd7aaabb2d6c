"""Apply settings to a camera when it is opened. A setting that it does not offer is refused, never silently ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from eventveil.errors import CameraError
from eventveil.events import Sensor
from eventveil.io.camera.device import Tuning
from eventveil.io.camera.uri import CameraUri


def refusal(uri: CameraUri, what: str, why: str) -> CameraError:
    """Return the error for a setting that a camera does not accept."""
    return CameraError(
        str(uri),
        found=f"cannot set {what}: {why}",
        remedy="change that key of `camera`, or leave it out",
        passing=False,
    )


def check_biases(uri: CameraUri, tuning: Tuning, known: Iterable[str]) -> None:
    """Refuse biases that a camera does not have, and name those that it has.

    Raises:
        CameraError: a bias is unknown.
    """
    known = sorted(known)
    if unknown := [bias for bias in tuning.biases if bias not in known]:
        available = ", ".join(known) or "no adjustable biases"
        raise refusal(uri, f"bias {', '.join(unknown)}", f"this camera has {available}")


def check_roi(uri: CameraUri, tuning: Tuning, sensor: Sensor) -> None:
    """Refuse a region that does not lie on the sensor: some drivers accept it and do something else.

    Raises:
        CameraError: it is empty, or reaches beyond the sensor.
    """
    if tuning.roi is None:
        return
    x, y, width, height = tuning.roi
    if min(x, y) < 0 or min(width, height) < 1 or x + width > sensor.width or y + height > sensor.height:
        raise refusal(uri, f"roi {list(tuning.roi)}", f"[x, y, width, height] does not lie on its {sensor} pixels")


def apply(uri: CameraUri, what: str, setter: Callable[..., Any], *values: Any) -> None:
    """Call a driver's setter.

    Raises:
        CameraError: it raises, or returns False.
    """
    try:
        accepted = setter(*values)
    except Exception as error:  # its text may quote events, so only its type is passed on
        raise refusal(uri, what, f"its driver raised {type(error).__name__}") from None
    if accepted is False:
        raise refusal(uri, what, "its driver rejected it")
