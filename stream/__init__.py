"""The pipeline (histogram, anonymize, classify, publish) and the subscriber to it.

`subscribe` is imported on first use, so that the histogrammer, which training uses too, does not need ZeroMQ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventveil.stream.subscriber.client import subscribe as subscribe

__all__ = ["subscribe"]


def __getattr__(name: str) -> Any:
    if name == "subscribe":
        from eventveil.stream.subscriber.client import subscribe

        return subscribe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
