"""Work in a thread of its own, for as long as a context lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """Works from entering the context on; leaving it ends the work and waits for its end.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def works(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    @abstractmethod
    def _work(self) -> None:
        """Work until done, or until `_stopped` is set."""
