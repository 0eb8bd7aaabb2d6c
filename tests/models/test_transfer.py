"""Copies of counts to the device and of values back."""

from __future__ import annotations

import numpy as np
import torch

from eventveil.models.transfer import Transfer, counts_of

CPU = torch.device("cpu")


def test_all_65536_counts_survive_the_way_up():
    counts = np.arange(65_536, dtype=np.uint16).reshape(2, 2, 128, 128)
    up = Transfer(CPU).up([counts, counts[::-1]])
    assert up.dtype == torch.float32
    np.testing.assert_array_equal(up[0].numpy(), counts.astype(np.float32))
    np.testing.assert_array_equal(up[1].numpy(), counts[::-1].astype(np.float32))
    np.testing.assert_array_equal(counts_of(torch.tensor([-1, -32768], dtype=torch.int16)), [65535, 32768])


def test_buffers_follow_batches_that_grow_and_shrink():
    transfer = Transfer(CPU)
    for n in (2, 5, 1, 3):
        batch = [np.full((3, 4), 100 * n + i, np.uint16) for i in range(n)]
        np.testing.assert_array_equal(transfer.down(transfer.up(batch)), np.stack(batch).astype(np.float32))
