"""The supervisor's signals to the stages: go, stop, abort."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import Protocol

from eventveil.stream.runtime.accounting import Flag, PipelineCounters


class Parent(Protocol):
    """The process that started this one."""

    def is_alive(self) -> bool:
        """Whether it still runs."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The supervisor's signals, as a stage sees them.

    Attributes:
        go: every stage is ready: sources may begin.
        stop: sources end their streams; windows in flight are still published.
        abort: all stages exit now.
        parent: the supervisor's process, if it is another one; its death is an abort, too.
    """

    go: Flag
    stop: Flag
    abort: Flag
    parent: Parent | None

    @classmethod
    def of(cls, counters: PipelineCounters) -> Signals:
        """Return the signals of a pipeline, for a stage of this thread or process."""
        flags = counters.flags
        return cls(flags.go, flags.stop, flags.abort, multiprocessing.parent_process())

    def aborted(self) -> bool:
        """Whether to leave now."""
        return self.abort.is_set() or (self.parent is not None and not self.parent.is_alive())
