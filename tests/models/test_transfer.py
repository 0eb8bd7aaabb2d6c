"""Copies of counts to the device and of values back."""

from __future__ import annotations

import numpy as np
import torch

from eventveil.models.transfer import Transfer

CPU = torch.device("cpu")


def test_all_65536_counts_survive_the_way_up():
    counts = np.arange(65_536, dtype=np.uint16).reshape(2, 2, 128, 128)
    up = Transfer(CPU).up([counts, counts[::-1]])
    assert up.dtype == torch.float32
    np.testing.assert_array_equal(up[0].numpy(), counts.astype(np.float32))
    np.testing.assert_array_equal(up[1].numpy(), counts[::-1].astype(np.float32))


def test_buffers_follow_batches_that_grow_and_shrink():
    transfer = Transfer(CPU)
    for n in (2, 5, 1, 3):
        batch = [np.full((3, 4), 100 * n + i, np.uint16) for i in range(n)]
        (down,) = transfer.down(transfer.up(batch))
        np.testing.assert_array_equal(down, np.stack(batch).astype(np.float32))


def test_what_comes_down_is_a_copy_in_the_usual_order_and_keeps_its_type():
    values = torch.arange(48.0).reshape(2, 2, 3, 4).to(memory_format=torch.channels_last)
    flags = torch.tensor([True, False])
    down, down_flags = Transfer(CPU).down(values, flags)
    expected = np.arange(48.0, dtype=np.float32).reshape(2, 2, 3, 4)
    values.zero_()
    flags.zero_()
    np.testing.assert_array_equal(down, expected)
    assert down.flags.c_contiguous
    assert down_flags.tolist() == [True, False]
