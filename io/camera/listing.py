"""Which cameras are attached, as every installed driver sees them, and what is in the way of opening them.

python -m eventveil.io.camera.listing DRIVER     (started by `list_cameras`, one process a driver)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from eventveil.io.camera.drivers import INSTALL, MODULES, discover, is_installed
from eventveil.io.camera.uri import DRIVERS, DV, PROPHESEE, CameraInfo
from eventveil.io.camera.usb import UsbCamera, usb_cameras
from eventveil.processes import module_command

PATIENCE_S = 20


def list_cameras() -> tuple[list[CameraInfo], dict[str, str]]:
    """Ask all drivers that are installed, and the USB.

    Returns:
        The cameras, one entry for each driver that sees one; and by driver how it is: "ready", "not installed", or
        what went wrong with it.
    """
    drivers: dict[str, str] = {}
    seen: list[CameraInfo] = []
    for driver in MODULES:
        drivers[driver], found = _ask(driver) if is_installed(driver) else ("not installed", [])
        seen += found
    return _together(seen, usb_cameras()), drivers


def _ask(driver: str) -> tuple[str, list[CameraInfo]]:
    """Ask one driver, in a process of its own: it may hang or crash."""
    command = module_command("eventveil.io.camera.listing", driver)
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=True)
        return "ready", [CameraInfo.of(plain) for plain in json.loads(done.stdout.splitlines()[-1])]
    except subprocess.TimeoutExpired:
        return f"gave no answer within {PATIENCE_S} s", []
    except (subprocess.CalledProcessError, ValueError, IndexError, KeyError):
        return "failed when it was asked for cameras", []


def _together(seen: Sequence[CameraInfo], attached: Sequence[UsbCamera]) -> list[CameraInfo]:
    """Put what drivers say and what the USB says together."""
    cameras = [_with_what_usb_says(camera, attached) for camera in seen]
    cameras += [_unseen(usb) for usb in attached if not any(_is_same(camera, usb) for camera in seen)]
    return cameras


def _is_same(camera: CameraInfo, usb: UsbCamera) -> bool:
    if camera.serial and usb.serial:
        # Drivers shorten numbers, or write them out with zeros in front.
        one, other = sorted((camera.serial.lstrip("0").lower(), usb.serial.lstrip("0").lower()), key=len)
        return other.endswith(one) and one != ""
    return usb.maker.lower() in camera.model.lower()


def _with_what_usb_says(camera: CameraInfo, attached: Sequence[UsbCamera]) -> CameraInfo:
    for usb in attached:
        if camera.problem is None and usb.problem is not None and _is_same(camera, usb):
            return replace(camera, problem=usb.problem, remedy=usb.remedy)
    return camera


def _unseen(usb: UsbCamera) -> CameraInfo:
    """A camera that no driver sees: because of what is in its way, or because there is no driver for it."""
    kind = DV if usb.maker == "iniVation" else PROPHESEE
    problem, remedy = usb.problem, usb.remedy
    if problem is None:
        missing = [driver for driver in DRIVERS[kind] if not is_installed(driver)]
        problem = f"no driver sees it; not installed: {', '.join(missing)}" if missing else "no driver knows it"
        remedy = INSTALL[missing[-1]] if missing else "see docs/cameras.md for the cameras that are known"
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
    sys.stdout.write(json.dumps([camera.plain() for camera in discover(sys.argv[1])]) + "\n")
