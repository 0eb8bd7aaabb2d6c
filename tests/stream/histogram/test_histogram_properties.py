"""Laws of the histogrammer, for any events, packets and settings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference_histogram as reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import SENSOR, cuts, events, records, settings, timed

from eventveil.stream.histogram import WindowedHistogrammer

pytestmark = pytest.mark.kernel

any_events = events(ordered=False, beyond=3)


def run(packets, **keywords):
    """Return all windows and the statistics, which must add up after every window."""
    histogrammer = WindowedHistogrammer(SENSOR, **keywords)
    windows = []
    for packet in packets:
        for window in histogrammer.push(packet):
            assert adds_up(histogrammer.stats)
            windows.append(window)
        assert adds_up(histogrammer.stats)
    windows.extend(histogrammer.finish())
    return windows, histogrammer.stats


def adds_up(stats):
    return stats.received == stats.binned + stats.late + stats.outside


def assert_same(windows, expected):
    assert [(w.seq, w.t_start_us, w.t_end_us, w.events) for w in windows] == [(*e[:3], e[4]) for e in expected]
    for window, (*_, counts, _) in zip(windows, expected, strict=True):
        np.testing.assert_array_equal(window.counts, counts)


@given(st.data(), settings())
def test_equals_the_slow_twin_however_the_packets_are_cut(data, keywords):
    packet = data.draw(any_events)
    twin = reference.Histogrammer(sensor=SENSOR, **keywords)
    twin.push(packet)
    twin.finish()
    windows, stats = run(data.draw(cuts(packet)), **keywords)
    assert_same(windows, twin.windows)
    assert dataclasses.asdict(stats) == vars(twin.stats)


@given(st.data(), settings())
def test_time_that_passes_closes_the_windows_the_twin_closes(data, keywords):
    packets = []
    for part in data.draw(cuts(data.draw(any_events))):
        last = int(part.t[-1]) if len(part) else data.draw(st.sampled_from((0, 40)))
        packets.append(timed(part, data.draw(st.sampled_from((None, last, last + 1, last + 30)))))
    twin = reference.Histogrammer(sensor=SENSOR, **keywords)
    for packet in packets:
        twin.push(packet)
    twin.finish()
    windows, stats = run(packets, **keywords)
    assert_same(windows, twin.windows)
    assert dataclasses.asdict(stats) == vars(twin.stats)


@given(events(), st.integers(1, 5), st.sampled_from((1, 7, 10)))
def test_without_overlap_every_event_is_in_exactly_one_window(packet, bins, bin_us):
    windows, stats = run([packet], bins=bins, bin_us=bin_us)
    assert sum(int(w.counts.sum()) for w in windows) == sum(w.events for w in windows) == len(packet) == stats.binned


@given(events(), st.integers(1, 5), st.data())
def test_with_overlap_every_event_is_in_at_least_one_window(packet, bins, data):
    hop = data.draw(st.integers(1, bins))
    windows, _ = run([packet], bins=bins, bin_us=10, hop=hop)
    occupied = set()
    for window in windows:
        first = window.seq * hop
        occupied.update(first + k for k in range(bins) if window.counts[k].any())
    assert occupied == set(((packet.t - packet.t[:1]) // 10).tolist())


@given(any_events, settings(), st.booleans())
def test_the_layout_in_memory_does_not_matter(packet, keywords, packed):
    windows, stats = run([packet], **keywords)
    others, other_stats = run([records(packet, packed=packed)], **keywords)
    assert stats == other_stats
    for window, other in zip(windows, others, strict=True):
        np.testing.assert_array_equal(window.counts, other.counts)


@given(events(), st.integers(1, 7), st.integers(1, 5))
def test_flips_mirror_the_result(packet, width, height):
    plain, _ = run([packet], bin_us=10, size=(width, height))
    flipped, _ = run([packet], bin_us=10, size=(width, height), flip_x=True, flip_y=True)
    for window, mirrored in zip(plain, flipped, strict=True):
        np.testing.assert_array_equal(mirrored.counts, window.counts[..., ::-1, ::-1])
