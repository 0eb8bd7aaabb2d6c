"""The classifier: a ResNet over windows, for gestures (target), people (identity) and attackers.

Source: He et al., Deep Residual Learning, CVPR 2016, with the stride of a bottleneck in its 3x3 convolution as in
torchvision, so that its pretrained weights fit; the head and the state-dict keys (`backbone.0` ..., `linear_block`,
`classifier`) as in the code of AnonyNoise (Bendig et al., WACV 2025); without a stride in the last layer and without
dropout it is the network of the Event-ReId method (Ahmad et al., ICCV 2023).
Legend of axes: B windows, C channels, H rows, W columns, E embedding, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from eventveil.models.configs import ResNetConfig

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # residual blocks in each of the four layers


class Classified(NamedTuple):
    """Output of the classifier: embedding (B, E) and logits (B, K), both in the precision of the input."""

    embedding: torch.Tensor
    logits: torch.Tensor


class ResNetClassifier(nn.Module):
    """Classifies windows: a ResNet-18, -34 or -50, an embedding layer, and a linear classifier on the embedding.

    Args:
        config: what to build; None for a ResNet-50 with 11 classes, for windows of 5 bins.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016; head from Bendig et al., AnonyNoise,
        WACV 2025.

    >>> config = ResNetConfig(depth=18, width=4, channels=4, classes=3, embedding=8)
    >>> model = ResNetClassifier(config).eval()
    >>> embedding, logits = model(torch.zeros(2, 4, 12, 16))
    >>> embedding.shape, logits.shape
    (torch.Size([2, 8]), torch.Size([2, 3]))
    """

    def __init__(self, config: ResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or ResNetConfig()
        self.backbone, features = _backbone(self.config)
        embedding = self.config.embedding
        self.linear_block = nn.Sequential(
            nn.Linear(features, embedding),
            nn.BatchNorm1d(embedding),
            nn.LeakyReLU(0.5),
            nn.Dropout(self.config.dropout),
        )
        logits = nn.Linear(embedding, self.config.classes)
        self.classifier = nn.Sequential(logits)
        if logits.weight.is_meta:
            return  # filled from a file later; initialising would only make PyTorch import its whole compiler
        self.apply(_initialise)
        # Near zero, so that training starts from even odds (as the published code does).
        nn.init.normal_(logits.weight, std=0.001)

    def forward(self, x_BCHW: torch.Tensor) -> Classified:
        """Classify windows, float32 (B, C, H, W); in eval mode B may be 1.

        Raises:
            ValueError: the shape differs from this, or B is 1 while training (batch norm needs a variance).
        """
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != self.config.channels:
            raise ValueError(f"expected (B, {self.config.channels}, H, W), got {tuple(x_BCHW.shape)}")
        inputs = x_BCHW.sign() * x_BCHW.abs().log1p() if self.config.logarithm else x_BCHW
        pooled = self.backbone(inputs.to(next(self.parameters()).dtype))
        embedding = self.linear_block(pooled.flatten(1))
        return Classified(embedding.to(x_BCHW.dtype), self.classifier(embedding).to(x_BCHW.dtype))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, channels, stride)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, channels_in, H, W) to (B, channels, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x_BCHW)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x_BCHW if self.downsample is None else self.downsample(x_BCHW)))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut around them (ResNet-50)."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        channels_out = channels * self.expansion
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, channels_out, stride)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, channels_in, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x_BCHW)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x_BCHW if self.downsample is None else self.downsample(x_BCHW)))  # type: ignore[no-any-return]


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


def _backbone(config: ResNetConfig) -> tuple[nn.Sequential, int]:
    """Build the layers in torchvision's order; return them and the number of output features."""
    block: type[BasicBlock | Bottleneck] = Bottleneck if config.depth == 50 else BasicBlock
    width = config.width
    modules: list[nn.Module] = [
        nn.Conv2d(config.channels, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    features, strides = width, (1, 2, 2, config.last_stride)
    for layer, blocks in enumerate(BLOCKS[config.depth]):
        channels = width * 2**layer
        residuals: list[nn.Module] = []
        for index in range(blocks):
            stride = strides[layer] if index == 0 else 1
            residuals.append(block(features, channels, stride))
            features = channels * block.expansion
        modules.append(nn.Sequential(*residuals))
    modules.append(nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*modules), features


def _initialise(module: nn.Module) -> None:
    """Apply He's initialisation; batch norm starts as the identity, PyTorch's default."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
