"""How many bits about a window are published with it, given the gesture, and how far people differ.

Attacks show what some attackers achieved. Where the last private step is known, the noisy code of a channel or the
words of a stand-in, information bounds what any attacker can achieve: I(window; published | gesture).

*Codes*: the mean over windows of the log-ratio of the density of a code given its window to its density given the
gesture alone, a mixture over the test windows with that gesture. It cannot exceed the logarithm of their number.
*Words*: they follow from the recording, so it is their entropy given the gesture. Each window is predicted step by step
from the words of other people; what the predictions cost is at least the entropy: an upper bound, up to chance.

Intervals come from resampling people; the mixture and the predictions stay the same.

Legend of axes: N windows, B windows of a batch, D numbers of a code, S steps, K words, n windows of a track, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.attacks.base import AttackJob, Findings
from eventveil.audit.attacks.white_box import WhiteBoxAttack
from eventveil.audit.attacks.white_box import jobs as white_box_jobs
from eventveil.audit.evaluation.protocols import Protocol
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Figure, Information, TradeOff
from eventveil.audit.sources import PublishedWindows
from eventveil.audit.stand_in import StandInSource
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.noise import NoiseGenerator
from eventveil.models.noisy_channel import NoisyChannel
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.information import window_bits
from eventveil.training.randomness import numpy_generator

FALSE_ALARMS = (0.01, 0.1, 0.5)
PAIRS, DRAWS = 40, 1000

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]
Missed = Callable[[Integers, Integers], Floats]
"""Given the windows of two tracks, returns the missed share for each of `FALSE_ALARMS`."""


@dataclass(frozen=True)
class Measuring(AttackJob):
    """The job of measuring information.

    Attributes:
        subject: name of the subject.
    """

    FILE = "information"
    TITLE = "information about windows, of {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Measure, on test people."""
        subject = workspace.subject(self.subject)
        test = workspace.evaluation_set("test", subject)
        if isinstance(subject.source, StandInSource):
            assert isinstance(test.windows, PublishedWindows)
            word_NS = test.windows.words(test.draw.start)
            bits_N = word_bits(word_NS, len(subject.source.book.words), test.targets, test.persons)
            ceiling, missed = None, _missed_by_words(word_NS)
        else:
            assert isinstance(subject.anonymizer, NoisyChannel)
            both_N2D = test.compute_outputs(lambda x: x, _Parameters(subject.anonymizer), "audit", "information")
            mean_ND, std_ND = both_N2D[:, 0].astype(np.float64), both_N2D[:, 1].astype(np.float64)
            bits_N, ceiling = _code_bits(mean_ND, std_ND, test.targets)
            missed = _missed_by_codes(mean_ND, std_ND, workspace.settings.seed)
        low, high = bootstrap_by_person(bits_N, test.persons)
        value, window = float(bits_N.mean()), workspace.settings.window
        information = Information(
            bits=Figure(value=max(0.0, value), low=max(0.0, low), high=max(0.0, high), chance=0.0),
            ceiling=ceiling,
            bits_per_second=None if window.bin_us is None else max(0.0, value) * 1e6 / (window.bins * window.bin_us),
            trade_offs=tuple(_trade_offs(workspace, missed)),
        )
        return {"information": information.model_dump(mode="json")}


@dataclass(frozen=True)
class _Parameters:
    """Returns mean and standard deviation of the codes of windows, (B, 2, D)."""

    network: NoisyChannel

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        return torch.stack(self.network.read(x_BCHW), 1)


def word_bits(word_NS: Integers, words: int, target_N: Integers, person_N: npt.NDArray[np.str_]) -> Floats:
    """Return the bits that it takes to state the words of each window, (N,), given the gesture.

    A step is predicted from the gesture and the step before, by how often that happened to other people; one case more
    is spread over all words.

    Args:
        word_NS: word of each step; -1 where nothing is published yet.
        words: K.
        target_N: the gesture of each window.
        person_N: the person.
    """
    states = words + 1
    before_NS = np.concatenate((np.full((len(word_NS), 1), words), word_NS[:, :-1]), axis=1) % states
    bits_N = np.zeros(len(word_NS))
    for target in np.unique(target_N):
        of_target = target_N == target
        for person in np.unique(person_N[of_target]):
            own, others = of_target & (person_N == person), of_target & (person_N != person)
            count = np.full((2, states, states), 1 / states)  # the first step of a window apart from the others
            for step in range(word_NS.shape[1]):
                np.add.at(count[min(step, 1)], (before_NS[others, step], word_NS[others, step] % states), 1)
            cost = -np.log2(count / count.sum(2, keepdims=True))
            for step in range(word_NS.shape[1]):
                bits_N[own] += cost[min(step, 1)][before_NS[own, step], word_NS[own, step] % states]
    return bits_N


def missed_shares(score_A: Floats, score_B: Floats) -> Floats:
    """Return for each of `FALSE_ALARMS` which share of B a test misses that takes that share of A for B.

    Args:
        score_A: log-likelihood ratios of B to A, of draws from A.
        score_B: the same, of draws from B.
    """
    limit = np.quantile(score_A, 1 - np.array(FALSE_ALARMS))
    return np.array([(score_B <= one).mean() for one in limit])


def _code_bits(mean_ND: Floats, std_ND: Floats, target_N: Integers) -> tuple[Floats, float]:
    bits_N, most_N = np.zeros(len(mean_ND)), np.zeros(len(mean_ND))
    for target in np.unique(target_N):
        rows = target_N == target
        bits_N[rows], most_N[rows] = window_bits(mean_ND[rows], std_ND[rows]), np.log2(rows.sum())
    return bits_N, float(most_N.mean())


def _missed_by_codes(mean_ND: Floats, std_ND: Floats, seed: int) -> Missed:
    random = numpy_generator(seed, "trade-off")

    def missed(first_n: Integers, second_n: Integers) -> Floats:
        a, b = ((mean_ND[rows], std_ND[rows]) for rows in (first_n, second_n))
        scores = []
        for mean_nD, std_nD in (a, b):
            score_R = np.zeros(DRAWS)
            for row in range(len(first_n)):  # so that long tracks take no more memory
                code_RD = mean_nD[row] + std_nD[row] * random.standard_normal((DRAWS, mean_ND.shape[1]))
                for sign, (mean, std) in ((1, b), (-1, a)):
                    density_RD = -(((code_RD - mean[row]) / std[row]) ** 2) / 2 - np.log(std[row])
                    score_R += sign * density_RD.sum(1)
            scores.append(score_R)
        return missed_shares(*scores)

    return missed


def _missed_by_words(word_NS: Integers) -> Missed:
    def missed(first_n: Integers, second_n: Integers) -> Floats:
        same = np.array_equal(word_NS[first_n], word_NS[second_n])
        return (1 - np.array(FALSE_ALARMS)) * same

    return missed


def _trade_offs(workspace: AuditWorkspace, missed: Missed) -> Iterator[TradeOff]:
    single = [protocol for protocol in workspace.protocols if protocol.way == "linked"][:1]
    for protocol in (*single, *workspace.sequences):
        shares = np.array([missed(*pair) for pair in _pairs(protocol, workspace.settings.seed)])
        for number, false_alarms in enumerate(FALSE_ALARMS):
            if len(shares):
                yield TradeOff(
                    windows=protocol.members_Tn.shape[1],
                    false_alarms=false_alarms,
                    missed=float(shares[:, number].mean()),
                    missed_worst=float(shares[:, number].min()),
                    pairs=len(shares),
                )


def _pairs(protocol: Protocol, seed: int) -> list[tuple[Integers, Integers]]:
    """Draw pairs of tracks of two people with the same gestures."""
    # The gallery holds every track; the queries are some of them.
    random, labels = numpy_generator(seed, "trade-off", "pairs"), protocol.gallery
    members_Gn = protocol.members_Tn[~protocol.query_mask_T]
    alike = (labels.target[:, None] == labels.target) & (labels.person[:, None] != labels.person)
    drawn = random.permutation(np.argwhere(np.triu(alike)))[:PAIRS]
    return [(members_Gn[one], members_Gn[other]) for one, other in drawn.tolist()]


def jobs(plan: AuditPlan) -> list[Measuring]:
    """List the jobs for all subjects whose published windows follow from a code or from words."""
    return [Measuring(job.subject) for job in white_box_jobs(plan)]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the information about windows that a subject publishes, where it can be measured."""
    if WhiteBoxAttack(subject.name) not in white_box_jobs(plan):
        return {}
    return {"information": Information.model_validate(results.of(Measuring(subject.name).name)["information"])}
