"""What can be the matter with a camera, in the same words whatever its driver, each with its remedy."""

from __future__ import annotations

import getpass

from eventveil.errors import CameraError
from eventveil.io.camera.uri import CameraUri

VENDORS = {"152a": "iniVation", "04b4": "Prophesee", "31f7": "CenturyArks", "1409": "IDS"}
"""Makers of event cameras by USB vendor id. Some ids are those of who makes the chip: products tell them apart."""
PRODUCTS = {"152a": "84[0-1]?", "04b4": "00f[4-5]", "31f7": "000[3-4]", "1409": "8e00"}
"""Product ids of event cameras of each vendor, as a pattern of udev's. Source: the rules of neuromorphic-drivers."""
RULES = "/etc/udev/rules.d/65-eventveil.rules"


def udev_rules(user: str) -> str:
    """Rules that let one user, and nobody else, open an event camera."""
    return "\n".join(
        f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}", MODE="0600", OWNER="{user}"'
        for vendor, product in PRODUCTS.items()
    )


def udev_command() -> str:
    """The command that sets them up for who is asking."""
    return f"eventveil cameras --udev-rules | sudo tee {RULES} && sudo udevadm control --reload && sudo udevadm trigger"


def camera_not_found(uri: CameraUri, others: str) -> CameraError:
    """A camera that is not there."""
    found = f"no such camera; there are {others}" if others else "no such camera is attached"
    remedy = "plug it in, or see with `eventveil cameras` what is in the way; --wait waits for it"
    return CameraError(str(uri), found=found, remedy=remedy, passing=True)


def camera_lost(uri: CameraUri) -> CameraError:
    """A camera that was there a moment ago."""
    return CameraError(str(uri), found="the camera is gone", remedy="see to its cable and power", passing=True)


def no_permission(uri: CameraUri) -> CameraError:
    """A camera that this user may not open."""
    found = f"{getpass.getuser()} may not open it: there is no udev rule for it"
    return CameraError(str(uri), found=found, remedy=f"run: {udev_command()}", passing=True)


def camera_in_use(uri: CameraUri) -> CameraError:
    """A camera that another program has opened."""
    return CameraError(
        str(uri),
        found="another program has opened it",
        remedy="end that program (`eventveil cameras` may tell which one it is), or unplug the camera and plug it in",
        passing=True,
    )
