"""Percentiles of delays, against numpy's percentiles of the same delays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil.stream.runtime.latency import Latency


def of(delays):
    latency = Latency()
    for delay in delays:
        latency.add(delay)
    return latency


@given(st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=60), st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_exact_to_two_percent(delays, share):
    exact = np.percentile(delays, share * 100, method="inverted_cdf")
    assert of(delays).percentile(share) == pytest.approx(exact, rel=0.02)


def test_half_of_all_stay_below_the_median():
    latency = of([1.0] * 50 + [100.0] * 50)
    assert latency.percentile(0.5) == pytest.approx(1, rel=0.02)
    assert latency.percentile(0.51) == pytest.approx(100, rel=0.02)


def test_there_is_none_without_delays():
    assert Latency().percentile(0.5) is None
    assert Latency().take() == (None, None)


def test_taking_starts_again():
    latency = of([1.0] * 98 + [1000.0] * 2)
    assert latency.take() == (pytest.approx(1, rel=0.02), pytest.approx(1000, rel=0.02))
    assert latency.take() == (None, None)
    latency.add(7)
    assert latency.take() == (pytest.approx(7, rel=0.02),) * 2


@pytest.mark.parametrize("delay", [0.0, -5.0, 1e-9])
def test_delays_below_the_smallest_count_as_the_smallest(delay):
    assert of([delay]).percentile(1) == pytest.approx(1e-3, rel=0.02)


def test_delays_beyond_the_greatest_still_count():
    latency = of([1.0, 1e300])
    assert latency.percentile(0.5) == pytest.approx(1, rel=0.02)
    assert latency.percentile(1) > 1e7
