"""Find the installed drivers and the one for a camera. Each driver is imported only when it is used."""

from __future__ import annotations

from importlib.util import find_spec

from eventveil.errors import CameraError
from eventveil.host.extras import install_hint
from eventveil.io.camera.device import CameraDevice, CameraInfo, Tuning
from eventveil.io.camera.uri import DRIVERS, DV_PROCESSING, DV_TCP, DV_UNIX, METAVISION, NEUROMORPHIC, CameraUri

MODULES = {DV_PROCESSING: "dv_processing", NEUROMORPHIC: "neuromorphic_drivers", METAVISION: "metavision_hal"}
INSTALL = {
    DV_PROCESSING: f"{install_hint('line')} (there is none for macOS)",
    NEUROMORPHIC: install_hint("prophesee"),
    METAVISION: "install the Metavision SDK or OpenEB, and let this Python see its packages (PYTHONPATH)",
}


def is_installed(driver: str) -> bool:
    """Return whether this Python finds the driver's package, without importing it."""
    return find_spec(MODULES[driver]) is not None


def driver_for(uri: CameraUri) -> str:
    """Return the driver that opens a camera.

    Raises:
        CameraError: none is installed.
    """
    wanted = (DV_PROCESSING,) if uri.kind in (DV_TCP, DV_UNIX) else DRIVERS[uri.kind]
    if uri.driver is not None:
        wanted = (uri.driver,)
    for driver in wanted:
        if is_installed(driver):
            return driver
    raise CameraError(
        str(uri),
        found=f"no driver for it is installed ({' or '.join(wanted)})",
        # The last one is on the package index.
        remedy=INSTALL[wanted[-1]],
        passing=False,
    )


def open_device(uri: CameraUri, tuning: Tuning, max_age_ms: int | None) -> CameraDevice:
    """Open a camera with its driver.

    Raises:
        CameraError: it is missing, cannot be opened, or does not support a setting.
    """
    driver = driver_for(uri)
    if uri.kind in (DV_TCP, DV_UNIX):
        from eventveil.io.camera.network import NetworkStream

        return NetworkStream(uri, tuning)
    if driver == DV_PROCESSING:
        from eventveil.io.camera.dv import DvCamera

        return DvCamera(uri, tuning)
    if driver == METAVISION:
        from eventveil.io.camera.metavision import MetavisionCamera

        return MetavisionCamera(uri, tuning)
    from eventveil.io.camera.neuromorphic import NeuromorphicCamera

    return NeuromorphicCamera(uri, tuning, max_age_ms)


def discover(driver: str) -> list[CameraInfo]:
    """Return the cameras that an installed driver sees; none if the machine has no USB."""
    if driver == DV_PROCESSING:
        from eventveil.io.camera import dv

        return dv.discover()
    if driver == METAVISION:
        from eventveil.io.camera import metavision

        return metavision.discover()
    from eventveil.io.camera import neuromorphic

    return neuromorphic.discover()
