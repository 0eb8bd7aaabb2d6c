"""Measure how fast and how accurately the stand-in names gestures, and how often it names one where there is none.

    EVENTVEIL_REAL_DATA=FOLDER python benchmarks/stand_in.py WEIGHTS... --simulated SET... --book FILE

WEIGHTS are files of `eventveil train stand-in`, of several trainings if there are several; their outcomes are pooled.
Each SET is a folder of `eventveil simulate sequences` or `negatives`, made with a seed that nothing was trained on.
FOLDER holds real recordings: `dvs_gesture/`, ten trials of one person, and `negatives/`, `people/` and `hands/`, in
which nobody makes a gesture of the set on purpose (a waving hand may be a wave).

A decision follows every bin of 0.1 s. The words are those that would be published: of the weights' rule, at each
threshold, and of the publisher's limit of changes. In a visit, a trial is recognised if the gesture's word stands for
most of the time from 0.3 s after its beginning; the latency is that of the first right word. A real trial is recognised
if its word stands for most of the windows, and "by vote" if it has the highest sum of logarithms over them, without a
rule. Chance, for one of 13 words at random, is 8 %, or 0.8 of ten. Intervals are 95 %: by person for shares, exact
Poisson for counts.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.events import Sensor
from eventveil.io.source import open_events
from eventveil.models.book import Book
from eventveil.models.configs import StandInConfig
from eventveil.models.rate_limit import WordLimiter
from eventveil.models.stand_in import StandIn
from eventveil.models.weights import Weights, load_weights
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.dvs_gesture import GESTURES, LABELS
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.evaluation.confidence import accuracy_interval
from eventveil.training.stand_in.moments import LabelledSpan, load_moments
from eventveil.training.stand_in.outcomes import GestureTrial, Integers, named, probabilities, trials_of, words_of
from eventveil.training.stand_in.stage import NAMED, recordings_of

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
VISITS, SCENES, REAL = "visits", "scenes", "real trials"
REAL_QUIET = ("negatives", "people", "hands")
SEED = 0  # of the rule's random numbers
STDERR = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Stream:
    """What a network sees of a recording: windows that end at `end_us_N`, and what is true in it."""

    group: str
    name: str
    spans: tuple[LabelledSpan, ...]
    end_us_N: Integers
    windows: tuple[npt.NDArray[np.float32], ...]


def simulated(folders: Sequence[Path], weights: Weights, cache: Path) -> Iterator[Stream]:
    """Yield the visits and scenes of simulated sets."""
    window = weights.metadata
    shape = RowShape.of(mode="windows", bins=window.bins, bin_us=window.bin_us, offsets=1, size=window.size, crop=None)
    for folder in folders:
        moments = load_moments(open_dataset(folder).trials, shape, cache, 1, show)
        for recording, (spans, end_us_N, windows) in zip(moments.recordings, recordings_of(moments), strict=True):
            group = VISITS if recording.whole.subject.startswith("user") else SCENES
            yield Stream(group, f"{folder.name}/{recording.whole.subject}", spans, end_us_N, tuple(windows))


def real(folder: Path, weights: Weights) -> Iterator[Stream]:
    """Yield the real trials, and the real recordings without a gesture."""
    for trial in open_dataset(folder / "dvs_gesture").trials:
        end_us_N, windows = windows_of(trial.path, "?columns=x,y,p,t&unit=ms", weights)
        spans = (LabelledSpan(0, int(end_us_N[-1]), trial.target or 0),)
        yield Stream(REAL, trial.name, spans, end_us_N, (windows,))
    for part in REAL_QUIET:
        for path in sorted((folder / part).iterdir()):
            if path.suffix.startswith(".aedat") or path.name == "sensor_noise.csv":
                end_us_N, windows = windows_of(path, "", weights)
                yield Stream(part, path.name, (), end_us_N, (windows,))


def windows_of(path: Path, options: str, weights: Weights) -> tuple[Integers, npt.NDArray[np.float32]]:
    """Return when the windows of a recording end, from its beginning, and the windows, one every bin."""
    window = weights.metadata
    assert window.bin_us is not None
    with open_events(f"{path.resolve().as_uri()}{options}", sensor=Sensor(128, 128)) as packets:
        histogrammer = WindowedHistogrammer(packets.sensor, window.size, 1, window.bin_us)
        bins = [one.counts[0] for packet in packets for one in histogrammer.push(packet)]
        bins += [one.counts[0] for one in histogrammer.finish()]
    counts = np.stack(bins).astype(np.float32)
    last = np.arange(window.bins, len(counts) + 1)
    windows = [counts[end - window.bins : end].reshape(-1, *counts.shape[2:]) for end in last]
    return last * window.bin_us, np.stack(windows)


def show(what: str, done: int, of: int) -> None:
    STDERR.print(f"{what}: {done} of {of}", end="\r" if done < of else "\n")


@dataclass(frozen=True, slots=True)
class Seen:
    """A stream, and what a network said in front of it: log-probabilities of the words (N, K)."""

    stream: Stream
    probability_NK: npt.NDArray[np.float64]


class Network:
    """A trained stand-in in front of all streams.

    Args:
        weights: its weights.
        streams: what it sees.
        book: names its words.
    """

    def __init__(self, weights: Weights, streams: Sequence[Stream], book: Book) -> None:
        assert isinstance(weights.model, StandIn)
        self.config: StandInConfig = weights.model.config
        self.bin_us = weights.metadata.bin_us or 0
        self._class_of_word = np.array([LABELS.index(word.label) for word in book.words])
        self.seen = [Seen(stream, probabilities(weights.model, stream.windows)) for stream in streams]

    def said(self, one: Seen, threshold: float, draws: random.Random) -> Integers:
        """Return the class of the published word after each window."""
        end_us_N = one.stream.end_us_N
        words = words_of(one.probability_NK, end_us_N, replace(self.config, threshold=threshold), draws)
        limiter = WordLimiter(self.config.changes_per_second)
        published = [limiter.limit(int(word), int(at) - self.bin_us) for word, at in zip(words, end_us_N, strict=True)]
        return self._class_of_word[published]

    def votes(self) -> list[tuple[str, str]]:
        """Return the true gesture of each real trial, and that with the highest sum of logarithms."""
        return [
            (
                LABELS[one.stream.spans[0].target],
                LABELS[self._class_of_word[np.log(one.probability_NK + 1e-12).sum(0).argmax()]],
            )
            for one in self.seen
            if one.stream.group == REAL
        ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything at one threshold, of all networks together."""

    trials: list[GestureTrial]
    persons: list[str]
    real: list[bool]
    named: dict[str, list[tuple[int, int]]]
    seconds: dict[str, float]


def outcome(networks: Sequence[Network], threshold: float) -> Outcome:
    result, draws = Outcome([], [], [], defaultdict(list), defaultdict(float)), random.Random(SEED)
    for network in networks:
        for one in network.seen:
            stream, class_N = one.stream, network.said(one, threshold, draws)
            trials = trials_of(class_N, stream.end_us_N, stream.spans, len(GESTURES))
            if stream.group == VISITS:
                result.trials.extend(trials)
                result.persons.extend([stream.name] * len(trials))
            elif stream.group == REAL:
                result.real.extend(trial.recognised for trial in trials)
            else:
                result.named[stream.group] += named(class_N, NAMED)
                result.seconds[stream.group] += len(class_N) * network.bin_us / 1e6
    return result


def poisson(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of the mean of a Poisson count (Garwood, Biometrika 28, 1936)."""

    def below(mean: float, most: int) -> float:
        return sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(most + 1))

    def solve(exceeds: Callable[[float], bool]) -> float:
        low, high = 1e-9, 10.0 * count + 20
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if exceeds(middle) else (middle, high)
        return high

    lowest = 0.0 if count == 0 else solve(lambda mean: 1 - below(mean, count - 1) > 0.025)
    return lowest, solve(lambda mean: below(mean, count) < 0.025)


def rate(runs: Sequence[tuple[int, int]], seconds: float, per_s: float) -> str:
    if not seconds:
        return "-"
    low, high = poisson(len(runs))
    scale = per_s / seconds
    return f"{len(runs) * scale:.1f} ({low * scale:.1f} to {high * scale:.1f})"


def share(right: Sequence[bool], persons: Sequence[str]) -> str:
    if not right:
        return "-"
    low, high = accuracy_interval(np.array(right), np.array(persons))
    return f"{np.mean(right):.1%} ({low:.0%} to {high:.0%})"


def longest_s(found: Outcome) -> float:
    """Return for how long a gesture was named without a break in negatives and people, seconds."""
    return max((steps for part in REAL_QUIET[:2] for _, steps in found.named[part]), default=0) / 10


def row(threshold: float, found: Outcome, networks: int) -> list[str]:
    latency = np.array([np.inf if trial.latency_s is None else trial.latency_s for trial in found.trials])
    return [
        f"{threshold:g}",
        share([trial.recognised for trial in found.trials], found.persons),
        f"{np.median(latency):.2f} s" if len(latency) else "-",
        share((latency <= 0.6).tolist(), found.persons),
        f"{sum(found.real) / networks:.1f} of {len(found.real) // networks}",
        rate(found.named[SCENES], found.seconds[SCENES], 3600),
        *(rate(found.named[part], found.seconds[part], 60) for part in REAL_QUIET),
        f"{longest_s(found):.1f} s",
    ]


def milliseconds(weights: Weights) -> float:
    """Return the median processor time of the network alone for one window, on one thread."""
    torch.set_num_threads(1)
    window = torch.zeros(1, weights.metadata.channels, *reversed(weights.metadata.size))
    times = []
    with torch.inference_mode():
        for _ in range(60):
            start = time.process_time()
            weights.model(window)
            times.append(time.process_time() - start)
    return float(np.median(times[10:]) * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+", help="weights files of `eventveil train stand-in`")
    parser.add_argument("--simulated", type=Path, nargs="*", default=[], help="folders of visits and scenes")
    parser.add_argument("--book", type=Path, required=True, help="the book of the weights")
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument("--cache", type=Path, default=Path("stand_in"), help="folder of prepared windows")
    options = parser.parse_args()
    files, book = [load_weights(path) for path in options.weights], Book.read(options.book)
    folder = os.environ.get("EVENTVEIL_REAL_DATA")
    streams = [
        *simulated(options.simulated, files[0], options.cache),
        *(real(Path(folder), files[0]) if folder else ()),
    ]
    networks = [Network(weights, streams, book) for weights in files]
    minutes = {
        group: sum(len(one.end_us_N) for one in streams if one.group == group) / 600 for group in (VISITS, SCENES)
    }
    table = Table(
        "threshold", "trials in visits", "median latency", "within 0.6 s", "real trials", "named an hour, scenes",
        *(f"a minute, {part}" for part in REAL_QUIET), "longest",
        title=f"{len(files)} trainings, {processor()}, seed {SEED}",
    )  # fmt: skip
    for threshold in sorted({*options.thresholds, networks[0].config.threshold}):
        table.add_row(*row(threshold, outcome(networks, threshold), len(networks)))
    console = Console(width=200)
    console.print(table)
    votes = [network.votes() for network in networks]
    right = [sum(true == said for true, said in trials) for trials in votes]
    console.print(f"real trials by vote, each training: {', '.join(map(str, right))}; mean {np.mean(right):.1f}")
    mistakes = Counter(f"{true}, taken for {said}" for trials in votes for true, said in trials if true != said)
    console.print(f"missed by vote, and how often: {'; '.join(f'{what} ({n})' for what, n in mistakes.most_common())}")
    alone = [outcome([network], network.config.threshold) for network in networks]
    console.print(f"real trials at its threshold: {', '.join(str(sum(found.real)) for found in alone)}")
    console.print(f"longest at its threshold: {', '.join(f'{longest_s(found):.1f} s' for found in alone)}")
    runs = [(part, *run) for found in alone for part in REAL_QUIET[:2] for run in found.named[part]]
    console.print(f"each of them: {'; '.join(f'{LABELS[said]} for {n / 10} s in {part}' for part, said, n in runs)}")
    console.print(f"visits {minutes[VISITS]:.0f} min, scenes {minutes[SCENES]:.0f} min")
    console.print(f"the network alone: {milliseconds(files[0]):.1f} ms of processor time for a window, one thread")


if __name__ == "__main__":
    main()
