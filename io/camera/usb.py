"""Find event cameras on the system's USB without a driver, and why one that is attached cannot be opened.

Reads Linux's /sys. On other systems and on machines without USB it finds none, and only the drivers can list cameras.
"""

from __future__ import annotations

import contextlib
import fnmatch
import getpass
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eventveil.io.camera.errors import PRODUCTS, VENDORS, udev_command

SYSTEM = Path("/sys/bus/usb/devices")
NODES = Path("/dev/bus/usb")
PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class UsbCamera:
    """An event camera on the USB.

    Attributes:
        maker: by its vendor id.
        model: its own name for itself.
        serial: its serial number, if it reports one.
        connection: its bus, device number and speed.
        problem: why this user's programs cannot open it; None: no problem is known.
        remedy: what to do about it.
    """

    maker: str
    model: str
    serial: str | None
    connection: str
    problem: str | None = None
    remedy: str | None = None


def usb_cameras(system: Path = SYSTEM, nodes: Path = NODES, processes: Path = PROCESSES) -> list[UsbCamera]:
    """Find event cameras by their USB ids."""
    return [_describe(device, nodes, processes) for device in _devices(system)]


def _devices(system: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for device in sorted(system.iterdir()):
            vendor, product = _read_text(device / "idVendor"), _read_text(device / "idProduct")
            if vendor in PRODUCTS and fnmatch.fnmatchcase(product, PRODUCTS[vendor]):
                yield device


def _describe(device: Path, nodes: Path, processes: Path) -> UsbCamera:
    bus, number = (int(_read_text(device / name) or 0) for name in ("busnum", "devnum"))
    node = nodes / f"{bus:03d}" / f"{number:03d}"
    problem, remedy = _find_problem(device, node, processes)
    maker = VENDORS[_read_text(device / "idVendor")]
    return UsbCamera(
        maker=maker,
        model=_read_text(device / "product") or f"{maker} camera",
        serial=_read_text(device / "serial") or None,
        connection=f"USB bus {bus}, device {number}, {_read_text(device / 'speed') or '?'} Mb/s",
        problem=problem,
        remedy=remedy,
    )


def _find_problem(device: Path, node: Path, processes: Path) -> tuple[str | None, str | None]:
    if not os.access(node, os.R_OK | os.W_OK):
        return f"{getpass.getuser()} may not open {node}: there is no udev rule for it", f"run: {udev_command()}"
    # A program that uses a device claims its interfaces, and the kernel then lists itself (usbfs) as their driver.
    claimed = [link for link in device.glob("*:*/driver") if link.resolve().name == "usbfs"]
    if not claimed:
        return None, None
    users = _users(node, processes)
    who = f"process {users[0]}" if users else "another program"
    end = f"end it: kill {users[0]}" if users else "end that program, or unplug the camera and plug it in again"
    return f"in use by {who}", end


def _users(node: Path, processes: Path) -> list[int]:
    """Return the processes that have opened the device, as far as this user may see them."""
    users = []
    for process in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(link) == str(node) for link in (process / "fd").iterdir()):
                users.append(int(process.name))
    return sorted(users)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
