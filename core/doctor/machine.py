"""Checks of the machine: Python, packages, processor, GPU, clock, disk."""

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
from eventveil.host.extras import install_hint
from eventveil.host.kernel_cache import VARIABLE, find_cache, is_temporary
from eventveil.host.platforms import is_tested
from eventveil.stream.settings.pipeline import PipelineSettings

CPUINFO = Path("/proc/cpuinfo")
LOW_BYTES, MIN_BYTES = 2e9, 100e6  # free disk space below these is amber, and red
MAX_STEP_S = 0.005  # tolerated change of the clock against the monotonic one within CLOCK_CHECK_S
CLOCK_CHECK_S = 0.2
UNSYNCHRONISED = 0x0040  # STA_UNSYNC of <sys/timex.h>
TIMEX_BYTES, TIMEX_STATUS = 512, 40  # more than the size of struct timex; offset of its status on 64-bit Linux


def _python(_: PipelineSettings) -> Iterator[Finding]:
    # An older Python never gets here: pip refuses to install for it.
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "green", version)
    if not is_tested():
        remedy = "run the tests (`make test`) before you rely on it (docs/platforms.md)"
        yield Finding("platform", "amber", "the tests have never run on this kind of machine", remedy)


def _packages(_: PipelineSettings) -> Iterator[Finding]:
    needed, extras = [], []
    for requirement in metadata.requires("eventveil") or []:
        name, conditions = re.match(r"[\w.-]+", requirement)[0], requirement.partition(";")[2]  # type: ignore[index]
        if "extra ==" in conditions:
            extras += [name] if re.search(r"extra == .(line|train|audit|prophesee)", conditions) else []
        elif sys.platform != "darwin" or "darwin" not in conditions:
            needed.append(name)
    versions = {name: _version(name) for name in dict.fromkeys((*needed, *extras)) if name != "eventveil"}
    missing = [name for name in needed if versions[name] is None]
    installed = ", ".join(f"{name} {versions[name]}" for name in needed if versions[name] is not None)
    if missing:
        yield Finding("packages", "red", f"not installed: {', '.join(missing)}", install_hint())
    else:
        yield Finding("packages", "green", installed)
    absent = [name for name in dict.fromkeys(extras) if name != "eventveil" and versions[name] is None]
    if absent:
        install = install_hint("line,train,audit,prophesee")
        remedy = f"to run a pipeline, train, audit or use a Prophesee camera: {install}"
        yield Finding("optional packages", "amber", f"not installed: {', '.join(absent)}", remedy)
    else:
        yield Finding("optional packages", "green", "all installed")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _kernel_cache(_: PipelineSettings) -> Iterator[Finding]:
    folder = find_cache()
    if folder is not None and not is_temporary(folder):
        yield Finding("kernel cache", "green", str(folder))
        return
    found = f"{'none' if folder is None else 'temporary'}: neither the package folder nor the home can be written to"
    remedy = (
        f"each start compiles its kernels again, which takes half a minute: set {VARIABLE} to a writable folder that "
        "only you can write to"
    )
    yield Finding("kernel cache", "amber", found, remedy)


def _cpu(_: PipelineSettings) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = set(re.findall(r"\w+", CPUINFO.read_text())) if CPUINFO.exists() else set()
    extensions = [name for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("AVX512-BF16", "avx512_bf16"),
                                          ("AMX", "amx_tile")) if flag in flags]  # fmt: skip
    cpu = f"{cores} cores, {', '.join(extensions) or 'no known vector extension'}"
    if cores < 2:
        yield Finding("cpu", "amber", cpu, "stages run in parallel: use a machine with two cores or more")
    elif platform.machine() in ("x86_64", "AMD64") and flags and "avx2" not in flags:
        yield Finding("cpu", "amber", cpu, "networks run several times slower without AVX2; use another machine")
    else:
        yield Finding("cpu", "green", cpu)


def _gpu(settings: PipelineSettings) -> Iterator[Finding]:
    if _version("torch") is None:
        yield Finding("gpu", "amber", "PyTorch is not installed: networks cannot run here", install_hint("line"))
        return
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield Finding("gpu", "green", f"{', '.join(names)}; CUDA {torch.version.cuda}, PyTorch {torch.__version__}")
        return
    requested = [part.device for part in (settings.anonymize, settings.classify) if part.device.startswith("cuda")]
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    state = f"PyTorch {torch.__version__} finds no usable GPU; networks run on the CPU"
    if requested:
        remedy = f"the configuration requires device {requested[0]}: set cpu or auto, or repair the GPU driver"
        yield Finding("gpu", "red", state, remedy)
    elif driver:
        yield Finding(
            "gpu", "amber", f"an NVIDIA driver is installed, but {state}", "install PyTorch with CUDA: pytorch.org"
        )
    else:
        yield Finding("gpu", "green", state)


def _clock(_: PipelineSettings) -> Iterator[Finding]:
    def offset_s() -> float:
        return time.time() - time.monotonic()

    before = offset_s()
    time.sleep(CLOCK_CHECK_S)
    stepped_s = abs(offset_s() - before)
    installed_s = Path(__file__).stat().st_mtime
    if not time.get_clock_info("monotonic").monotonic:
        yield Finding(
            "clock", "red", "this system has no monotonic clock", "use another system: ages of windows would be wrong"
        )
    elif stepped_s > MAX_STEP_S:
        state = f"the clock jumped by {1000 * stepped_s:.0f} ms during the check"
        yield Finding("clock", "amber", state, "let NTP slew it; the pipeline itself uses the monotonic clock")
    elif time.time() < installed_s:
        yield Finding("clock", "amber", "earlier than the installation of eventveil", "set it: certificates are dated")
    else:
        yield Finding("clock", "green", "monotonic, without jumps")
    synchronised = _synchronised()
    if synchronised is None:
        yield Finding("time synchronisation", "green", "unknown on this system")
    elif synchronised:
        yield Finding("time synchronisation", "green", "the kernel reports a synchronised clock")
    else:
        remedy = "start chrony, ntpd or systemd-timesyncd if you compare logs of several machines"
        yield Finding("time synchronisation", "amber", "the kernel reports an unsynchronised clock", remedy)


def _synchronised() -> bool | None:
    """Return whether the kernel's clock is synchronised; None if unknown. Source: adjtimex(2)."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    timex = ctypes.create_string_buffer(TIMEX_BYTES)  # modes 0: read only
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return None
    status = int.from_bytes(timex.raw[TIMEX_STATUS : TIMEX_STATUS + 4], sys.byteorder)
    return not status & UNSYNCHRONISED


def _disk(settings: PipelineSettings) -> Iterator[Finding]:
    from eventveil.stream.preprocess.hot_pixel_file import state_folder

    places = {"here": Path.cwd(), "sockets and counters": settings.line.runtime_dir or Path(tempfile.gettempdir())}
    for name, place in (places | {"state": state_folder()}).items():
        existing = next((path for path in (place, *place.absolute().parents) if path.exists()), Path("/"))
        free = shutil.disk_usage(existing).free
        space = f"{existing}: {free / 1e9:.1f} GB free"
        colour: Colour = "red" if free < MIN_BYTES else "amber" if free < LOW_BYTES else "green"
        yield Finding(f"disk, {name}", colour, space, None if colour == "green" else "free some space")
        if name == "state" and not os.access(existing, os.W_OK):
            remedy = "make it writable, or set XDG_STATE_HOME to another folder"
            yield Finding("state folder", "amber", f"{existing}: not writable; hot pixels cannot be stored", remedy)


CHECKS: tuple[Check, ...] = (_python, _packages, _kernel_cache, _cpu, _gpu, _clock, _disk)
