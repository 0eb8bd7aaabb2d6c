"""From counts to pictures: the expected voxel grid, and pictures that can be compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eventveil import EventPacket, Sensor
from eventveil.audit.workspace.pictures import grids_of, picture_maker
from eventveil.errors import AuditError, WeightsError
from eventveil.models.pictures import stretched, voxel_weights
from eventveil.models.reconstruction import FireNet
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.settings import TrainingWindowSettings


@pytest.mark.parametrize("bins", [1, 2, 3, 5, 7, 10, 12])
def test_the_grid_from_counts_is_that_of_events_spread_evenly_over_their_bins(bins):
    weights = voxel_weights(bins)
    grids = len(weights)
    torch.testing.assert_close(weights.sum((0, 1)), torch.ones(bins))  # each event counts once
    span_us = 20_000 * bins * grids
    for number in range(bins):
        t = np.arange(number * span_us // bins, (number + 1) * span_us // bins, 10)
        zeros = np.zeros(len(t), np.uint16)
        histogrammer = WindowedHistogrammer(
            Sensor(1, 1), bins=5, bin_us=span_us // grids // 5, mode="voxel", start_us=0
        )
        windows = list(histogrammer.push(EventPacket(t, zeros, zeros, zeros == 0)))
        windows += list(histogrammer.finish())
        shares = np.zeros((grids, 5))
        for window in windows:
            shares[window.seq] = window.counts[:, 0, 0] / len(t)
        np.testing.assert_allclose(weights[:, :, number], shares, atol=2e-3)


def window(**changes):
    return TrainingWindowSettings(**{"bins": 5, "bin_us": 10_000, "size": (12, 12)} | changes)


def test_polarities_count_with_their_signs():
    x_BCHW = torch.zeros(1, 10, 2, 2)
    x_BCHW[0, 4, 0, 0] = 3  # OFF of bin 2
    x_BCHW[0, 5, 1, 1] = 2  # ON of bin 2
    grids = grids_of(x_BCHW, window())
    assert grids.shape == (1, 1, 5, 2, 2)
    assert grids[0, 0, :, 0, 0].sum().item() == pytest.approx(-3)
    assert grids[0, 0, :, 1, 1].sum().item() == pytest.approx(2)
    assert grids[0, 0, :, 0, 0].argmin() == 2


def test_voxel_grids_are_taken_as_they_are_where_they_have_five_nodes():
    x_BCHW = torch.randn(2, 5, 3, 3)
    assert torch.equal(grids_of(x_BCHW, window(mode="voxel"))[:, 0], x_BCHW)
    assert grids_of(torch.randn(2, 7, 3, 3), window(mode="voxel", bins=7)).shape == (2, 1, 5, 3, 3)


def test_pictures_are_stretched_each_for_itself():
    faint = torch.linspace(0.4, 0.41, 400).view(1, 1, 20, 20)
    both = torch.cat((faint, torch.full_like(faint, 0.3)))
    pictures = stretched(both)
    assert pictures[0].min() == 0
    assert pictures[0].max() == 1
    assert pictures[0].median() == pytest.approx(0.5, abs=0.01)
    assert not pictures[1].any()


def test_a_window_of_ten_bins_is_seen_as_two_grids_one_after_the_other(tmp_path):
    torch.manual_seed(0)
    network = FireNet()
    torch.save(network.state_dict(), tmp_path / "firenet.pth")
    ten_bins = window(bins=10)
    picture = picture_maker(tmp_path / "firenet.pth", ten_bins, torch.device("cpu"))
    x_BCHW = torch.poisson(torch.full((2, 20, 12, 12), 0.5))
    first, second = grids_of(x_BCHW, ten_bins).unbind(1)
    with torch.no_grad():
        state = network.eval().reconstruct(first).state
        expected = stretched(network.reconstruct(second, state).picture)
        torch.testing.assert_close(picture(x_BCHW), expected)


def test_pictures_that_cannot_be_made_are_reported_at_once(tmp_path):
    with pytest.raises(AuditError, match="squares of 11x11"):
        picture_maker(tmp_path / "any.pth", window(size=(8, 12)), torch.device("cpu"))
    with pytest.raises(WeightsError, match="check the path"):
        picture_maker(tmp_path / "none.pth", window(), torch.device("cpu"))
