"""The books of a line: what each stage took in, handed on and gave up, stream by stream, exact at any moment.

A stage that is killed cannot report any more. So its books do not lie with it but in memory that it shares with the
supervisor: a file in the runtime folder, or, where stages are threads, plain memory. They hold numbers of windows and
nothing of what is in them.

At whatever instruction a stage is killed, each window is in one place. It is counted *after* it was taken in and
*before* it is handed on, each time with a single store. What was lost on the way to a stage, that stage finds out by
itself: of every window it is known which number it has and how many before it were given up on purpose, so

    number = received before it + given up before it + missed

and whatever is missed was lost with a stage that died. What was in a stage when it died is counted by the supervisor.
Both go to subscribers under the reason `crash`.
"""

from __future__ import annotations

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
"""Why a window is given up: it gave way to a newer one; it is older than `max_age_ms`; it shares bins with a published
one; it was in a stage, or on the way to one, that died."""

INCIDENTS: Final = ("overflow", "backlog", "away", "clock")
"""What may happen to a live camera, as `eventveil.io.camera.live` has it."""

SOURCE: Final = "histogram:"
FILE: Final = "books"
NEVER: Final = -(1 << 63)
_FLAGS, _PAGE, _ENTRY = 8, 16, 16  # cells of 8 bytes: a store into one is whole or has not happened


class _Cell:
    """A number in shared memory that reads and writes like an attribute."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __get__(self, holder: Any, _: type) -> int:
        return int(holder.cells[self._place])

    def __set__(self, holder: Any, value: int) -> None:
        holder.cells[self._place] = value


class StreamCounters:
    """What one stage did with the windows of one stream: `received == sent + given up + in_flight`, always.

    Attributes:
        received: windows taken in; of a source, made.
        sent: windows handed on; of the publisher, published.
        queue, age, overlap, crash: windows given up here, by reason.
        missed: windows that were lost on their way here.
        next: number that the next window should have.
        ended: 1 once the end of the stream was taken in; of a source, once all is made.
        gestures: of the publisher, gestures published.
        start_us: of a source, when its first window began.
        closed_ns: of a source, when its last window was complete, on this machine's monotonic clock.
        until_us: of a source, the end of its last window; of the publisher, no bin before may be published again.
    """

    received, sent = _Cell(0), _Cell(1)
    queue, age, overlap, crash = _Cell(2), _Cell(3), _Cell(4), _Cell(5)
    missed, next, ended, gestures = _Cell(6), _Cell(7), _Cell(8), _Cell(9)
    start_us, closed_ns, until_us = _Cell(10), _Cell(11), _Cell(12)

    def __init__(self, cells: memoryview) -> None:
        self.cells = cells

    def drop(self, reason: str, windows: int = 1) -> None:
        """Give up windows."""
        setattr(self, reason, getattr(self, reason) + windows)

    def dropped(self) -> Counter[str]:
        """Windows given up here, by reason."""
        return +Counter({reason: getattr(self, reason) for reason in (QUEUE, AGE, OVERLAP, CRASH)})

    @property
    def in_flight(self) -> int:
        """Windows that are here: taken in, and neither handed on nor given up yet."""
        gone = (
            self.sent + self.dropped().total()
        )  # first: who reads another process's must not find more gone than came
        return self.received - gone

    def arrived(self, parcel: StageMessage) -> bool:
        """Book a parcel in, and let it take along what was missed before it.

        Returns:
            False for one to be passed over: a window given up for lost before, or an end that was told already.
        """
        if self.ended or (parcel.window is not None and parcel.seq < self.next):
            return False
        if parcel.notice is None:
            self.missed = max(self.missed, parcel.seq - self.received - parcel.lost.total())
        if self.missed:
            parcel.lost[CRASH] += self.missed
        if parcel.window is not None:
            self.received += 1
            self.next = parcel.seq + 1
        self.ended = int(parcel.ends)
        return True


class StageCounters:
    """The books of one stage: an `StreamCounters` for each stream, and signs of life.

    Attributes:
        name: of the stage.
        life: 1, and one more each time that the stage is started anew.
        beat_ns: when it last gave a sign of life, on this machine's monotonic clock.
        work_ns: the longest time that it worked on a batch, in which no sign can be given.
        events, binned, late, outside, saturated: of a source, as in `eventveil.stream.histogram.HistogramStats`.
        overflow, backlog, away, clock: of a live camera, in or before how many windows that happened.
    """

    life, beat_ns, work_ns = _Cell(0), _Cell(1), _Cell(2)
    events, binned, late, outside, saturated = _Cell(3), _Cell(4), _Cell(5), _Cell(6), _Cell(7)
    overflow, backlog, away, clock = _Cell(8), _Cell(9), _Cell(10), _Cell(11)

    def __init__(self, name: str, cells: memoryview, entries: dict[str, StreamCounters]) -> None:
        self.name = name
        self.cells = cells
        self._entries = entries

    def __getitem__(self, stream: str) -> StreamCounters:
        return self._entries[stream]

    def __iter__(self) -> Iterator[tuple[str, StreamCounters]]:
        return iter(self._entries.items())

    def total(self, count: str) -> int:
        """The sum of a count over all streams."""
        return sum(getattr(entry, count) for entry in self._entries.values())

    def dropped(self) -> dict[str, int]:
        """Windows lost here or on the way here, by reason."""
        reasons = sum((entry.dropped() for entry in self._entries.values()), Counter[str]())
        return dict(reasons + Counter({CRASH: self.total("missed")}))

    def running(self) -> int:
        """How many streams have not ended here."""
        return sum(not entry.ended for entry in self._entries.values())

    def incidents(self) -> dict[str, int]:
        """What happened to a live camera so far, by kind."""
        return {kind: count for kind in INCIDENTS if (count := getattr(self, kind))}

    def pulse(self) -> None:
        """Give a sign of life."""
        self.beat_ns = time.monotonic_ns()

    def close_after_crash(self) -> None:
        """Close the books of a stage that has died: what was in it is lost. The next one is told of ends anew."""
        for entry in self._entries.values():
            entry.crash += entry.in_flight
            if not self.name.startswith(SOURCE):
                entry.ended = 0


class Flag:
    """A signal of the supervisor's. It has no lock: a stage killed or halted while it looks holds nobody else up."""

    raised = _Cell(0)

    def __init__(self, cells: memoryview) -> None:
        self.cells = cells

    def is_set(self) -> bool:
        """Whether it is set."""
        return bool(self.raised)

    def set(self) -> None:
        """Set it."""
        self.raised = 1

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, unless it is set; return whether it is."""
        if not self.is_set():
            time.sleep(seconds)
        return self.is_set()


class PipelineCounters:
    """The books of all stages.

    Args:
        stages: their names, down the line; those of sources are `histogram:STREAM`.
        streams: names of the streams.
        file: where they lie, for processes; None: in memory of this process.
        new: make them; False reads those that somebody else made.

    Raises:
        ConfigError: the file cannot be made.
    """

    def __init__(
        self, stages: Sequence[str], streams: Sequence[str], file: Path | None = None, *, new: bool = True
    ) -> None:
        self.stages, self.streams = tuple(stages), tuple(streams)
        self._file = file
        per_stage = _PAGE + len(streams) * _ENTRY
        size = 8 * (_FLAGS + len(stages) * per_stage)
        self._cells = memoryview(bytearray(size) if file is None else _shared(file, size, new=new)).cast("q")
        self._pages = {name: self._page(name, _FLAGS + number * per_stage) for number, name in enumerate(self.stages)}
        if new:
            for page in self._pages.values():
                for _, entry in page:
                    entry.until_us = NEVER

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.stages, self.streams, self._file)  # another process is told where they lie, no more

    def __getitem__(self, stage: str) -> StageCounters:
        return self._pages[stage]

    def flag(self, number: int) -> Flag:
        """One of eight signals."""
        return Flag(self._cells[number : number + 1])

    def _page(self, name: str, at: int) -> StageCounters:
        entries = {}
        for number, stream in enumerate(self.streams):
            first = at + _PAGE + number * _ENTRY
            if not name.startswith(SOURCE) or name == SOURCE + stream:
                entries[stream] = StreamCounters(self._cells[first : first + _ENTRY])
        return StageCounters(name, self._cells[at : at + _PAGE], entries)

    def dropped(self) -> dict[str, int]:
        """Windows lost in the whole line, by reason."""
        return dict(sum((Counter(page.dropped()) for page in self._pages.values()), Counter[str]()))


def _opened(stages: Sequence[str], streams: Sequence[str], file: Path | None) -> PipelineCounters:
    return PipelineCounters(stages, streams, file, new=False)


def _shared(path: Path, size: int, *, new: bool) -> mmap.mmap:
    handle = -1
    try:
        if new:
            path.unlink(missing_ok=True)
        handle = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)
        if new:
            os.write(handle, bytes(size))  # takes the room: a full disk is told of now, not by a signal later
        return mmap.mmap(handle, size)
    except OSError as error:
        raise ConfigError(
            f"line.runtime_dir: {path} cannot be made: {error.strerror}; choose a folder with room"
        ) from error
    finally:
        if handle >= 0:
            os.close(handle)
