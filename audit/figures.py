"""The figures of report.json: what attackers and classifiers achieved.

Shares are from 0 to 1. Intervals are 95 % intervals from a bootstrap over people. An *advantage* is the gain over blind
guessing, scaled from 0 (chance) to 1 (certainty): (share right - chance) / (1 - chance). It puts
rank-1 among many and the choice between two people on one scale.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Knowledge = Literal[
    "ignorant", "informed", "denoising", "inverting", "reconstructing", "averaging", "overlapping", "gestures",
    "untrained", "white-box", "messages",
]  # fmt: skip
Way = Literal["search", "linked"]


class ReportModel(BaseModel):
    """Base class of all parts of a report."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(ReportModel):
    """A share, its 95 % interval, and the share of blind guessing in the same protocol."""

    value: float
    low: float
    high: float
    chance: float

    @classmethod
    def of(cls, result: dict[str, Any]) -> Figure:
        """Convert a figure of `training.evaluation.results`."""
        low, high = result["interval_95"]
        return cls(value=result["value"], low=low, high=high, chance=result["chance"])


class Advantage(ReportModel):
    """The gain over blind guessing. Below 0, chance would do better, which is no extra privacy.

    Attributes:
        by: rank-1: how often the right person comes first. linkability: how often the right one of two is picked.
        value, low, high: with its 95 % interval.
        ceiling: upper end that holds in all audits of the same weights together, see `evaluation.betting`. It decides.
    """

    by: Literal["rank-1", "linkability"]
    value: float
    low: float
    high: float
    ceiling: float

    @classmethod
    def of(cls, by: Literal["rank-1", "linkability"], share: Figure, ceiling: float) -> Advantage:
        """Scale a share of right answers, and the highest that it may be."""
        value, low, high, top = (
            (one - share.chance) / (1 - share.chance) for one in (share.value, share.low, share.high, ceiling)
        )
        return cls(by=by, value=value, low=low, high=high, ceiling=max(high, top))


class CrowdFigures(ReportModel):
    """What an attacker achieves in a crowd of this many people; see `audit.evaluation.crowd`.

    Attributes:
        people: size of the crowd.
        linkability: probability of picking the right person in it.
        singling_out: probability that a rule made from one session of a person fits exactly one of them; None where no
            person has other tracks to place the rule's threshold.
    """

    people: int
    linkability: Figure
    singling_out: Figure | None


class PersonLinked(ReportModel):
    """A person whom an attacker names so often that luck is unlikely; see `audit.evaluation.people`.

    Attributes:
        person: number among the test people of this audit.
        hits: how often the attacker named this person correctly.
        queries: how often the attacker was asked.
        chance: share of hits by blind guessing.
        luck: probability of as many hits by blind guessing, before any correction.
    """

    person: int
    hits: int
    queries: int
    chance: float
    luck: float


class Attack(ReportModel):
    """What one attacker achieved in one protocol.

    Attributes:
        knowledge: ignorant: trained on raw windows. informed: trained on anonymized windows. denoising: informed, and
            trained together with a denoiser before it. inverting: ignorant, after a denoiser that was trained alone.
            reconstructing: trained on pictures of raw windows, tested on pictures of anonymized ones. averaging:
            trained on the mean of many anonymizations of the same events. overlapping: trained on the mean of windows
            that overlap. gestures: given labels and probabilities of the topic `gesture` alone.
            untrained: compares windows, or the bits of their values, without having learned anything. white-box:
            given the codes or words that windows are made of. messages: given headers, lengths, published gestures and
            arrival times, without the windows.
        architecture, seed: of the attacker.
        condition: away from the anonymizer's training data, as `audit.conditions` lists them; "" for windows as
            they are.
        way: search: the re-identification search of the papers. linked: both sides show the same gestures, in different
            sessions.
        windows: number of windows of a person whose embeddings are averaged.
        seconds: length of these windows; None for whole recordings.
        people, queries, gallery: how many there were.
        rank1, rank5, rank10, mean_average_precision: of the ranking of the gallery.
        equal_error_rate: of the verification "is it the same person?", in way linked.
        true_match_rate_1_percent, true_match_rate_01_percent: of the same, at 1 % and 0.1 % false matches; None also
            where there are too few pairs.
        certain_links, log_likelihood_cost: of the same, over all thresholds: D and Cllr-min, see
            `audit.evaluation.verification`.
        crowds: by the size of the crowd, in way linked.
        linked_people: the people whom it probably links, in way linked.
        advantages: the figures that decide the verdict.
    """

    knowledge: Knowledge
    architecture: str
    seed: int
    condition: str = ""
    way: Way
    windows: int
    seconds: float | None
    people: int
    queries: int
    gallery: int
    rank1: Figure
    rank5: Figure
    rank10: Figure
    mean_average_precision: Figure
    equal_error_rate: Figure | None = None
    true_match_rate_1_percent: Figure | None = None
    true_match_rate_01_percent: Figure | None = None
    certain_links: Figure | None = None
    log_likelihood_cost: Figure | None = None
    crowds: tuple[CrowdFigures, ...] = ()
    linked_people: tuple[PersonLinked, ...] = ()
    advantages: tuple[Advantage, ...]

    @property
    def title(self) -> str:
        """A description of the attacker."""
        return f"{self.knowledge} {self.architecture}, seed {self.seed}" + (
            f", {self.condition}" * bool(self.condition)
        )


class Class(ReportModel):
    """How well one class of the target is recognised."""

    name: str
    windows: int
    accuracy: float


class Utility(ReportModel):
    """How well the target is recognised.

    Attributes:
        retrained: accuracy of a classifier trained on anonymized windows.
        as_it_is: accuracy of a classifier trained on raw windows.
        classes: classes of the retrained classifier.
    """

    retrained: Figure
    as_it_is: Figure
    classes: tuple[Class, ...]


class Likeness(ReportModel):
    """How similar pictures from anonymized windows are to those from raw ones. Chance is other people's similarity.

    Attributes:
        ssim: structural similarity, at most 1.
        psnr_db: peak signal-to-noise ratio, decibels; 100 where pictures are equal.
    """

    ssim: Figure
    psnr_db: Figure


class Faces(ReportModel):
    """How often a detector finds a face in pictures; chance: in the same pictures upside down.

    Attributes:
        windows: share of the pictures of test windows.
        recording: share of the pictures of the recording, of raw events for raw, else of published windows; chance as
            above. No interval: it is one recording. None without one.
        pictures: number of the recording's pictures.
    """

    windows: Figure
    recording: float | None = None
    recording_chance: float | None = None
    pictures: int = 0


class Replay(ReportModel):
    """The outcome of guessing the noise's seed, by an attacker who knows the weights and one raw window.

    Attributes:
        noise: whether noise is drawn; without it, the same window always gives the same result.
        guesses: number of pairs of generator and seed that were tried.
        explained: share of the noise on later windows that the best guess predicted; 0 is chance, 1 all of it.
        succeeded: whether the noise was predicted.
    """

    noise: bool
    guesses: int
    explained: Figure | None
    succeeded: bool


class Attribute(ReportModel):
    """How well a probe predicts an attribute of unseen people, or the light.

    Attributes:
        name: name of the attribute.
        probe: linear or cnn.
        classes: its possible values.
        people: number of test people.
        accuracy: balanced: the mean over the classes of the share that is right.
    """

    name: str
    probe: str
    classes: tuple[str, ...]
    people: int
    accuracy: Figure


class Outcome(ReportModel):
    """What an audit has shown of weights; no later audit can undo it.

    Attributes:
        low: the advantage that an attacker certainly has.
        linked: share of the test people who are linked with certainty.
        predicted: whether the noise was predicted.
    """

    low: float
    linked: float
    predicted: bool


class TradeOff(ReportModel):
    """How well two people with the same gestures can be told apart by an attacker who knows what each would send.

    Of all tests that call the first person the second in a share `false_alarms` of cases, the best misses the second in
    these shares of cases. Where nothing leaks, it misses 1 - `false_alarms` (f-differential privacy; Dong, Roth, Su,
    2022).

    Attributes:
        windows: number of windows published of the person.
        false_alarms: type I error.
        missed: type II error, the mean over pairs of people.
        missed_worst: the smallest of a pair.
        pairs: number of pairs.
    """

    windows: int
    false_alarms: float
    missed: float
    missed_worst: float
    pairs: int


class Information(ReportModel):
    """How many bits about a window are published with it, beyond the gesture; see `attacks.information`.

    Attributes:
        bits: I(window; published | gesture); chance is 0.
        ceiling: more than this an estimate from so few windows cannot find, bits; None where it is an upper bound.
        bits_per_second: the same per second of observation; None for whole recordings.
        trade_offs: for several numbers of windows.
    """

    bits: Figure
    ceiling: float | None
    bits_per_second: float | None
    trade_offs: tuple[TradeOff, ...]


class StrongestAttack(ReportModel):
    """An advantage, and the attack that achieved it."""

    attack: Attack
    advantage: Advantage


class PlantedLeak(ReportModel):
    """What the attackers achieved on a leak that the audit planted, to test itself; see `audit.planted`.

    Attributes:
        name: name of the leak.
        found: whether an audit would fail an anonymizer for it.
        surest: the attack whose advantage has the interval that begins highest.
        surely_linked: number of people who are linked with certainty.
    """

    name: str
    found: bool
    surest: StrongestAttack
    surely_linked: int


class Verdict(ReportModel):
    """Whether every advantage stays below the threshold.

    Attributes:
        status: exit status: 0 Pass, 1 Fail, 2 Inconclusive.
        text: the verdict and its reason.
        strongest: the highest advantage: the figure to quote.
        decisive: the advantage that is compared with the threshold: the one with the highest ceiling, or, where an
            interval lies above the threshold as a whole, the one whose interval begins highest.
        surest: the advantage that is known to be highest: whose interval begins highest.
        surely_linked: the people whom an attacker links with certainty; see `audit.evaluation.people`.
        predicted: whether the noise was predicted.
        people_needed: number of test people for the required precision, where there are too few.
    """

    status: Literal[0, 1, 2]
    text: str
    strongest: StrongestAttack
    decisive: StrongestAttack
    surest: StrongestAttack
    surely_linked: tuple[PersonLinked, ...] = ()
    predicted: bool = False
    people_needed: int | None = None


class SubjectReport(ReportModel):
    """All figures of one anonymizer.

    Attributes:
        name: name of the weights file or the rule.
        audited: whether there is a verdict.
        weights: digest of its weights (`Metadata.identity`).
        classifier: digest of the classifier whose published gestures were attacked; None without one.
        about: metadata of the weights file.
        bits_per_second: the most bits that leave in any second, whatever a stand-in has learned; None for others.
        attacks: those of all attackers of identity.
        averaging: attacks on averages, which the publishing rule prevents.
        restored: share of raw windows that the best denoiser restored.
        likeness: of pictures from its windows.
        faces: found in pictures from its windows.
        replay: the outcome of guessing the noise.
        attributes: what probes predicted.
        information: bits about a window, where codes or words are known; None for others.
        utility: of the target; None where the data has no classes.
        dominated_by: subjects with no less utility and no more leakage, and better in one of them.
        verdict: None for comparisons.
    """

    name: str
    audited: bool
    weights: str | None
    classifier: str | None = None
    about: dict[str, Any] | None
    bits_per_second: float | None = None
    attacks: tuple[Attack, ...]
    averaging: tuple[Attack, ...] = ()
    restored: Figure | None = None
    likeness: Likeness | None = None
    faces: Faces | None = None
    replay: Replay | None = None
    attributes: tuple[Attribute, ...] = ()
    information: Information | None = None
    utility: Utility | None = None
    dominated_by: tuple[str, ...] = ()
    verdict: Verdict | None = None

    @property
    def strongest(self) -> StrongestAttack:
        """The attack with the highest advantage."""
        return strongest(self.attacks)


def advantages(attacks: tuple[Attack, ...]) -> list[StrongestAttack]:
    """Return every advantage of every attack."""
    return [
        StrongestAttack(attack=attack, advantage=advantage) for attack in attacks for advantage in attack.advantages
    ]


def strongest(attacks: tuple[Attack, ...]) -> StrongestAttack:
    """Return the attack with the highest advantage, where both sides show the same gestures.

    The search of the papers leaves out windows of the same person and gesture, so it does not even see a copy.
    """
    return max(advantages(attacks), key=lambda one: (one.attack.way == "linked", one.advantage.value))


def decisive(attacks: tuple[Attack, ...]) -> StrongestAttack:
    """Return the attack with the advantage that may be highest."""
    return max(advantages(attacks), key=lambda one: one.advantage.ceiling)


def surest(attacks: tuple[Attack, ...]) -> StrongestAttack:
    """Return the attack with the advantage whose interval begins highest."""
    return max(advantages(attacks), key=lambda one: one.advantage.low)
