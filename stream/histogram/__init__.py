"""The histogrammer: bins events into windows. It imports nothing else of `eventveil.stream`.

Its names are imported on first use: a plan names a histogrammer, and must not compile one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventveil.stream.histogram.histogrammer import HistogramStats as HistogramStats
    from eventveil.stream.histogram.histogrammer import Mode as Mode
    from eventveil.stream.histogram.histogrammer import WindowedHistogrammer as WindowedHistogrammer

__all__ = ["HistogramStats", "Mode", "WindowedHistogrammer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventveil.stream.histogram import histogrammer

    return getattr(histogrammer, name)
