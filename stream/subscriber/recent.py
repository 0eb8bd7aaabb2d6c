"""A dictionary that forgets what was set longest ago, so that a hostile publisher cannot fill a subscriber's memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

MOST = 10_000  # streams of all topics; no honest pipeline comes near
Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(OrderedDict[Key, Value]):
    """Holds the 10,000 entries that were set most recently."""

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > MOST:
            self.popitem(last=False)
