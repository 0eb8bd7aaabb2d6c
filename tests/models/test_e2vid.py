"""E2VID: state dicts of the published shapes load, and compute what plain functions compute from the same tensors."""

from __future__ import annotations

import pytest
import torch

from eventveil.errors import WeightsError
from eventveil.models.e2vid import E2VID
from eventveil.models.reconstruction import FireNet, load_reconstructor

functional = torch.nn.functional
BASE, BINS = 4, 5


def checkpoint(encoders=3, *, norm=True, upsample=True, concatenate=False, lstm=True):
    """A state dict with the names and shapes that the published code saves, narrow and filled with noise."""
    generator, state = torch.Generator().manual_seed(encoders), {}

    def conv(name, out, into, kernel, *, bias, transposed=False):
        shape = (into, out) if transposed else (out, into)
        state[f"{name}.weight"] = torch.randn(*shape, kernel, kernel, generator=generator) / (into * kernel) ** 0.5
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)

    def batch_norm(name, channels):
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.{part}"] = 0.5 * torch.randn(channels, generator=generator)
        state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=generator)

    conv("unetrecurrent.head.conv2d", BASE, BINS, 5, bias=True)
    for number in range(encoders):
        out, name = BASE * 2 ** (number + 1), f"unetrecurrent.encoders.{number}"
        conv(f"{name}.conv.conv2d", out, out // 2, 5, bias=not norm)
        if norm:
            batch_norm(f"{name}.conv.norm_layer", out)
        gates = [("Gates", 4 * out)] if lstm else [(f"{gate}_gate", out) for gate in ("reset", "update", "out")]
        for gate, size in gates:
            conv(f"{name}.recurrent_block.{gate}", size, 2 * out, 3, bias=True)
    deepest, skip = BASE * 2**encoders, 2 if concatenate else 1
    for number in range(2):
        for half in (1, 2):
            conv(f"unetrecurrent.resblocks.{number}.conv{half}", deepest, deepest, 3, bias=not norm)
            if norm:
                batch_norm(f"unetrecurrent.resblocks.{number}.bn{half}", deepest)
    for number in range(encoders):
        into, name = deepest // 2**number, f"unetrecurrent.decoders.{number}"
        layer = "conv2d" if upsample else "transposed_conv2d"
        conv(f"{name}.{layer}", into // 2, skip * into, 5, bias=not norm, transposed=not upsample)
        if norm:
            batch_norm(f"{name}.norm_layer", into // 2)
    conv("unetrecurrent.pred.conv2d", 1, skip * BASE, 1, bias=not norm)
    if norm:
        batch_norm("unetrecurrent.pred.norm_layer", 1)
    return state


def reference(state, windows, encoders, *, concatenate=False, lstm=True):
    """The pictures of consecutive windows, whose size is a multiple of 2^encoders."""

    def of(name):
        return state.get(f"unetrecurrent.{name}")

    def norm(x, name):
        if of(f"{name}.weight") is None:
            return x
        mean, var, scale, shift = (of(f"{name}.{p}") for p in ("running_mean", "running_var", "weight", "bias"))
        column = (None, slice(None), None, None)
        return (x - mean[column]) / (var[column] + 1e-5).sqrt() * scale[column] + shift[column]

    def conv(x, name, stride=1):
        weight = of(f"{name}.weight")
        return functional.conv2d(x, weight, of(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)

    def join(x, skip):
        return torch.cat([x, skip], 1) if concatenate else x + skip

    memories, pictures = [None] * encoders, []
    for window in windows:
        x = head = conv(window, "head.conv2d").clamp(min=0)
        blocks = []
        for number in range(encoders):
            name = f"encoders.{number}"
            x = norm(conv(x, f"{name}.conv.conv2d", 2), f"{name}.conv.norm_layer").clamp(min=0)
            hidden, cell = memories[number] or (torch.zeros_like(x), torch.zeros_like(x))
            if lstm:
                i, f, o, g = torch.tensor_split(conv(torch.cat([x, hidden], 1), f"{name}.recurrent_block.Gates"), 4, 1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                hidden = o.sigmoid() * cell.tanh()
            else:
                both = torch.cat([x, hidden], 1)
                z, r = (conv(both, f"{name}.recurrent_block.{gate}_gate").sigmoid() for gate in ("update", "reset"))
                new = conv(torch.cat([x, r * hidden], 1), f"{name}.recurrent_block.out_gate").tanh()
                hidden = (1 - z) * hidden + z * new
            memories[number], x = (hidden, cell), hidden
            blocks.append(x)
        for number in range(2):
            y = norm(conv(x, f"resblocks.{number}.conv1"), f"resblocks.{number}.bn1").clamp(min=0)
            x = (x + norm(conv(y, f"resblocks.{number}.conv2"), f"resblocks.{number}.bn2")).clamp(min=0)
        for number in range(encoders):
            name, x = f"decoders.{number}", join(x, blocks[encoders - 1 - number])
            if of(f"{name}.conv2d.weight") is not None:
                x = conv(functional.interpolate(x, scale_factor=2, mode="bilinear"), f"{name}.conv2d")
            else:
                x = functional.conv_transpose2d(
                    x, of(f"{name}.transposed_conv2d.weight"), of(f"{name}.transposed_conv2d.bias"), 2, 2, 1
                )
            x = norm(x, f"{name}.norm_layer").clamp(min=0)
        pictures.append(norm(conv(join(x, head), "pred.conv2d"), "pred.norm_layer").sigmoid())
    return pictures


@pytest.mark.parametrize(
    "layers",
    [{}, {"norm": False, "upsample": False}, {"encoders": 2, "concatenate": True, "lstm": False}],
    ids=["lightweight", "transposed", "gated"],
)
def test_a_checkpoint_computes_what_the_published_network_does(tmp_path, layers):
    state, path = checkpoint(**layers), tmp_path / "E2VID_lightweight.pth.tar"
    torch.save({"arch": "E2VIDRecurrent", "model": {"num_bins": BINS}, "state_dict": state}, path)
    network = load_reconstructor(path)
    windows = torch.randn(2, 1, BINS, 16, 24, generator=torch.Generator().manual_seed(2))
    kinds = {name: layers[name] for name in ("concatenate", "lstm") if name in layers}
    first = network(windows[0])
    second = network(windows[1], first.memories)
    want = reference(state, windows, layers.get("encoders", 3), **kinds)
    torch.testing.assert_close(torch.stack([first.picture, second.picture]), torch.stack(want), rtol=1e-4, atol=1e-5)


def test_any_size_is_padded_and_cut_again_and_gradients_reach_the_window(tmp_path):
    path = tmp_path / "e2vid.pth"
    torch.save(checkpoint(), path)
    network = load_reconstructor(path)
    x = torch.randn(1, BINS, 19, 30, generator=torch.Generator().manual_seed(3), requires_grad=True)
    picture = network(x).picture
    # 24x32 by reflection: 3 rows above, 2 below, 1 column on either side.
    padded = functional.pad(x.detach(), (1, 1, 3, 2), mode="reflect")
    want = reference(checkpoint(), [padded], 3)[0][:, :, 3:22, 1:31]
    torch.testing.assert_close(picture, want, rtol=1e-4, atol=1e-5)
    picture.sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_lightweight_network_has_as_many_parameters_as_the_published_one():
    # 10.71 million: Weng et al., Event-based Video Reconstruction Using Transformer, ICCV 2021, table 3.
    count = sum(parameter.numel() for parameter in E2VID().parameters())
    assert round(count / 1e6, 2) == 10.71


def test_firenet_is_still_known_and_another_network_refused(tmp_path):
    path = tmp_path / "network.pth"
    torch.save(FireNet().state_dict(), path)
    assert isinstance(load_reconstructor(path), FireNet)
    broken = checkpoint()
    del broken["unetrecurrent.decoders.0.conv2d.weight"]
    torch.save(broken, path)
    with pytest.raises(WeightsError, match=r"network\.pth: expected a checkpoint of E2VID, got other layers"):
        load_reconstructor(path)
