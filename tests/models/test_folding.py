"""Batch norms folded into the layers before them: the same function, up to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from eventveil.models import shipped
from eventveil.models.folding import fold_batch_norms
from eventveil.models.kinds import initialise
from eventveil.models.weights import load_weights


def with_statistics(model, seed=0):
    """Give every batch norm statistics and weights far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)):
        for tensor, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.2, 3), (norm.weight.data, -2, 2)):
            tensor.uniform_(low, high, generator=generator)
        norm.bias.data.uniform_(-1, 1, generator=generator)
    return model.eval()


def norms(model):
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())


def resnet(depth):
    config = {"depth": depth, "width": 4, "channels": 4, "classes": 3, "embedding": 8}
    return with_statistics(initialise("resnet_classifier", config, seed=1))


NETWORKS = {
    "ResNet-18": lambda: resnet(18),
    "ResNet-50": lambda: resnet(50),
    "stand-in": lambda: load_weights(shipped.STAND_IN).model,
    "noisy channel": lambda: load_weights(shipped.NOISY_CHANNEL).model,
    "gestures": lambda: load_weights(shipped.NOISY_CHANNEL_GESTURES).model,
    "denoiser": lambda: with_statistics(initialise("denoiser", {"channels": 4}, seed=1)),
}


def run(model, name):
    x = torch.poisson(torch.full((2, model.config.channels, 32, 32), 0.3), torch.Generator().manual_seed(2))
    with torch.inference_mode():
        if name == "noisy channel":
            return model(x, torch.randn(2, model.config.code, generator=torch.Generator().manual_seed(3)))
        result = model(x)
    return result.logits if isinstance(result, tuple) else result


@pytest.mark.parametrize("name", NETWORKS)
def test_every_batch_norm_is_folded_and_the_values_are_the_same(name):
    model = NETWORKS[name]()
    assert norms(model) > 0
    folded = fold_batch_norms(copy.deepcopy(model))
    assert norms(folded) == 0
    before, after = run(model, name), run(folded, name)
    assert before.std() > 0
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))


def test_only_what_directly_follows_is_folded():
    layers = [nn.Conv2d(2, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)]
    model = with_statistics(nn.Sequential(*layers))
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    folded = fold_batch_norms(copy.deepcopy(model))
    assert norms(folded) == 2
    torch.testing.assert_close(folded(x), model(x))


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match="eval mode"):
        fold_batch_norms(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
