"""What a camera is told when it is opened: refused where it does not offer that, and never quietly left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from eventveil.errors import CameraError
from eventveil.events import Sensor
from eventveil.io.camera.device import Tuning
from eventveil.io.camera.uri import CameraUri


def refusal(uri: CameraUri, what: str, why: str) -> CameraError:
    """Something that a camera cannot be told."""
    return CameraError(str(uri), found=f"cannot set {what}: {why}", remedy="change that key of `camera`", passing=False)


def check_biases(uri: CameraUri, tuning: Tuning, known: Iterable[str]) -> None:
    """Refuse biases that a camera does not have, and name those that it has.

    Raises:
        CameraError: there are some.
    """
    known = sorted(known)
    if unknown := [bias for bias in tuning.biases if bias not in known]:
        raise refusal(uri, f"bias {', '.join(unknown)}", f"this camera has {', '.join(known) or 'none to be set'}")


def check_roi(uri: CameraUri, tuning: Tuning, sensor: Sensor) -> None:
    """Refuse a region that does not lie on the sensor: some drivers take it, and do something else.

    Raises:
        CameraError: it is empty, or reaches beyond the sensor.
    """
    if tuning.roi is None:
        return
    x, y, width, height = tuning.roi
    if min(x, y) < 0 or min(width, height) < 1 or x + width > sensor.width or y + height > sensor.height:
        raise refusal(uri, f"roi {list(tuning.roi)}", f"[x, y, width, height] does not lie on its {sensor} pixels")


def apply(uri: CameraUri, what: str, setter: Callable[..., Any], *values: Any) -> None:
    """Have a driver set something.

    Raises:
        CameraError: it raises, or answers that it has not done so.
    """
    try:
        done = setter(*values)
    except Exception as error:  # other people's words may hold anything, so only their kind is told
        raise refusal(uri, what, f"its driver raised {type(error).__name__}") from None
    if done is False:
        raise refusal(uri, what, "its driver says no")
