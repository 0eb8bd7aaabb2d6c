"""An anonymizer that sends a window through a noisy channel of a few numbers and decodes a new window from the result.

Noise on a window leaves what the noise does not cover. Here an encoder compresses the window into a code of D numbers,
each limited to -M..M, and adds Gaussian noise of a standard deviation of 1 to 2, which it chooses itself. A decoder
makes a window from the noisy code alone. Whatever the encoder learned, and for any attacker, no more bits about a
window reach the output than the channel's capacity (`models/channel_capacity.py`). Training minimises an upper bound on
the bits that do, the rate.

That holds for real numbers. The distance between neighbouring float32 numbers depends on their size, so the last bits
of a sum reveal its terms: from the last bits of a noisy code, the code could be read. The noisy code is therefore
rounded to multiples of 2**-8, far coarser than any float32 in it and far finer than the noise.

The tensors and settings keep older names, because they are part of weights files: `reader` is the encoder; `start`,
`strokes` and `last` are the decoder, and `pen` is its width.

Source: our own, based on Shannon's capacity of a Gaussian channel (1948) and the information bottleneck (Alemi et al.,
ICLR 2017); described and measured in docs/method.md.
Legend of axes: B windows, C channels, H rows, W columns, D numbers of the code.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

from eventveil.models.configs import NoisyChannelConfig, ResNetConfig
from eventveil.models.noise import NoiseGenerator
from eventveil.models.resnet import ResNetClassifier

START = 4  # rows and columns of the feature map that the decoder begins with
DOUBLINGS = 3
GRID = 256  # a noisy code is a multiple of 1 / GRID


class NoisyChannel(nn.Module):
    """Anonymizes event histograms: a ResNet encoder, Gaussian noise on its code, and a convolutional decoder.

    Args:
        config: what to build; None for the defaults, for windows of 10 bins.

    Source: our own, after Shannon (1948) and Alemi et al., Deep Variational Information Bottleneck, ICLR 2017;
        docs/method.md.

    >>> from eventveil.models.noise import SeededNoise
    >>> model = NoisyChannel(NoisyChannelConfig(channels=4, code=3, width=4, pen=4)).eval()
    >>> counts = torch.ones(2, 4, 12, 16)  # 2 windows of 2 bins of 2 polarities
    >>> with torch.inference_mode():
    ...     anonymized = model.anonymize(counts, SeededNoise(0))
    >>> anonymized.shape, anonymized.min() >= 0
    (torch.Size([2, 4, 12, 16]), tensor(True))
    >>> round(model.config.capacity_bits, 2)  # about a whole window
    3.82
    """

    def __init__(self, config: NoisyChannelConfig | None = None) -> None:
        super().__init__()
        self.config = config or NoisyChannelConfig()
        code, pen = self.config.code, self.config.pen
        width = self.config.width
        resnet = ResNetClassifier(
            ResNetConfig(depth=18, channels=self.config.channels, width=width, embedding=2 * code, classes=1)
        )
        self.reader = nn.Sequential(
            *list(resnet.backbone)[:-1],
            nn.AdaptiveAvgPool2d(2),  # keeps left apart from right, and top from bottom
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(4 * 8 * width, 2 * code),  # a ResNet-18 ends with 8 times the channels of its first convolution
        )
        self.start = nn.Sequential(nn.Linear(code, pen * START**2), nn.ReLU())
        widths = (pen, pen, max(1, pen // 2), max(1, pen // 2))
        self.strokes = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in itertools.pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], self.config.channels, 3, padding=1)

    def begin_from(self, classifier: ResNetClassifier) -> None:
        """Initialise the encoder with the backbone of a classifier that was trained on raw windows.

        From scratch, encoder and decoder must learn a common code, which takes a long time.

        Raises:
            ValueError: the classifier is not a ResNet-18 of logarithms, or has another width or other channels.
        """
        want = ResNetConfig(depth=18, channels=self.config.channels, width=self.config.width, logarithm=True)
        for key in ("depth", "channels", "width", "logarithm", "last_stride"):
            ours, theirs = getattr(want, key), getattr(classifier.config, key)
            if ours != theirs:
                raise ValueError(f"expected a classifier with {key} {ours} to begin from, got {theirs}")
        for layer, trained in zip(self.reader, list(classifier.backbone)[:-1], strict=False):
            layer.load_state_dict(trained.state_dict())

    def forward(self, x_BCHW: torch.Tensor, noise_BD: torch.Tensor) -> torch.Tensor:
        """Anonymize windows with the given noise.

        Args:
            x_BCHW: float32 (B, C, H, W), event counts.
            noise_BD: float32 (B, D), standard normal.

        Returns:
            float32 (B, C, H, W), not negative: the expected counts given the noisy code alone.

        Raises:
            ValueError: a shape differs from these.
        """
        return self.rated(x_BCHW, noise_BD)[0]

    def rated(self, x_BCHW: torch.Tensor, noise_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output of `forward`, and the rate of the batch, a scalar in nats, for the training loss."""
        batch, (channels, code) = len(x_BCHW), (self.config.channels, self.config.code)
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != channels or noise_BD.shape != (batch, code):
            raise ValueError(
                f"expected windows (B, {channels}, H, W) and noise (B, {code}), "
                f"got {tuple(x_BCHW.shape)} and {tuple(noise_BD.shape)}"
            )
        mean_BD, std_BD = self.read(x_BCHW)
        code_BD = _rounded(mean_BD + std_BD * noise_BD)
        decoded_BCHW = self.draw(code_BD, x_BCHW.shape[2], x_BCHW.shape[3])
        return decoded_BCHW, rate(mean_BD, std_BD)

    def read(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean (within the limit) and standard deviation (1 to 2) of the code: float32 (B, D) each."""
        parameters_B2D = self.reader(x_BCHW.log1p().to(next(self.parameters()).dtype)).float()
        mean_BD, std_BD = parameters_B2D.chunk(2, dim=1)
        limit = self.config.limit
        return limit * torch.tanh(mean_BD / limit), 1 + torch.sigmoid(std_BD)

    def draw(self, code_BD: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Make windows, float32 (B, C, height, width), from noisy codes (B, D)."""
        y = self.start(code_BD.to(next(self.parameters()).dtype)).unflatten(1, (-1, START, START))
        for doublings_left, block in zip(range(DOUBLINGS, 0, -1), self.strokes, strict=True):
            y = block(_resized(y, -(-height // 2**doublings_left), -(-width // 2**doublings_left)))
        return functional.softplus(_resized(self.last(y), height, width).float())

    def draw_noise(self, windows: int, generator: NoiseGenerator) -> torch.Tensor:
        """Return noise (windows, D) on the device of the weights."""
        return generator.normal((windows, self.config.code), next(self.parameters()).device)

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Anonymize float32 windows (B, C, H, W) with noise drawn from `generator`."""
        return self(x_BCHW, self.draw_noise(len(x_BCHW), generator))  # type: ignore[no-any-return]


def rate(mean_BD: torch.Tensor, std_BD: torch.Tensor) -> torch.Tensor:
    """Upper bound on the nats that a noisy code carries about its window, averaged over the batch.

    The entropy of the code is at most that of Gaussians of the same variances, one per number; given the window, it is
    the entropy of the noise. The difference bounds the mutual information and so, by the data processing inequality,
    what any attacker can learn from the decoded window.

    Args:
        mean_BD: means of the codes of the batch.
        std_BD: standard deviations of their noise.

    Returns:
        A scalar.
    """
    variance_BD = std_BD.square()
    whole_D = mean_BD.var(dim=0, correction=0) + variance_BD.mean(dim=0)
    return (whole_D.log() - variance_BD.log().mean(dim=0)).sum() / 2


def _rounded(code_BD: torch.Tensor) -> torch.Tensor:
    """Round to multiples of 1 / GRID; the gradient passes as if it were not rounded."""
    return code_BD + ((code_BD * GRID).round() / GRID - code_BD).detach()


def _resized(y: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return functional.interpolate(y, size=(height, width), mode="bilinear", align_corners=False)
