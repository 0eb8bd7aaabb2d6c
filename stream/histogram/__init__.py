"""The histogrammer: bins events into windows. It imports nothing else of `eventveil.stream`."""

from eventveil.stream.histogram.histogrammer import HistogramStats, Mode, WindowedHistogrammer

__all__ = ["HistogramStats", "Mode", "WindowedHistogrammer"]
