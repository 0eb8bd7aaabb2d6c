"""What attackers and users got, as it stands in report.json.

Shares are from 0 to 1, intervals hold 95 % and are got by drawing people. An *advantage* is what is gained over blind
guessing, 0, on the way to certainty, 1: (share right - chance) / (1 - chance). It puts finding and verifying on one
scale.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Knowledge = Literal["ignorant", "informed", "denoising", "inverting", "reconstructing", "averaging", "overlapping"]
Way = Literal["search", "linked"]


class ReportModel(BaseModel):
    """Base of all parts of a report."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(ReportModel):
    """A share, its 95 % interval, and what blind guessing gives in the very same protocol."""

    value: float
    low: float
    high: float
    chance: float

    @classmethod
    def of(cls, held: dict[str, Any]) -> Figure:
        """From a figure of `training.results`."""
        low, high = held["interval_95"]
        return cls(value=held["value"], low=low, high=high, chance=held["chance"])


class Advantage(ReportModel):
    """What is gained over blind guessing; below 0 where chance would do better, which protects nobody."""

    by: Literal["rank-1", "verification"]
    value: float
    low: float
    high: float

    @classmethod
    def of_rank(cls, rank1: Figure) -> Advantage:
        """Of a rank-1."""
        scaled = [(share - rank1.chance) / (1 - rank1.chance) for share in (rank1.value, rank1.low, rank1.high)]
        return cls(by="rank-1", value=scaled[0], low=scaled[1], high=scaled[2])

    @classmethod
    def of_error(cls, error: Figure) -> Advantage:
        """Of an equal error rate, whose chance is one half: 1 - 2 EER."""
        return cls(by="verification", value=1 - 2 * error.value, low=1 - 2 * error.high, high=1 - 2 * error.low)


class Attack(ReportModel):
    """What one attacker got in one protocol.

    Attributes:
        knowledge: ignorant, trained on raw windows; informed, trained afresh on anonymized ones; denoising, likewise
            and together with a denoiser before it; inverting, trained on raw windows and behind a denoiser that learned
            alone; reconstructing, trained on pictures of raw windows and shown those of anonymized ones; averaging,
            trained on the mean of many anonymizations of the same events; overlapping, on that of windows that overlap.
        architecture, seed: of the attacker.
        way: search, as the papers do it; linked, with the gesture held equal on both sides and another session.
        windows: of one person, whose embeddings are averaged.
        seconds: that these windows last; None of whole recordings.
        people, queries, gallery: how many there were.
        rank1, rank5, rank10, mean_average_precision: of the search.
        equal_error_rate: of the check "is it the same person?", in way linked.
        linkability: of pairs of windows, or tracks, in way linked; see `audit.verification`.
        advantages: what decides.
    """

    knowledge: Knowledge
    architecture: str
    seed: int
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
    equal_error_rate: Figure | None
    linkability: Figure | None = None
    advantages: tuple[Advantage, ...]

    @property
    def title(self) -> str:
        """Who it is, in words."""
        return f"{self.knowledge} {self.architecture}, seed {self.seed}"


class Class(ReportModel):
    """How well one class of the target is recognised."""

    name: str
    windows: int
    accuracy: float


class Utility(ReportModel):
    """What is left of the target.

    Attributes:
        retrained: accuracy of a classifier trained on anonymized windows.
        as_it_is: accuracy of one trained on raw windows.
        classes: of the retrained one.
    """

    retrained: Figure
    as_it_is: Figure
    classes: tuple[Class, ...]


class Likeness(ReportModel):
    """How like pictures from anonymized windows are to those from raw ones; chance is the like of other people's.

    Attributes:
        ssim: structural similarity, at most 1.
        psnr_db: peak signal to noise ratio, decibels; 100 where pictures are equal.
    """

    ssim: Figure
    psnr_db: Figure


class Replay(ReportModel):
    """What one got who knows the weights, saw one raw window, and guessed the seed of the noise.

    Attributes:
        noise: whether any is drawn; without, there is nothing to be guessed, and the same window gives the same again.
        guesses: how many seeds and generators were tried.
        explained: share of the noise on later windows that the best guess foretold; 0 is chance, 1 all of it.
        succeeded: whether the noise was foretold.
    """

    noise: bool
    guesses: int
    explained: Figure | None
    succeeded: bool


class Attribute(ReportModel):
    """How well a probe tells something about a person, or the light, of unseen people.

    Attributes:
        name: what is told.
        probe: linear or cnn.
        classes: what it may be.
        people: that were tested.
        accuracy: balanced over the classes: the mean of the shares that are right in each.
    """

    name: str
    probe: str
    classes: tuple[str, ...]
    people: int
    accuracy: Figure


class StrongestAttack(ReportModel):
    """One advantage, and by whom."""

    attack: Attack
    advantage: Advantage


class Verdict(ReportModel):
    """Whether the threshold is held.

    Attributes:
        status: exit status: 0 held, 1 not held, 2 could not be measured.
        text: why, in plain words.
        strongest: the highest advantage: the figure to quote.
        decisive: the advantage whose interval reaches highest: the one the threshold is held against.
        people_needed: how many test people the asked precision takes, where there are too few.
    """

    status: Literal[0, 1, 2]
    text: str
    strongest: StrongestAttack
    decisive: StrongestAttack
    people_needed: int | None = None


class SubjectReport(ReportModel):
    """All about one anonymizer.

    Attributes:
        name: of the weights file or the rule.
        audited: whether there is a verdict.
        weights: SHA-256 of its tensors.
        about: metadata of the weights file.
        attacks: what every attacker of identity got.
        averaging: what those got who average, which the publishing rule prevents.
        restored: share of what raw windows differ by that a denoiser gave back.
        likeness: of pictures from its windows.
        replay: what guessing the noise brought.
        attributes: what probes told.
        utility: of the target; None where the data has no classes.
        dominated_by: subjects that keep as much of the target and less of the person.
        verdict: where it is audited.
    """

    name: str
    audited: bool
    weights: str | None
    about: dict[str, Any] | None
    attacks: tuple[Attack, ...]
    averaging: tuple[Attack, ...] = ()
    restored: Figure | None = None
    likeness: Likeness | None = None
    replay: Replay | None = None
    attributes: tuple[Attribute, ...] = ()
    utility: Utility | None = None
    dominated_by: tuple[str, ...] = ()
    verdict: Verdict | None = None

    @property
    def strongest(self) -> StrongestAttack:
        """The highest advantage."""
        return strongest(self.attacks)


def advantages(attacks: tuple[Attack, ...]) -> list[StrongestAttack]:
    """Every advantage of every attack."""
    return [
        StrongestAttack(attack=attack, advantage=advantage) for attack in attacks for advantage in attack.advantages
    ]


def strongest(attacks: tuple[Attack, ...]) -> StrongestAttack:
    """The highest advantage."""
    return max(advantages(attacks), key=lambda found: found.advantage.value)


def decisive(attacks: tuple[Attack, ...]) -> StrongestAttack:
    """The advantage whose interval reaches highest."""
    return max(advantages(attacks), key=lambda found: found.advantage.high)
