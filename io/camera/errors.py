"""The errors of cameras with their remedies, in the same words for every driver."""

from __future__ import annotations

import getpass

from eventveil.errors import CameraError
from eventveil.io.camera.uri import CameraUri

VENDORS = {"152a": "iniVation", "04b4": "Prophesee", "31f7": "CenturyArks", "1409": "IDS"}
"""Makers of event cameras by USB vendor id. Some ids belong to the USB chip's maker; product ids distinguish them."""
PRODUCTS = {"152a": "84[0-1]?", "04b4": "00f[4-5]", "31f7": "000[3-4]", "1409": "8e00"}
"""Product ids of event cameras of each vendor, as a udev pattern. Source: the rules of neuromorphic-drivers."""
RULES = "/etc/udev/rules.d/65-eventveil.rules"


def udev_rules(user: str, group: str | None = None) -> str:
    """Return rules that let only this user open an event camera, or only the members of a group."""
    access = f'MODE="0600", OWNER="{user}"' if group is None else f'MODE="0660", GROUP="{group}"'
    return "\n".join(
        f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}", {access}'
        for vendor, product in PRODUCTS.items()
    )


def udev_command() -> str:
    """Return the command that installs them for the current user."""
    return f"eventveil cameras --udev-rules | sudo tee {RULES} && sudo udevadm control --reload && sudo udevadm trigger"


def camera_not_found(uri: CameraUri, others: str) -> CameraError:
    """Return the error for a camera that is not attached."""
    found = f"no such camera; there are {others}" if others else "no such camera is attached"
    remedy = "plug it in, or run `eventveil cameras` to see what prevents it; --wait waits for it"
    return CameraError(str(uri), found=found, remedy=remedy, passing=True)


def camera_lost(uri: CameraUri) -> CameraError:
    """Return the error for a camera that has disappeared."""
    return CameraError(str(uri), found="the camera is gone", remedy="check its cable and power", passing=True)


def no_permission(uri: CameraUri) -> CameraError:
    """Return the error for a camera that this user may not open."""
    found = f"{getpass.getuser()} may not open it: there is no udev rule for it"
    return CameraError(str(uri), found=found, remedy=f"run: {udev_command()}", passing=True)


def camera_in_use(uri: CameraUri) -> CameraError:
    """Return the error for a camera that another program has opened."""
    return CameraError(
        str(uri),
        found="another program has opened it",
        remedy="close that program (`eventveil cameras` may name it), or unplug the camera and plug it in again",
        passing=True,
    )
