"""Looks at a machine and says what is in the way of a line: one finding each, green, amber or red, with its remedy.

Red: a line will not run as asked. Amber: it will, with something missing or slower. Each look is on its own, and one
that fails is a finding too: whoever calls a doctor is not served by a traceback.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from eventveil.errors import EventVeilError
from eventveil.stream.settings import RunSettings

Colour = Literal["green", "amber", "red"]

RULES_FOLDERS = (Path("/etc/udev/rules.d"), Path("/run/udev/rules.d"), Path("/usr/lib/udev/rules.d"))
USB = Path("/sys/bus/usb")
CPUINFO = Path("/proc/cpuinfo")
LITTLE_BYTES, LEAST_BYTES = 2e9, 100e6
STEP_S = 0.005  # that the clock may wander against the monotonic one while it is looked at
LOOK_S = 0.2
UNSYNCHRONISED = 0x0040  # STA_UNSYNC of <sys/timex.h>
TIMEX_BYTES, TIMEX_STATUS = 512, 40  # more than any struct timex has; where its status stands on 64-bit Linux


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found.

    Attributes:
        about: what was looked at.
        colour: green, amber or red.
        found: how it is.
        remedy: what to do about it; None where nothing is to be done.
    """

    about: str
    colour: Colour
    found: str
    remedy: str | None = None


Look = Callable[[RunSettings], Iterator[Finding]]


def examine(settings: RunSettings) -> Iterator[Finding]:
    """Look at everything that a line with these settings needs, one finding at a time."""
    for look in LOOKS:
        try:
            yield from look(settings)
        except Exception as error:
            about = look.__name__.strip("_").replace("_", " ")
            yield Finding(about, "amber", f"could not be looked at ({type(error).__name__})", "look at it yourself")


def _python(_: RunSettings) -> Iterator[Finding]:
    # An older one than is needed does not get here: pip refuses to install for it.
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "green", told)


def _packages(_: RunSettings) -> Iterator[Finding]:
    needed, extras = [], []
    for requirement in metadata.requires("eventveil") or []:
        name, conditions = re.match(r"[\w.-]+", requirement)[0], requirement.partition(";")[2]  # type: ignore[index]
        if "extra ==" in conditions:
            extras += [name] if re.search(r"extra == .(train|audit|prophesee)", conditions) else []
        elif sys.platform != "darwin" or "darwin" not in conditions:
            needed.append(name)
    versions = {name: _version(name) for name in dict.fromkeys((*needed, *extras)) if name != "eventveil"}
    missing = [name for name in needed if versions[name] is None]
    told = ", ".join(f"{name} {versions[name]}" for name in needed if versions[name] is not None)
    if missing:
        yield Finding("packages", "red", f"not installed: {', '.join(missing)}", "pip install --upgrade eventveil")
    else:
        yield Finding("packages", "green", told)
    absent = [name for name in dict.fromkeys(extras) if name != "eventveil" and versions[name] is None]
    if absent:
        remedy = "where you train, audit or use a Prophesee camera: pip install 'eventveil[train,audit,prophesee]'"
        yield Finding("optional packages", "amber", f"not installed: {', '.join(absent)}", remedy)
    else:
        yield Finding("optional packages", "green", "all there")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu(_: RunSettings) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = set(re.findall(r"\w+", CPUINFO.read_text())) if CPUINFO.exists() else set()
    has = [name for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("AVX512-BF16", "avx512_bf16"),
                                   ("AMX", "amx_tile")) if flag in flags]  # fmt: skip
    told = f"{cores} cores, {', '.join(has) or 'no vector extension known'}"
    if cores < 2:
        yield Finding("cpu", "amber", told, "stages run side by side: give this machine two cores or more")
    elif platform.machine() in ("x86_64", "AMD64") and flags and "avx2" not in flags:
        yield Finding("cpu", "amber", told, "networks run several times slower without AVX2; use another machine")
    else:
        yield Finding("cpu", "green", told)


def _gpu(settings: RunSettings) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield Finding("gpu", "green", f"{', '.join(names)}; CUDA {torch.version.cuda}, PyTorch {torch.__version__}")
        return
    asked = [part.device for part in (settings.anonymize, settings.classify) if part.device.startswith("cuda")]
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    found = f"none that PyTorch {torch.__version__} can use; networks run on the CPU"
    if asked:
        yield Finding("gpu", "red", found, f"device {asked[0]} was asked for: choose cpu or auto, or see to the GPU")
    elif driver:
        yield Finding("gpu", "amber", f"there is a driver, but {found}", "install a PyTorch with CUDA: pytorch.org")
    else:
        yield Finding("gpu", "green", found)


def _cameras(_: RunSettings) -> Iterator[Finding]:
    from eventveil.io.camera_drivers import INSTALL
    from eventveil.io.camera_listing import list_cameras

    found, drivers = list_cameras()
    for driver, state in drivers.items():
        if state not in ("ready", "not installed"):
            yield Finding(f"driver {driver}", "amber", state, f"install it anew: {INSTALL[driver]}")
        else:
            remedy = None if state == "ready" else f"only where you need it: {INSTALL[driver]}"
            yield Finding(f"driver {driver}", "green", state, remedy)
    for camera in found:
        name = f"camera {camera.model}"
        if camera.problem is None:
            yield Finding(name, "green", f"opens with {camera.uri}")
        else:
            yield Finding(name, "red", camera.problem, camera.remedy)
    if not found:
        yield Finding("cameras", "green", "none attached; `eventveil run simulate:` does without")


def _udev_rules(_: RunSettings) -> Iterator[Finding]:
    from eventveil.io.camera_words import PRODUCTS, udev_command

    if sys.platform != "linux" or not USB.exists():
        yield Finding("udev rules", "green", "not needed: there is no USB here that they would be for")
        return
    files = [file for folder in RULES_FOLDERS if folder.is_dir() for file in folder.glob("*.rules")]
    named = [file for file in files if any(f'idVendor}}=="{vendor}"' in _text(file) for vendor in PRODUCTS)]
    if named:
        yield Finding("udev rules", "green", f"event cameras are named in {named[0]}")
    else:
        remedy = f"before you plug one in, run: {udev_command()}"
        yield Finding("udev rules", "amber", "no rule lets you open an event camera", remedy)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _endpoint(settings: RunSettings) -> Iterator[Finding]:
    bind = settings.publish.bind
    tcp = re.fullmatch(r"tcp://\[?([^/\]]+)\]?:(\d+|\*)", bind)
    if tcp is None or tcp[2] == "*":
        folder = Path(bind.removeprefix("ipc://")).parent
        usable = tcp is not None or os.access(folder, os.W_OK)
        yield (
            Finding("endpoint", "green", f"{bind} can be made")
            if usable
            else Finding(
                "endpoint",
                "red",
                f"{bind}: no socket can be made in {folder}",
                "make that folder, or change publish.bind",
            )
        )
        return
    host = "" if tcp[1] == "*" else tcp[1]
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(tcp[2])))
    except OSError as error:
        remedy = "end what runs there, or choose another address as publish.bind"
        yield Finding("endpoint", "red", f"{bind}: {error.strerror or error}", remedy)
    else:
        yield Finding("endpoint", "green", f"{bind} is free")


def _runtime_folder(settings: RunSettings) -> Iterator[Finding]:
    from eventveil.stream.sockets import runtime_folder

    chosen = settings.line.runtime_dir
    if chosen is not None and not chosen.exists():
        place = next(parent for parent in chosen.absolute().parents if parent.exists())
        usable = os.access(place, os.W_OK)
        yield (
            Finding("runtime folder", "green", f"{chosen} can be made")
            if usable
            else Finding(
                "runtime folder", "red", f"{chosen}: may not be made in {place}", "choose another as line.runtime_dir"
            )
        )
        return
    try:
        folder = runtime_folder(chosen)
    except EventVeilError as error:
        yield Finding("runtime folder", "red", str(error), "a folder of yours with mode 0700 as line.runtime_dir")
        return
    if chosen is None:
        folder.rmdir()
    told = f"{chosen}: only you may enter" if chosen else f"made in {folder.parent} for each run, only you may enter"
    yield Finding("runtime folder", "green", told)


def _weights(settings: RunSettings) -> Iterator[Finding]:
    from eventveil.stream.planning import plan

    try:
        planned = plan(settings)
    except EventVeilError as error:
        yield Finding("weights", "red", str(error), "see there")
        return
    yield Finding("weights", "green", f"{settings.anonymize.weights}: {planned.provenance.anonymizer[:16]}")
    if not planned.provenance.trained:
        yield Finding(
            "training", "amber", "the anonymizer is untrained: it protects nobody", "train one, or take shipped"
        )
    for remark in planned.remarks:
        yield Finding("certificate and settings", "amber", remark, "docs/audit.md tells how an anonymizer is audited")


def _clock(_: RunSettings) -> Iterator[Finding]:
    def offset_s() -> float:
        return time.time() - time.monotonic()

    before = offset_s()
    time.sleep(LOOK_S)
    stepped_s = abs(offset_s() - before)
    installed_s = Path(__file__).stat().st_mtime
    if not time.get_clock_info("monotonic").monotonic:
        yield Finding(
            "clock", "red", "this system has no monotonic clock", "ages of windows would be wrong: use another"
        )
    elif stepped_s > STEP_S:
        found = f"it was set by {1000 * stepped_s:.0f} ms while it was looked at"
        yield Finding("clock", "amber", found, "let NTP slew it; the line itself goes by the monotonic clock")
    elif time.time() < installed_s:
        yield Finding(
            "clock", "amber", "it is behind the day eventveil was installed", "set it: certificates bear dates"
        )
    else:
        yield Finding("clock", "green", "monotonic, and did not step")
    synchronised = _synchronised()
    if synchronised is None:
        yield Finding("time synchronisation", "green", "cannot be known here")
    elif synchronised:
        yield Finding("time synchronisation", "green", "the kernel says it is synchronised")
    else:
        remedy = "start chrony, ntpd or systemd-timesyncd, where logs of several machines are to be compared"
        yield Finding("time synchronisation", "amber", "the kernel says the clock is not synchronised", remedy)


def _synchronised() -> bool | None:
    """Ask the kernel whether something keeps its clock; None where it cannot be asked. Source: adjtimex(2)."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    timex = ctypes.create_string_buffer(TIMEX_BYTES)  # modes 0: nothing is changed
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return None
    status = int.from_bytes(timex.raw[TIMEX_STATUS : TIMEX_STATUS + 4], sys.byteorder)
    return not status & UNSYNCHRONISED


def _disk(settings: RunSettings) -> Iterator[Finding]:
    from eventveil.stream.hot_pixel_file import state_folder

    places = {"here": Path.cwd(), "sockets and books": settings.line.runtime_dir or Path(tempfile.gettempdir())}
    for name, place in (places | {"state": state_folder()}).items():
        there = next((path for path in (place, *place.absolute().parents) if path.exists()), Path("/"))
        free = shutil.disk_usage(there).free
        told = f"{there}: {free / 1e9:.1f} GB free"
        colour: Colour = "red" if free < LEAST_BYTES else "amber" if free < LITTLE_BYTES else "green"
        yield Finding(f"disk, {name}", colour, told, None if colour == "green" else "make space")
        if name == "state" and not os.access(there, os.W_OK):
            remedy = "make it yours, or name another as XDG_STATE_HOME"
            yield Finding("state folder", "amber", f"{there}: hot pixels cannot be remembered there", remedy)


LOOKS: tuple[Look, ...] = (
    _python, _packages, _cpu, _gpu, _cameras, _udev_rules, _endpoint, _runtime_folder, _weights, _clock, _disk,
)  # fmt: skip
