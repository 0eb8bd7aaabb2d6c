"""The architectures of attackers: ResNets, also one that learns from several windows, a plain CNN, and two streams.

All take logarithms of counts, which makes them far stronger (docs/method.md). All return an embedding and logits, so
that they are trained and tested in the same way.

Legend of axes: B windows, C channels, T bins, H rows, W columns, E embedding, K classes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from eventveil.models.configs import ResNetConfig
from eventveil.models.resnet import Classified, ResNetClassifier

RESNET, DEEP, PLAIN, POOLED, TWO_STREAM = "resnet18", "resnet50", "plain", "pooled", "two-stream"
ARCHITECTURES = (RESNET, PLAIN, POOLED, TWO_STREAM, DEEP)
IN_GROUPS = (POOLED, TWO_STREAM)  # they learn from several windows of a person at once
PLACES = 4  # rows and columns of the plain CNN's last feature map


def build(architecture: str, channels: int, classes: int, *, width: int, embedding: int, pool: int) -> nn.Module:
    """Build an attacker, untrained.

    Args:
        architecture: one of `ARCHITECTURES`.
        channels: C of a window.
        classes: K, people or targets in training.
        width: channels after the first convolution.
        embedding: E.
        pool: windows of one person that those in groups learn from at once.
    """
    if architecture == TWO_STREAM:
        return TwoStream(channels, classes, width, embedding, pool)
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


class TwoStream(nn.Module):
    """A short stream of motion and a long one of shape, as in networks that recognise gait from events.

    Motion: convolutions of three successive bins, of which each place keeps the largest answer. Shape: what all bins
    show together, averaged over several windows of a person in training; tracks average it in tests. Both keep rows
    apart, because heads are above feet.

    Args:
        channels: C, two for each bin; of voxel grids an odd number is taken as one for each.
        classes: K.
        width: channels after the first convolution.
        embedding: E, one half for each stream.
        pool: number of consecutive windows in a training batch that are of one person.

    Source: our own, in the shape of EventGait (arXiv 2605.22139).
    """

    def __init__(self, channels: int, classes: int, width: int, embedding: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self._planes = 1 if channels % 2 else 2
        motion, shape = embedding // 2, embedding - embedding // 2
        self.motion = nn.Sequential(
            nn.Conv2d(3 * self._planes, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
        )
        self.shape = nn.Sequential(
            nn.Conv2d(self._planes, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(inplace=True),
        )
        self.motion_head = _head(2 * width, motion)
        self.shape_head = _head(4 * width, shape)
        self.classifier = nn.Linear(embedding, classes)

    def forward(self, x_BCHW: torch.Tensor) -> Classified:
        """Embed each window; in training, shapes are those of groups."""
        bins_BTPHW = x_BCHW.reshape(len(x_BCHW), -1, self._planes, *x_BCHW.shape[2:])
        longer = functional.pad(_logarithm(bins_BTPHW), (0, 0, 0, 0, 0, 0, 1, 1))
        three = torch.cat((longer[:, :-2], longer[:, 1:-1], longer[:, 2:]), 2)
        answers = self.motion(three.flatten(0, 1))
        motion_BE = self.motion_head(answers.reshape(*bins_BTPHW.shape[:2], *answers.shape[1:]).amax(1))
        shape_BE = self.shape_head(self.shape(_logarithm(bins_BTPHW.sum(1))))
        if self.training:
            of_groups = shape_BE.reshape(-1, self.pool, shape_BE.shape[1]).mean(1)
            shape_BE = of_groups.repeat_interleave(self.pool, 0)
        embedding_BE = torch.cat((motion_BE, shape_BE), 1)
        return Classified(embedding_BE, self.classifier(embedding_BE))


def _head(channels: int, embedding: int) -> nn.Module:
    places = nn.Sequential(nn.AdaptiveAvgPool2d((PLACES, 2)), nn.Flatten())
    return nn.Sequential(
        places, nn.Linear(channels * PLACES * 2, embedding), nn.BatchNorm1d(embedding), nn.Dropout(0.3)
    )


def _logarithm(x: torch.Tensor) -> torch.Tensor:
    return x.sign() * x.abs().log1p()
