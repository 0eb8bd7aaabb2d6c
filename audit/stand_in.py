"""What a stand-in publishes of recordings: for each step, the clip of the word that its network, rule and limit choose.

It is computed as the pipeline does it. The network sees the last window of a stream, the rule decides, the public half
limits how often the word changes, and the book says what a word looks like at this time. Until the first whole window
of a session nothing is published. Headers of a stand-in hold the number of the word, which determines everything else.

Legend of axes: R rows, which are steps; N windows, one at the end of each step; K words; H rows of pixels, W columns.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.sources import Change, PublishedWindows
from eventveil.models.book import Book
from eventveil.models.decision import DecisionRule
from eventveil.models.noise import SeededNoise
from eventveil.models.rate_limit import WordLimiter, bits_per_second, steps_per_second
from eventveil.models.stand_in import StandIn
from eventveil.stream.histogram.pixel_map import PixelMap
from eventveil.training.data.windows import Windows
from eventveil.training.randomness import seed_of

Integers = npt.NDArray[np.int64]
AT_ONCE = 256
NOTHING = -1


@dataclass(frozen=True)
class StandInSource:
    """A stand-in and its book, as a source of windows.

    Attributes:
        network: chooses words.
        book: says what they look like.
        change: applied to the raw counts first; None for none.
    """

    network: StandIn
    book: Book
    change: Change | None = None

    @property
    def bits_per_second(self) -> float:
        """The most bits that the words of any second carry, whatever the network has learned."""
        config = self.network.config
        return bits_per_second(config.words, config.changes_per_second, steps_per_second(self.book.step_us))

    def under(self, change: Change) -> Self:
        """Return the source for recordings that are changed first."""
        return replace(self, change=change)

    def publish(self, raw: Windows, seed: int, device: torch.device) -> PublishedWindows:
        """Return the published windows; see `WindowSource.publish`."""
        word_R = np.full(int(raw.first_row[-1]), NOTHING)
        step_R = np.zeros(len(word_R), np.int64)
        for first, end in _sessions(raw):
            probability_NK = self._probabilities(raw, first, end, seed, device)
            word_R[first + raw.shape.bins - 1 : end] = self._decide(
                probability_NK, raw.shape.bins, seed_of(seed, "decisions", first)
            )
            step_R[first:end] = np.arange(end - first)
        pictures, picture_R = self._pictures(word_R, step_R, raw.shape.size)
        return PublishedWindows(raw.shape, raw.trials, raw.first_row, pictures, picture_R, word_R)

    def _probabilities(
        self, raw: Windows, first: int, end: int, seed: int, device: torch.device
    ) -> npt.NDArray[np.float32]:
        """Return the probabilities at the end of each whole window of a session, (N, K)."""
        network, bins, parts = self.network.to(device).eval(), raw.shape.bins, []
        noise = SeededNoise(seed_of(seed, "recording", first))
        rows = torch.from_numpy(np.asarray(raw.rows[first:end], np.float32)).to(device)
        if self.change is not None:
            rows = torch.cat([self.change(part, noise) for part in torch.split(rows, AT_ONCE)])
        with torch.inference_mode():
            for at in range(0, len(rows) - bins + 1, AT_ONCE):
                windows = rows[at : at + AT_ONCE + bins - 1].unfold(0, bins, 1).movedim(-1, 1).flatten(1, 2)
                parts.append(network(windows).float().softmax(1).cpu().numpy())
        return np.concatenate(parts)

    def _decide(self, probability_NK: npt.NDArray[np.float32], bins: int, seed: int) -> Integers:
        """Return the published word after each window, (N,): the rule's, as far as it may change."""
        config, step_us = self.network.config, self.book.step_us
        draws = random.Random(seed)  # repeatable, unlike those of the pipeline
        rule, limiter = DecisionRule(config, below=draws.randrange), WordLimiter(config.changes_per_second)
        words = []
        for step, probability_K in enumerate(probability_NK, bins - 1):
            words.append(limiter.limit(rule.decide(probability_K, (step + 1) * step_us), step * step_us))
        return np.array(words, np.int64)

    def _pictures(
        self, word_R: Integers, step_R: Integers, size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], Integers]:
        """Return the pictures that occur, (pictures, 2, H, W), and the number of the one that each step shows."""
        sensor = self.book.sensor
        size = (min(size[0], sensor.width), min(size[1], sensor.height))
        map_ = PixelMap.of(sensor, size)
        played = [
            (word, 0 if word == NOTHING else self.book.step_of(word, step * self.book.step_us))
            for word, step in zip(word_R.tolist(), step_R.tolist(), strict=True)
        ]
        _, first_at, picture_R = np.unique(np.array(played), axis=0, return_index=True, return_inverse=True)
        pictures = np.zeros((len(first_at), 2 * map_.cells), np.float32)
        for picture, row in zip(pictures, first_at, strict=True):
            if word_R[row] != NOTHING:
                events = self.book.events(int(word_R[row]), int(step_R[row]) * self.book.step_us)
                cell = events.p.astype(np.int64) * map_.cells + map_.columns[events.x] + map_.rows[events.y]
                picture += np.bincount(cell, minlength=len(picture))
        return pictures.reshape(-1, 2, size[1], size[0]), picture_R.reshape(-1)


def _sessions(raw: Windows) -> Iterator[tuple[int, int]]:
    """Yield the first row and the end of each session that holds a whole window."""
    for first, end in np.unique(raw.session_rows, axis=0).tolist():
        if end - first >= raw.shape.bins:
            yield first, end
