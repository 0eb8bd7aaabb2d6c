"""What `eventveil doctor` sees of the machine: Python, packages, processor, GPU, clock, disk."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from eventveil.doctor.finding import Check, Colour, Finding
from eventveil.extras import install_hint
from eventveil.stream.settings import PipelineSettings

CPUINFO = Path("/proc/cpuinfo")
LITTLE_BYTES, LEAST_BYTES = 2e9, 100e6
STEP_S = 0.005  # that the clock may wander against the monotonic one while it is looked at
LOOK_S = 0.2
UNSYNCHRONISED = 0x0040  # STA_UNSYNC of <sys/timex.h>
TIMEX_BYTES, TIMEX_STATUS = 512, 40  # more than any struct timex has; where its status stands on 64-bit Linux


def _python(_: PipelineSettings) -> Iterator[Finding]:
    # An older one than is needed does not get here: pip refuses to install for it.
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "green", told)


def _packages(_: PipelineSettings) -> Iterator[Finding]:
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
        remedy = f"where you train, audit or use a Prophesee camera: {install_hint('train,audit,prophesee')}"
        yield Finding("optional packages", "amber", f"not installed: {', '.join(absent)}", remedy)
    else:
        yield Finding("optional packages", "green", "all there")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu(_: PipelineSettings) -> Iterator[Finding]:
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


def _gpu(settings: PipelineSettings) -> Iterator[Finding]:
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


def _clock(_: PipelineSettings) -> Iterator[Finding]:
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


def _disk(settings: PipelineSettings) -> Iterator[Finding]:
    from eventveil.stream.preprocess.hot_pixel_file import state_folder

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


LOOKS: tuple[Check, ...] = (_python, _packages, _cpu, _gpu, _clock, _disk)
