"""List the attached cameras as every installed driver sees them, and what prevents opening them.

python -m eventveil.io.camera.listing DRIVER     (started by `list_cameras`, one process per driver)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from eventveil.host.processes import forbid_core_dumps, module_command
from eventveil.io.camera.device import CameraInfo
from eventveil.io.camera.drivers import INSTALL, MODULES, discover, is_installed
from eventveil.io.camera.uri import DRIVERS, DV, PROPHESEE
from eventveil.io.camera.usb import UsbCamera, usb_cameras

PATIENCE_S = 20


def list_cameras() -> tuple[list[CameraInfo], dict[str, str]]:
    """Query all installed drivers and the USB.

    Returns:
        The cameras, one entry for each driver that sees one; and the state of each driver: "ready", "not installed", or
        what went wrong.
    """
    drivers: dict[str, str] = {}
    cameras: list[CameraInfo] = []
    for driver in MODULES:
        drivers[driver], visible = _ask(driver) if is_installed(driver) else ("not installed", [])
        cameras += visible
    return _merge(cameras, usb_cameras()), drivers


def _ask(driver: str) -> tuple[str, list[CameraInfo]]:
    """Query one driver in a separate process, because it may hang or crash."""
    command = module_command("eventveil.io.camera.listing", driver)
    try:
        completed = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=True)
        return "ready", [CameraInfo.from_dict(plain) for plain in json.loads(completed.stdout.splitlines()[-1])]
    except subprocess.TimeoutExpired:
        return f"gave no answer within {PATIENCE_S} s", []
    except (subprocess.CalledProcessError, ValueError, IndexError, KeyError):
        return "failed while listing cameras", []


def _merge(visible: Sequence[CameraInfo], attached: Sequence[UsbCamera]) -> list[CameraInfo]:
    """Combine the cameras that the drivers see with those on the USB."""
    cameras = [_add_usb_problem(camera, attached) for camera in visible]
    cameras += [_invisible(usb) for usb in attached if not any(_is_same(camera, usb) for camera in visible)]
    return cameras


def _is_same(camera: CameraInfo, usb: UsbCamera) -> bool:
    if camera.serial and usb.serial:
        # Drivers shorten serial numbers, or pad them with leading zeros.
        shorter, longer = sorted((camera.serial.lstrip("0").lower(), usb.serial.lstrip("0").lower()), key=len)
        return longer.endswith(shorter) and shorter != ""
    return usb.maker.lower() in camera.model.lower()


def _add_usb_problem(camera: CameraInfo, attached: Sequence[UsbCamera]) -> CameraInfo:
    for usb in attached:
        if camera.problem is None and usb.problem is not None and _is_same(camera, usb):
            return replace(camera, problem=usb.problem, remedy=usb.remedy)
    return camera


def _invisible(usb: UsbCamera) -> CameraInfo:
    """Describe a camera that no driver sees: access is blocked, or no driver is installed for it."""
    kind = DV if usb.maker == "iniVation" else PROPHESEE
    problem, remedy = usb.problem, usb.remedy
    if problem is None:
        missing = [driver for driver in DRIVERS[kind] if not is_installed(driver)]
        problem = f"no driver sees it; not installed: {', '.join(missing)}" if missing else "no driver knows it"
        remedy = INSTALL[missing[-1]] if missing else "see docs/cameras.md for the supported cameras"
    return CameraInfo(
        driver="",
        model=f"{usb.maker} {usb.model.removeprefix(usb.maker).strip()}",
        serial=usb.serial,
        connection=usb.connection,
        uri=f"{kind}://{usb.serial or ''}",
        problem=problem,
        remedy=remedy,
    )


if __name__ == "__main__":
    forbid_core_dumps()
    sys.stdout.write(json.dumps([camera.to_dict() for camera in discover(sys.argv[1])]) + "\n")
