"""Folds batch norms into the layers before them: fewer passes over memory, and no statistics rounded to bfloat16.

In eval mode a batch norm is a scale and a shift per channel, which the weights and biases before it can take over
(Jacob et al., Quantization and Training of Neural Networks, CVPR 2018, section 3.2).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

Model = TypeVar("Model", bound=nn.Module)


def fold_batch_norms(model: Model) -> Model:
    """Fold each batch norm that directly follows a convolution or a linear layer, in place; return the model.

    Two modules follow each other if they are neighbours in a `Sequential`, or if their names are `convN` and `bnN`, as
    in the blocks of a ResNet.

    Raises:
        ValueError: the model is in training mode.
    """
    if model.training:
        raise ValueError("expected a model in eval mode, whose batch norms no longer change")
    for parent in list(model.modules()):
        for name, follower in _neighbours(parent):
            _fold(parent, name, follower)
    return model


def _neighbours(parent: nn.Module) -> list[tuple[str, str]]:
    names = [name for name, _ in parent.named_children()]
    if isinstance(parent, nn.Sequential):
        return list(pairwise(names))
    pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
    return [pair for pair in pairs if pair[1] in names]


def _fold(parent: nn.Module, name: str, follower: str) -> None:
    layer, norm = parent.get_submodule(name), parent.get_submodule(follower)
    if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        setattr(parent, name, fuse_conv_bn_eval(layer, norm))
    elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        setattr(parent, name, fuse_linear_bn_eval(layer, norm))
    else:
        return
    setattr(parent, follower, nn.Identity())
