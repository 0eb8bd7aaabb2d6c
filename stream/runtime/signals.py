"""The signals of the supervisor to the stages: go, stop, abort."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import Protocol

from eventveil.stream.runtime.accounting import Flag, PipelineCounters


class Parent(Protocol):
    """What is asked of the process that started this one."""

    def is_alive(self) -> bool:
        """Whether it is still there."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What the supervisor tells the stages.

    Attributes:
        go: every stage is ready: sources may begin.
        stop: sources end their streams; what is on its way is still published.
        abort: everybody leaves now.
        parent: the supervisor's process, where it is another one; when it is gone, that is an abort, too.
    """

    go: Flag
    stop: Flag
    abort: Flag
    parent: Parent | None

    @classmethod
    def of(cls, books: PipelineCounters) -> Signals:
        """The signals that lie with a line's books, for a stage of this thread or process."""
        return cls(books.flag(0), books.flag(1), books.flag(2), multiprocessing.parent_process())

    def aborted(self) -> bool:
        """Whether to leave now."""
        return self.abort.is_set() or (self.parent is not None and not self.parent.is_alive())
