"""Events in, windows out: the histogrammer, and what it counts with. Imports nothing else of `eventveil.stream`."""

from eventveil.stream.histogram.histogrammer import HistogramStats, Mode, WindowedHistogrammer

__all__ = ["HistogramStats", "Mode", "WindowedHistogrammer"]
