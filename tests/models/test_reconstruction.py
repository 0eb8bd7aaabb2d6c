"""FireNet: it computes the same as the published network, and reconstructs real pictures."""

from __future__ import annotations

import numpy as np
import pytest
import reference_models
import reference_training as reference
import torch

from eventveil.errors import WeightsError
from eventveil.io import open_events
from eventveil.models.reconstruction import FireNet, RecurrentState, load_firenet
from eventveil.stream.histogram import WindowedHistogrammer

# Names and shapes of the published state dict.
GATES = {f"{gate}_gate.{part}": (16, 32, 3, 3) if part == "weight" else (16,)
         for gate in ("reset", "update", "out") for part in ("weight", "bias")}  # fmt: skip
BLOCK = {f"{conv}.{part}": (16, 16, 3, 3) if part == "weight" else (16,)
         for conv in ("conv1", "conv2") for part in ("weight", "bias")}  # fmt: skip
PUBLISHED = {
    "net.head.conv.conv2d.weight": (16, 5, 3, 3),
    "net.head.conv.conv2d.bias": (16,),
    **{f"net.head.recurrent_block.{name}": shape for name, shape in GATES.items()},
    **{f"net.resblocks.0.conv.{name}": shape for name, shape in BLOCK.items()},
    **{f"net.resblocks.0.recurrent_block.{name}": shape for name, shape in GATES.items()},
    **{f"net.resblocks.1.{name}": shape for name, shape in BLOCK.items()},
    "net.pred.conv2d.weight": (1, 16, 1, 1),
    "net.pred.conv2d.bias": (1,),
}


def published_state(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in PUBLISHED.items()}


def checkpoint(path, state):
    torch.save({"arch": "FireNet", "epoch": 1000, "state_dict": state, "config": {"name": "firenet"}}, path)
    return path


@pytest.fixture
def network(tmp_path):
    return load_firenet(checkpoint(tmp_path / "firenet.pth.tar", published_state()))


def voxels(batch, size=(6, 7), seed=1):
    return torch.randn(batch, 5, *size, generator=torch.Generator().manual_seed(seed)).round(decimals=1)


def test_keys_shapes_and_size_are_the_published_ones():
    state = FireNet().state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == PUBLISHED
    assert sum(tensor.numel() for tensor in state.values()) == 37_777


def test_a_published_state_comes_in_unchanged_frozen_and_in_eval_mode(tmp_path):
    state = published_state()
    torch.save(state, tmp_path / "bare.pth")
    for path in (checkpoint(tmp_path / "whole.pth.tar", state), tmp_path / "bare.pth"):
        model = load_firenet(path)
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not model.training


def test_it_is_its_twin_over_several_windows(network):
    windows, state = [voxels(2, seed=seed) for seed in range(3)], None
    for number, window in enumerate(windows, start=1):
        picture, state = network(window, state)
        assert picture.shape == (2, 1, 6, 7)
        for index in range(2):
            past = np.stack([earlier[index].numpy() for earlier in windows[:number]])
            np.testing.assert_allclose(picture[index], reference.firenet(published_state(), past), atol=1e-4)


def test_reconstructing_normalises_first(network):
    x = 30 * voxels(2) + 3
    x[:, :, :2] = 0
    normalised = np.stack([reference_models.normalised(window.numpy()) for window in x]).astype(np.float32)
    torch.testing.assert_close(
        network.reconstruct(x).picture, network(torch.from_numpy(normalised)).picture, rtol=1e-4, atol=1e-5
    )


def test_the_state_is_what_is_remembered(network):
    first, second = voxels(1, seed=1), voxels(1, seed=2)
    state = network(first).state
    assert isinstance(state, RecurrentState)
    with_past, without = network(second, state).picture, network(second).picture
    assert not torch.allclose(with_past, without)
    empty = RecurrentState(torch.zeros_like(state.head), torch.zeros_like(state.residual))
    assert torch.equal(network(second, empty).picture, without)


@pytest.mark.parametrize("x", [voxels(1), torch.zeros(1, 5, 6, 7), torch.full((1, 5, 6, 7), 0.5)])
def test_the_gradient_reaches_the_input_and_is_finite(network, x):
    x = x.clone().requires_grad_()
    network.reconstruct(x).picture.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert not any(parameter.grad is not None for parameter in network.parameters())
    if x.detach().std() > 0:
        assert x.grad.abs().sum() > 0


def test_wrong_shapes_are_refused_by_name(network):
    for bad in ((1, 4, 8, 8), (5, 8, 8)):
        with pytest.raises(ValueError, match="5, H, W"):
            network(torch.zeros(bad))


def test_other_files_are_refused(tmp_path):
    state = published_state()
    missing = {name: tensor for name, tensor in state.items() if name != "net.pred.conv2d.bias"}
    wider = state | {"net.head.conv.conv2d.weight": torch.zeros(16, 10, 3, 3)}
    not_finite = state | {"net.pred.conv2d.bias": torch.tensor([float("nan")])}
    for content, words in ((missing, "net.pred.conv2d.bias is missing"), (wider, "net.head.conv.conv2d.weight"),
                           (not_finite, "not finite"), ({}, "missing")):  # fmt: skip
        with pytest.raises(WeightsError, match=words):
            load_firenet(checkpoint(tmp_path / "f.pth.tar", content))
    for content in ([1, 2], {"state_dict": 3}, {"epoch": 3}):
        torch.save(content, tmp_path / "f.pth.tar")
        with pytest.raises(WeightsError, match=r"f\.pth\.tar: expected the checkpoint of FireNet"):
            load_firenet(tmp_path / "f.pth.tar")
    with pytest.raises(WeightsError, match="check the path"):
        load_firenet(tmp_path / "absent.pth.tar")


def test_real_events_become_a_picture_again(real_data):
    network = load_firenet(real_data / "weights" / "firenet_1000.pth.tar")
    recording = real_data / "recordings" / "tonic_sample.aedat4"
    pictures, contrast, maps, state = [], [], [], None
    with open_events(recording) as source, torch.no_grad():
        histogrammer = WindowedHistogrammer(source.sensor, bins=5, bin_us=8_000, mode="voxel")
        for packet in source:
            for window in histogrammer.push(packet):
                voxels = torch.from_numpy(window.counts)[None]
                picture, state = network.reconstruct(voxels, state)
                pictures.append(picture[0, 0])
                contrast.append(picture.std().item())
                maps.append(voxels[0].abs().sum(0))
    last = pictures[-1]
    low, high = last.min().item(), last.max().item()
    assert -0.5 < low < high < 1.5
    assert contrast[-1] > 2 * contrast[0]  # the picture builds up: the state carries it
    # Edges of the picture are where events were, to within a few pixels: 0.84 was measured, chance is 0.
    at_events = correlation(blurred(edges(last)), blurred(sum(maps).sqrt()))
    assert at_events > 0.7
    # Events of two windows are less alike than pictures of the same scene.
    pictures_alike, events_alike = correlation(last, pictures[-4]), correlation(maps[-1], maps[-4])
    assert pictures_alike > 0.9 > 0.7 > events_alike
    untrained = FireNet().eval().reconstruct(voxels).picture.std().item()
    assert untrained < 0.5 * contrast[-1]


def edges(picture):
    down, right = torch.gradient(picture)
    return (down.square() + right.square()).sqrt()


def blurred(picture):
    return torch.nn.functional.avg_pool2d(picture[None], 9, stride=1)[0]


def correlation(a, b):
    return torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1].item()
