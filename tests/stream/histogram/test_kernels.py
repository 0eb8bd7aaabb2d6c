"""Kernels are compiled for the layout that is needed, and for a camera before its first event."""

from __future__ import annotations

import numpy as np
import pytest

from eventveil.events import EventPacket
from eventveil.stream.histogram import kernels
from eventveil.stream.histogram.kernels import ByLayout, compile_all, types


def _last(t, x, y, p):
    return t[len(t) - 1]


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(kernels, "_kernels", [])
    return ByLayout(_last, 4, types.int64)


def compiled(kernel):
    return {"contiguous", "strided"} & kernel.__dict__.keys()


def fields(step):
    t, x, y, p = np.arange(6), np.zeros(6, np.uint16), np.zeros(6, np.uint16), np.zeros(6, np.bool_)
    packet = EventPacket(t[::step], x[::step], y[::step], p[::step])
    return packet.t, packet.x, packet.y, packet.p.view(np.uint8)


def test_a_layout_is_compiled_when_a_packet_has_it(kernel):
    assert compiled(kernel) == set()
    assert kernel(*fields(1)) == 5
    assert compiled(kernel) == {"contiguous"}
    assert kernel(*fields(2)) == 4
    assert compiled(kernel) == {"contiguous", "strided"}


def test_all_layouts_are_compiled_on_demand(kernel):
    compile_all()
    assert compiled(kernel) == {"contiguous", "strided"}
