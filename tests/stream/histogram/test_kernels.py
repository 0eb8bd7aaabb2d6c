"""Kernels are compiled for the layout that is needed, and for a camera before its first event."""

from __future__ import annotations

import numpy as np
import pytest

from eventveil.events import EventPacket
from eventveil.stream.histogram import kernels
from eventveil.stream.histogram.kernels import ByLayout, compile_all, is_strided, types


def _last(t, x, y, p):
    return t[len(t) - 1]


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(kernels, "_kernels", [])
    return ByLayout(_last, 4, types.int64)


def compiled(kernel):
    return {"contiguous", "strided"} & kernel.__dict__.keys()


def packet(step):
    t, x, y, p = np.arange(6), np.zeros(6, np.uint16), np.zeros(6, np.uint16), np.zeros(6, np.bool_)
    return EventPacket(t[::step], x[::step], y[::step], p[::step])


def fields(step):
    events = packet(step)
    return events.t, events.x, events.y, events.p.view(np.uint8)


def test_a_layout_is_compiled_when_a_packet_has_it(kernel):
    assert compiled(kernel) == set()
    assert kernel(*fields(1)) == 5
    assert compiled(kernel) == {"contiguous"}
    assert kernel(*fields(2)) == 4
    assert compiled(kernel) == {"contiguous", "strided"}


def test_layouts_are_compiled_on_demand(kernel):
    compile_all(strided=False)
    assert compiled(kernel) == {"contiguous"}
    compile_all()
    assert compiled(kernel) == {"contiguous", "strided"}


@pytest.mark.parametrize("events", [1, 3])
def test_a_view_of_records_is_strided_even_if_it_holds_one_event(events):
    assert not is_strided(packet(1)[:events])
    assert is_strided(packet(2)[:events])
