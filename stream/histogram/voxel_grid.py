"""The voxel grid: signed polarities, each event split between its two neighbouring nodes in time.

A. Z. Zhu, L. Yuan, K. Chaney, K. Daniilidis, "Unsupervised Event-based Learning of Optical Flow, Depth, and
Egomotion", CVPR 2019, equations (1) to (3): node position t* = (B - 1) (t - t_first) / (t_last - t_first), weight
max(0, 1 - |node - t*|), value +1 or -1. Here first and last are the ends of a fixed window, so that a grid does not
depend on which events happen to be in it. Normalisation is left to the network that needs it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import EventPacket
from eventveil.stream.histogram.kernels import event_columns, types
from eventveil.stream.histogram.pixel_map import PixelMap

_index = np.uintp
_SIGNATURE = types.UniTuple(types.int64, 3)(
    *event_columns("A"), types.int64, types.float32[:, ::1], types.int64, types.int64, types.uint32[::1],
    types.uint32[::1],
)  # fmt: skip


@njit(_SIGNATURE, nogil=True, cache=True)
def _spread(t, x, y, p, begin, grid, start_us, end_us, columns, rows):  # type: ignore[no-untyped-def]
    """Add the events from `begin` to the first one at or after `end_us` to the grid (nodes, cells).

    Returns:
        Index of the event that it stopped at, and the numbers of late and outside events.
    """
    nodes = grid.shape[0]
    cells = _index(grid.shape[1])
    nodes_per_us = (nodes - 1) / (end_us - start_us)
    late, outside = 0, 0
    one = _index(1)
    i, n = _index(begin), _index(t.size)
    while i < n and t[i] < end_us:
        cell = _index(columns[x[i]]) + _index(rows[y[i]])
        if t[i] < start_us:
            late += 1
        elif cell < cells:
            position = (t[i] - start_us) * nodes_per_us
            node = int(position)
            sign = 1.0 if p[i] != 0 else -1.0
            later = position - node
            grid[_index(node), cell] += np.float32(sign * (1.0 - later))
            if node + 1 < nodes:
                grid[_index(node + 1), cell] += np.float32(sign * later)
        else:
            outside += 1
        i += one
    return np.int64(i), late, outside


class VoxelGrid:
    """The voxel grid of the open window, with the interface of `CountRing`.

    Args:
        pixels: the cell of each sensor pixel.
        nodes: number of nodes in time, B; the first is at the window's start, the last at its end.
        span_us: length of a window, and also the step to the next one.

    Attributes:
        span_us: as given.
        hop_us: the same.
        pending: events added since the last `take`, which no window has contained yet.
    """

    def __init__(self, pixels: PixelMap, nodes: int, span_us: int) -> None:
        self.span_us = span_us
        self.hop_us = span_us
        self.pending = 0
        self._pixels = pixels
        self._grid = np.zeros((nodes, pixels.cells), np.float32)

    def add(self, packet: EventPacket, begin: int, start_us: int) -> tuple[int, int, int, int]:
        """Add the packet's events from `begin` on; a voxel grid never saturates."""
        stop, late, outside = _spread(
            packet.t, packet.x, packet.y, packet.p.view(np.uint8), begin, self._grid, start_us,
            start_us + self.span_us, self._pixels.columns, self._pixels.rows,
        )  # fmt: skip
        self.pending += stop - begin - late - outside
        return stop, late, outside, 0

    def take(self) -> tuple[npt.NDArray[np.float32], int]:
        """Return the grid (B, H, W) and the number of its events, and start the next one."""
        grid, self._grid = self._grid, np.zeros_like(self._grid)
        events, self.pending = self.pending, 0
        return grid.reshape(-1, self._pixels.height, self._pixels.width), events
