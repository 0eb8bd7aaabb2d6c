"""The architectures of attackers: ResNets, a plain CNN, and a ResNet that learns from several windows of a person.

All take logarithms of counts, which makes them far stronger (docs/method.md). All return an embedding and logits, so
that they are trained and tested in the same way.

Legend of axes: B windows, C channels, H rows, W columns, E embedding, K classes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from eventveil.models.resnet import Classified, ResNetClassifier, ResNetConfig

RESNET, DEEP, PLAIN, POOLED = "resnet18", "resnet50", "plain", "pooled"
ARCHITECTURES = (RESNET, PLAIN, POOLED, DEEP)
PLACES = 4  # rows and columns of the plain CNN's last feature map


def build(architecture: str, channels: int, classes: int, *, width: int, embedding: int, pool: int) -> nn.Module:
    """Build an attacker, untrained.

    Args:
        architecture: one of `ARCHITECTURES`.
        channels: C of a window.
        classes: K, people or targets in training.
        width: channels after the first convolution.
        embedding: E.
        pool: windows of one person that the pooled network learns from at once.
    """
    if architecture == PLAIN:
        return PlainCNN(channels, classes, width, embedding)
    resnet = ResNetClassifier(
        ResNetConfig(
            depth=50 if architecture == DEEP else 18,
            channels=channels,
            classes=classes,
            embedding=embedding,
            width=width,
            logarithm=True,
        )
    )
    return Pooled(resnet, pool) if architecture == POOLED else resnet


class PlainCNN(nn.Module):
    """Four 3x3 convolutions, the last three with stride 2, and an embedding that keeps positions."""

    def __init__(self, channels: int, classes: int, width: int, embedding: int) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            layers += [
                nn.Conv2d(before, after, 3, stride=1 if number == 0 else 2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(PLACES), nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(widths[-1] * PLACES**2, embedding), nn.BatchNorm1d(embedding), nn.LeakyReLU(0.5), nn.Dropout(0.5)
        )
        self.classifier = nn.Linear(embedding, classes)

    def forward(self, x_BCHW: torch.Tensor) -> Classified:
        """Classify windows (B, C, H, W)."""
        logarithm_BCHW = x_BCHW.sign() * x_BCHW.abs().log1p()
        embedding_BE = self.head(self.convolutions(logarithm_BCHW))
        return Classified(embedding_BE, self.classifier(embedding_BE))


class Pooled(nn.Module):
    """A network that is trained to classify the mean embedding of several windows of a person.

    What differs between windows averages out, and what the person has in all of them remains. So the network learns to
    embed what can be linked over time.

    Args:
        network: embeds each window, and classifies embeddings by its `classifier`.
        pool: number of consecutive windows in a training batch that are of one person.
    """

    def __init__(self, network: ResNetClassifier, pool: int) -> None:
        super().__init__()
        self.network = network
        self.pool = pool

    def forward(self, x_BCHW: torch.Tensor) -> Classified:
        """Embed each window; in training the logits of a window are those of its group."""
        output: Classified = self.network(x_BCHW)
        if not self.training:
            return output
        mean = output.embedding.reshape(-1, self.pool, output.embedding.shape[1]).mean(1)
        logits = self.network.classifier(mean)
        return Classified(output.embedding, logits.repeat_interleave(self.pool, 0))
