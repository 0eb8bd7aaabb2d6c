"""Exact counts of every window: what each stage of a pipeline received, sent and dropped, stream by stream.

A killed stage can no longer report. Its counters are therefore in memory that it shares with the supervisor: a file in
the runtime folder for processes, plain memory for threads. They hold numbers of windows, never their contents; of a
stand-in also the word that was published last.

Wherever a stage is killed, each window is in exactly one place. A window is counted *after* it was received and
*before* it is sent, each time with a single store. A stage detects by itself what was lost on the way to it, because
every window carries its number and the number of windows dropped on purpose before it:

    number = received before it + dropped before it + missed

The missed windows were lost with a stage that died. The supervisor counts the windows that were inside a stage when it
died. Subscribers see both under the reason `crash`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from eventveil.errors import ConfigError
from eventveil.stream.runtime.message import StageMessage

QUEUE, AGE, OVERLAP, CRASH = "queue", "age", "overlap", "crash"
"""Why a window is dropped: a newer one took its place in a full queue; it is older than `max_age_ms`, or too late for
its release; it shares bins with a published one; it was in a stage that died, or on the way to one."""

INCIDENTS: Final = ("overflow", "backlog", "away", "clock")
"""What may happen to a live camera, as defined in `eventveil.io.camera.live`."""

COMPLETE, FAILED = 1, 2
"""How a stream has ended: all of it was read, or its source failed before that."""

SOURCE: Final = "histogram:"
FILE: Final = "counters"
NEVER: Final = -(1 << 63)


def _integers(*names: str) -> tuple[tuple[str, type[ctypes.c_int64]], ...]:
    """Fields of eight bytes each, hence aligned: a store happens completely or not at all, even if the writer dies."""
    return tuple((name, ctypes.c_int64) for name in names)


class StreamCounters(ctypes.Structure):
    """What one stage did with the windows of one stream: `received == sent + dropped + in_flight`, always.

    Attributes:
        received: windows received; for a source, made.
        sent: windows sent; for the publisher, published.
        queue, age, overlap, crash: windows dropped here, by reason.
        missed: windows lost on their way here.
        next: number that the next window should have.
        ended: `COMPLETE` or `FAILED` once the end of the stream was received; for a source, once all its windows are
            made; 0 before.
        gestures: for the publisher, gestures published.
        start_us: for a source, start of its first window.
        ended_ns: for a source, when its last window ended, on this machine's monotonic clock.
        until_us: for a source, end of its last window; for the publisher, no bin before this may be published again.
        word: for the publisher of a stand-in, number of the word that was published last, plus one; 0 before the first.
    """

    _fields_ = _integers(
        "received", "sent", "queue", "age", "overlap", "crash", "missed", "next", "ended", "gestures", "start_us",
        "ended_ns", "until_us", "word",
    )  # fmt: skip
    received: int
    sent: int
    queue: int
    age: int
    overlap: int
    crash: int
    missed: int
    next: int
    ended: int
    gestures: int
    start_us: int
    ended_ns: int
    until_us: int
    word: int

    def drop(self, reason: str, windows: int = 1) -> None:
        """Count windows as dropped."""
        setattr(self, reason, getattr(self, reason) + windows)

    def skip(self, windows: int) -> None:
        """Count windows that a source could not make while its process was dead."""
        self.received += windows
        self.drop(CRASH, windows)

    def dropped(self) -> Counter[str]:
        """Windows dropped here, by reason."""
        return +Counter({reason: getattr(self, reason) for reason in (QUEUE, AGE, OVERLAP, CRASH)})

    @property
    def in_flight(self) -> int:
        """Windows inside the stage: received, and neither sent nor dropped yet."""
        # Read first: while another process counts, no more windows may seem to leave than were received.
        left = self.sent + self.dropped().total()
        return self.received - left

    def arrived(self, message: StageMessage) -> bool:
        """Count a message as received, and add the windows missed before it to its losses.

        Returns:
            False if the message is to be ignored: its window already counts as lost, or the stream has ended already.
        """
        if self.ended or (message.window is not None and message.seq < self.next):
            return False
        if message.notice is None:
            self.missed = max(self.missed, message.seq - self.received - message.lost.total())
        if self.missed:
            message.lost[CRASH] += self.missed
        if message.window is not None:
            self.received += 1
            self.next = message.seq + 1
        if message.ends:
            self.ended = FAILED if message.failed else COMPLETE
        return True


class StageCounters(ctypes.Structure):
    """The counters of one stage: its heartbeat, and `StreamCounters` for each stream.

    Attributes:
        name: name of the stage.
        life: 1, plus one for each restart of the stage.
        beat_ns: time of its last heartbeat, on this machine's monotonic clock.
        work_ns: the longest time it worked on one batch, during which it cannot beat.
        events, binned, late, outside, saturated: of a source, as in `eventveil.stream.histogram.HistogramStats`.
        overflow, backlog, away, clock: for a live camera, the number of windows in or before which that happened.
    """

    _fields_ = _integers(
        "life", "beat_ns", "work_ns", "events", "binned", "late", "outside", "saturated", "overflow", "backlog", "away",
        "clock",
    )  # fmt: skip
    life: int
    beat_ns: int
    work_ns: int
    events: int
    binned: int
    late: int
    outside: int
    saturated: int
    overflow: int
    backlog: int
    away: int
    clock: int
    name: str
    _streams: dict[str, StreamCounters]

    @classmethod
    def at(cls, memory: bytearray | mmap.mmap, offset: int, name: str, streams: Sequence[str]) -> StageCounters:
        """View a stage's part of the shared memory; a source has counters only of its own stream."""
        counters = cls.from_buffer(memory, offset)
        counters.name = name
        first = offset + ctypes.sizeof(cls)
        counters._streams = {
            stream: StreamCounters.from_buffer(memory, first + number * ctypes.sizeof(StreamCounters))
            for number, stream in enumerate(streams)
            if not name.startswith(SOURCE) or name == SOURCE + stream
        }
        return counters

    def __getitem__(self, stream: str) -> StreamCounters:
        return self._streams[stream]

    def __iter__(self) -> Iterator[tuple[str, StreamCounters]]:
        return iter(self._streams.items())

    def total(self, count: str) -> int:
        """The sum of a count over all streams."""
        return sum(getattr(stream, count) for stream in self._streams.values())

    def dropped(self) -> dict[str, int]:
        """Windows lost here or on the way here, by reason."""
        reasons = sum((stream.dropped() for stream in self._streams.values()), Counter[str]())
        return dict(reasons + Counter({CRASH: self.total("missed")}))

    def running(self) -> int:
        """Number of streams that have not ended here."""
        return sum(not stream.ended for stream in self._streams.values())

    def failed(self) -> int:
        """Number of streams whose source has failed."""
        return sum(stream.ended == FAILED for stream in self._streams.values())

    def incidents(self) -> dict[str, int]:
        """What happened to a live camera so far, by kind."""
        return {kind: count for kind in INCIDENTS if (count := getattr(self, kind))}

    def pulse(self) -> None:
        """Record a heartbeat."""
        self.beat_ns = time.monotonic_ns()

    def close_after_crash(self) -> None:
        """Count the in-flight windows of a dead stage as crashed, and let its successor receive the ends again."""
        for stream in self._streams.values():
            stream.crash += stream.in_flight
            if not self.name.startswith(SOURCE):
                stream.ended = 0


class Flag(ctypes.Structure):
    """A signal from the supervisor. It has no lock, so a stage killed or halted while reading it blocks no other."""

    _fields_ = _integers("raised")
    raised: int

    def is_set(self) -> bool:
        """Whether it is set."""
        return bool(self.raised)

    def set(self) -> None:
        """Set it."""
        self.raised = 1

    def wait(self, seconds: float) -> bool:
        """Sleep for this long unless it is set; return whether it is."""
        if not self.is_set():
            time.sleep(seconds)
        return self.is_set()


class Flags(ctypes.Structure):
    """All signals from the supervisor; `eventveil.stream.runtime.signals` explains them."""

    _fields_ = (("go", Flag), ("stop", Flag), ("abort", Flag))
    go: Flag
    stop: Flag
    abort: Flag


class PipelineCounters:
    """The counters of all stages, and the supervisor's flags.

    Args:
        stages: their names in order from source to publisher; those of sources are `histogram:STREAM`.
        streams: names of the streams.
        file: the shared file, for processes; None: memory of this process.
        new: create the file; False opens an existing one.

    Raises:
        ConfigError: the file cannot be made.
    """

    def __init__(
        self, stages: Sequence[str], streams: Sequence[str], file: Path | None = None, *, new: bool = True
    ) -> None:
        self.stages, self.streams = tuple(stages), tuple(streams)
        self._file = file
        per_stage = ctypes.sizeof(StageCounters) + len(streams) * ctypes.sizeof(StreamCounters)
        size = ctypes.sizeof(Flags) + len(stages) * per_stage
        memory = bytearray(size) if file is None else _shared(file, size, new=new)
        self.flags = Flags.from_buffer(memory)
        self._stages = {
            name: StageCounters.at(memory, ctypes.sizeof(Flags) + number * per_stage, name, self.streams)
            for number, name in enumerate(self.stages)
        }
        if new:
            for stage in self._stages.values():
                for _, stream in stage:
                    stream.until_us = NEVER

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.stages, self.streams, self._file)  # another process opens the file; no counts are copied

    def __getitem__(self, stage: str) -> StageCounters:
        return self._stages[stage]

    def dropped(self) -> dict[str, int]:
        """Windows lost in the whole pipeline, by reason."""
        return dict(sum((Counter(stage.dropped()) for stage in self._stages.values()), Counter[str]()))


def _opened(stages: Sequence[str], streams: Sequence[str], file: Path | None) -> PipelineCounters:
    return PipelineCounters(stages, streams, file, new=False)


def _shared(path: Path, size: int, *, new: bool) -> mmap.mmap:
    handle = -1
    try:
        if new:
            path.unlink(missing_ok=True)
        handle = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)
        if new:
            os.write(handle, bytes(size))  # reserves the space: a full disk is an error now, not a signal later
        return mmap.mmap(handle, size)
    except OSError as error:
        raise ConfigError(
            f"line.runtime_dir: cannot create {path}: {error.strerror}; choose a folder with room"
        ) from error
    finally:
        if handle >= 0:
            os.close(handle)
