"""Event cameras as the system's USB sees them, drivers or not: why one that is there cannot be opened.

Read from Linux's /sys; elsewhere, and where there is no USB at all, nothing is found, and only drivers can tell.
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
        model: what it calls itself.
        serial: its serial number, where it tells one.
        connection: its place and speed.
        problem: why this user's programs cannot open it; None: nothing is in the way.
        remedy: what to do about that.
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
            vendor, product = _word(device / "idVendor"), _word(device / "idProduct")
            if vendor in PRODUCTS and fnmatch.fnmatchcase(product, PRODUCTS[vendor]):
                yield device


def _describe(device: Path, nodes: Path, processes: Path) -> UsbCamera:
    bus, number = (int(_word(device / name) or 0) for name in ("busnum", "devnum"))
    node = nodes / f"{bus:03d}" / f"{number:03d}"
    problem, remedy = _in_the_way(device, node, processes)
    maker = VENDORS[_word(device / "idVendor")]
    return UsbCamera(
        maker=maker,
        model=_word(device / "product") or f"{maker} camera",
        serial=_word(device / "serial") or None,
        connection=f"USB bus {bus}, device {number}, {_word(device / 'speed') or '?'} Mb/s",
        problem=problem,
        remedy=remedy,
    )


def _in_the_way(device: Path, node: Path, processes: Path) -> tuple[str | None, str | None]:
    if not os.access(node, os.R_OK | os.W_OK):
        return f"{getpass.getuser()} may not open {node}: there is no udev rule for it", f"run: {udev_command()}"
    # A program that uses a device claims its interfaces, and the system then calls itself their driver.
    claimed = [link for link in device.glob("*:*/driver") if link.resolve().name == "usbfs"]
    if not claimed:
        return None, None
    users = _users(node, processes)
    who = f"process {users[0]}" if users else "another program"
    end = f"end it: kill {users[0]}" if users else "end that program, or unplug the camera and plug it in again"
    return f"in use by {who}", end


def _users(node: Path, processes: Path) -> list[int]:
    """The processes that have opened it, as far as this user may know."""
    users = []
    for process in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(link) == str(node) for link in (process / "fd").iterdir()):
                users.append(int(process.name))
    return sorted(users)


def _word(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
