"""Warms a network up, and chooses its threads and its precision: the fastest of the device that agrees with fp32.

On a CPU, a small network gets one thread. With more, each of its layers ends with threads that wait for each other: on
two cores shared by eight cameras, a decision of the shipped stand-in took three times the processor time.

`auto` runs one batch of made-up windows with made-up noise in each precision of the device. It takes the fastest one
whose values differ from those of fp32 by at most `TOLERANCE`. Neither live windows nor live noise are used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from eventveil.errors import ConfigError
from eventveil.models.device import precisions
from eventveil.models.noise import SeededNoise

TOLERANCE = 0.03
"""Largest difference from fp32, as a share of the largest fp32 value: some roundings of bfloat16, 0.4 % each."""

LONG_S = 0.25  # a batch that takes longer is timed once
SHORT_RUNS = 5  # of a shorter one, the fastest counts
SMALL_S = 0.02  # a network that computes a window within this time on one thread needs no more threads
TRIES = 3  # of which one has to: another program may have halted the others
WARM_UP_S = 10.0  # longest warm-up; a supervisor restarts a stage that is silent for a minute

log = logging.getLogger("eventveil.networks")


Rehearsal = Callable[[], npt.NDArray[np.float32]]
"""Runs a made-up batch and returns its values, the same in each call."""


class Runtime(Protocol):
    """A network that runs on NumPy arrays."""

    @property
    def device(self) -> torch.device:
        """The device that it runs on."""

    def warm_up(self, batch: int = 1) -> None:
        """Run a batch of empty windows."""

    def rehearsal(self, batch: int) -> Rehearsal:
        """Prepare a batch of made-up windows with made-up noise; return a function that runs it."""


AnyRuntime = TypeVar("AnyRuntime", bound=Runtime)


@dataclass(frozen=True, slots=True)
class PrecisionTrial:
    """What a precision did.

    Attributes:
        precision: fp32 or bf16.
        seconds: for a batch.
        difference: from fp32, as a share of the largest fp32 value; not finite where values are not.
    """

    precision: str
    seconds: float
    difference: float


def choose(trials: Sequence[PrecisionTrial]) -> PrecisionTrial:
    """Return the fastest of the trials that agree with fp32, which is the first one."""
    agreeing = [trial for trial in trials[1:] if trial.difference <= TOLERANCE]  # False where it is not a number
    return min([trials[0], *agreeing], key=lambda trial: trial.seconds)


def start(make: Callable[[str], AnyRuntime], precision: str, *, batch: int, stage: str) -> tuple[AnyRuntime, str]:
    """Make the runtime of a stage in a precision, or for `auto` in the fastest that agrees, and warm it up.

    Call it in the thread that runs the network: PyTorch's number of threads belongs to a thread.

    Args:
        make: makes the runtime, given fp32 or bf16.
        precision: fp32, bf16 or auto.
        batch: the largest number of windows in a batch.
        stage: its name, for the log.

    Returns:
        The runtime, and what it runs on, such as "cpu, fp32".

    Raises:
        ConfigError: the device does not compute in this precision.
        EventVeilError: the network failed.
    """
    runtime = make("fp32" if precision == "auto" else precision)
    if runtime.device.type == "cpu":
        _limit_threads(runtime)
    batch = _warm_up(runtime, batch)
    if precision == "auto":
        runtime, precision = _fastest(make, runtime, batch, stage)
    return runtime, f"{runtime.device}, {precision}"


def _limit_threads(runtime: Runtime) -> None:
    """Give a small network one thread of this process; a large one keeps all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    runtime.warm_up()
    if not any(_seconds(runtime.warm_up) <= SMALL_S for _ in range(TRIES)):
        torch.set_num_threads(threads)


def _seconds(run: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    run()
    return time.perf_counter() - began_s


def _warm_up(runtime: Runtime, batch: int) -> int:
    """Warm up with one window, then with a whole batch; return 1 if a whole batch would take too long."""
    if batch * _seconds(runtime.warm_up) > WARM_UP_S:
        return 1
    runtime.warm_up(batch)
    return batch


def _fastest(make: Callable[[str], AnyRuntime], full: AnyRuntime, batch: int, stage: str) -> tuple[AnyRuntime, str]:
    available = precisions(full.device)
    if len(available) == 1:
        log.info("%s: fp32, the only precision that %s computes in", stage, full.device)
        return full, "fp32"
    runtimes = {"fp32": full}
    for name in available[1:]:
        try:
            runtimes[name] = make(name)
        except ConfigError as error:  # the device computes in it, but not for windows of this size
            log.info("%s: not in %s: %s", stage, name, error)
    exact = full.rehearsal(batch)()
    trials = [_try(name, runtime.rehearsal(batch), exact) for name, runtime in runtimes.items()]
    chosen = choose(trials)
    tried = "; ".join(f"{one.precision} {1e3 * one.seconds:.1f} ms, differs by {one.difference:.1%}" for one in trials)
    log.info("%s: %s on %s: the fastest that agrees with fp32 (%s)", stage, chosen.precision, full.device, tried)
    runtime = runtimes[chosen.precision]
    if runtime is not full:
        _warm_up(runtime, batch)
    return runtime, chosen.precision


def _try(precision: str, run: Rehearsal, exact: npt.NDArray[np.float32]) -> PrecisionTrial:
    """Compare a precision with the values of fp32, and time it; the first call is not counted."""
    with np.errstate(all="ignore"):
        difference = float(np.abs(run() - exact).max() / np.abs(exact).max())
    seconds: list[float] = []
    while len(seconds) < SHORT_RUNS and (not seconds or seconds[-1] < LONG_S):
        seconds.append(_seconds(run))
    return PrecisionTrial(precision, min(seconds), difference)


class MadeUpNoise:
    """The same noise in each call, drawn once, so that it costs no time later. Never for live windows."""

    def __init__(self) -> None:
        self._noise: dict[tuple[int, ...], torch.Tensor] = {}

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return float32 noise ~ N(0, 1) of `shape` on `device`."""
        if tuple(shape) not in self._noise:
            self._noise[tuple(shape)] = SeededNoise(0).normal(shape, device)
        return self._noise[tuple(shape)]


def made_up_windows(shape: tuple[int, ...], dtype: npt.DTypeLike, batch: int) -> npt.NDArray[Any]:
    """Return windows of random counts, (batch, *shape): the same in each call, one event for five counts."""
    rates = torch.full((batch, *shape), 0.2)
    return torch.poisson(rates, torch.Generator().manual_seed(0)).numpy().astype(dtype)
