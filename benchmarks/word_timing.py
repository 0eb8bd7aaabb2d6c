"""Measure at which moments the words of a stand-in tell simulated people apart: while a gesture begins, or later.

    eventveil simulate gestures people --subjects 60 --sessions 3 --seconds 4 --seed 3
    python benchmarks/word_timing.py people [--weights shipped] [--rule delay=5 evidence=1.0] [--condition fewer-events]
    python benchmarks/word_timing.py people --learn others --condition two-people --beside third

All people make the same gestures at the same times. Their words are computed as an audit does it. A simple attacker
compares two sessions, step by step: the same word counts the more, the rarer it is at that step. The figure is how
often it prefers another session of the same person to a session of another one (chance 50 %), with its 95 % interval
by person. An audit's attackers learn, and get more. `--rule` replaces parameters of the rule, for example the most
windows by which it delays a change at random (models/decision.py); `--seed` draws other delays. `--condition` changes
the windows first, as an audit does. Its `two-people` needs `--beside`, a folder of other people, who stand to the side.

With `--learn`, two more attackers learn from a folder of other people, in the camera's usual place: an audit's linear
model (PLDA) of the words at all steps, or of how often each word follows each, reduced to their principal components.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import yaml
from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.audit.conditions import CONDITIONS, OF_WINDOWS, TWO_PEOPLE, TwoPeople
from eventveil.audit.evaluation.plda import KEPT, Plda
from eventveil.audit.stand_in import StandInSource
from eventveil.models import shipped
from eventveil.models.book import Book
from eventveil.models.metadata import Metadata
from eventveil.models.stand_in import StandIn
from eventveil.models.weights import load_weights
from eventveil.replay.datasets import open_dataset
from eventveil.stream.planning.books import BOOK
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.windows import Windows, build_in_memory
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.randomness import seed_of

BEGINNING_S = 1.0  # how long a gesture begins: what the last gesture has left in the window is gone then
console = Console(soft_wrap=True)
Integers, Floats = npt.NDArray[np.int64], npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("shipped"))
    parser.add_argument("--rule", nargs="*", default=[], metavar="KEY=VALUE", help="instead of what the weights say")
    parser.add_argument("--condition", choices=sorted({*CONDITIONS, TWO_PEOPLE} - OF_WINDOWS), help="of an audit")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="people of another seed, for two-people")
    parser.add_argument(
        "--learn", type=Path, metavar="FOLDER", help="people of another seed, for an attacker that learns"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the rule's random numbers, and of the condition")
    options = parser.parse_args()
    if (options.condition == TWO_PEOPLE) != (options.beside is not None):
        parser.error("--condition two-people and --beside FOLDER belong together")
    path = shipped.files_of(options.weights)[0]
    weights, book = load_weights(path), Book.read(path.with_name(BOOK))
    assert isinstance(weights.model, StandIn)
    rule = {key: yaml.safe_load(value) for key, value in (each.split("=") for each in options.rule)}
    config = weights.model.config = replace(weights.model.config, **rule)
    step_s = book.step_us / 1e6
    change = None
    if options.beside:
        change = TwoPeople(build_in_memory(open_dataset(options.beside).trials, shape_of(weights.metadata)))
    elif options.condition:
        change = CONDITIONS[options.condition]
    source = StandInSource(weights.model, book, change)
    words_ST, person_S, session_S, place_T = words_of(options.folder, source, weights.metadata, options.seed)
    learned = None
    if options.learn:
        usual = StandInSource(weights.model, book, None)
        learned = words_of(options.learn, usual, weights.metadata, options.seed + 1)[:3]
        if learned[0].shape[1] != words_ST.shape[1]:
            parser.error("--learn: expected sessions as long as those of FOLDER; simulate both with the same --seconds")
    begins_T = place_T < round(BEGINNING_S / step_s)
    usual_T = np.array([np.bincount(word_S).argmax() for word_S in words_ST.T])
    table = Table(
        "attacker", "steps", "two people told apart, %", "unusual words, %", title=f"{len(words_ST)} sessions"
    )
    for name, which_T in (
        ("all", np.ones(len(place_T), bool)),
        (f"the first {BEGINNING_S:g} s of each gesture", begins_T),
        ("all others", ~begins_T),
    ):
        unusual = (words_ST != usual_T)[:, which_T].mean()
        attackers = {"simple": same_words(words_ST[:, which_T])}
        if learned is not None:
            words_LT, person_L, session_L = learned
            for name_of, features in (("learned: steps", steps), ("learned: successions", successions)):
                x_LF, x_SF = (features(each[:, which_T], len(book.words)) for each in (words_LT, words_ST))
                attackers[name_of] = linear_model(x_LF, person_L, session_L, x_SF)
        for attacker, score_SS in attackers.items():
            value_P = preferred(score_SS, person_S, session_S)
            low, high = bootstrap_by_person(value_P, np.arange(len(value_P)))
            table.add_row(attacker, name, f"{value_P.mean():.1%} ({low:.1%} to {high:.1%})", f"{unusual:.1%}")
    console.print(table)
    console.print(
        f"{len(set(person_S))} people; transition {config.transition:g}, evidence {config.evidence:g}, "
        f"delay {config.delay}, seed {options.seed}; {processor()}; PyTorch {torch.__version__}"
    )


def words_of(
    folder: Path, source: StandInSource, window: Metadata, seed: int
) -> tuple[Integers, Integers, Integers, Integers]:
    """Return the words, (S, T), person and session of each row, (S,), and the place of each step in its trial, (T,)."""
    by_person: dict[str, list[object]] = {}
    for trial in open_dataset(folder).trials:
        by_person.setdefault(trial.subject, []).append(trial)
    words, people, sessions, places = [], [], [], None
    for number, trials in enumerate(by_person.values()):
        raw = build_in_memory(trials, shape_of(window))
        # Each person has a seed: delays that all have in common would hide nothing.
        word_R = source.publish(raw, seed_of(seed, "person", number), torch.device("cpu")).word_R
        for session, (first, end, place_T) in enumerate(sessions_of(raw)):
            words.append(word_R[first + window.bins - 1 : end])
            places = place_T[window.bins - 1 :]
            people.append(number)
            sessions.append(session)
    if len({len(word_T) for word_T in words}) != 1:
        raise SystemExit(
            "expected sessions of the same gestures and length, as `eventveil simulate gestures` writes them"
        )
    assert places is not None
    return np.array(words), np.array(people), np.array(sessions), places


def shape_of(window: Metadata) -> RowShape:
    """Return whole bins."""
    return RowShape.of(mode="windows", bins=window.bins, bin_us=window.bin_us, offsets=1, size=window.size, crop=None)


def sessions_of(raw: Windows) -> Iterator[tuple[int, int, Integers]]:
    """Yield the first row of each session, its end, and the place of each of its rows in its trial."""
    place_R = np.concatenate([np.arange(size) for size in np.diff(raw.first_row)])
    for first, end in np.unique(raw.session_rows, axis=0).tolist():
        yield first, end, place_R[first:end]


def same_words(words_ST: Integers) -> Floats:
    """Return how much two sessions have in common, (S, S): the same word at a step, the more the rarer it is there."""
    score_SS = np.zeros((len(words_ST), len(words_ST)))
    for word_S in words_ST.T:
        share_K = np.bincount(word_S) / len(word_S)
        same_SS = word_S[:, None] == word_S
        score_SS += np.where(same_SS, -np.log(share_K[word_S])[:, None], 0.0)
    return score_SS


def steps(words_ST: Integers, words: int) -> Floats:
    """Return which word each session has at each step, (S, T * words)."""
    return np.eye(words)[words_ST].reshape(len(words_ST), -1)


def successions(words_ST: Integers, words: int) -> Floats:
    """Return how often each word follows each in a session, (S, words * words)."""
    pair_ST = words_ST[:, :-1] * words + words_ST[:, 1:]
    return np.array([np.bincount(pair_T, minlength=words * words) for pair_T in pair_ST], np.float64)


def linear_model(x_LF: Floats, person_L: Integers, session_L: Integers, x_SF: Floats) -> Floats:
    """Return scores of pairs, (S, S), by a model of what tells the people of L apart."""
    mean_F = x_LF.mean(0)
    axes_KF = np.linalg.svd(x_LF - mean_F, full_matrices=False)[2][:KEPT]
    x_SK = (x_SF - mean_F) @ axes_KF.T
    return Plda.fit((x_LF - mean_F) @ axes_KF.T, person_L, session_L).score(x_SK, x_SK, 1)


def preferred(score_SS: Floats, person_S: Integers, session_S: Integers) -> Floats:
    """Return how often each person's sessions are preferred to those of others, (P,)."""
    other_SS = session_S[:, None] != session_S
    same_SS = person_S[:, None] == person_S
    wins: dict[int, list[float]] = {}
    for number, score_S in enumerate(score_SS):
        others_S = score_S[other_SS[number] & ~same_SS[number]]
        for own in score_S[other_SS[number] & same_SS[number]]:
            wins.setdefault(int(person_S[number]), []).append(
                float((own > others_S).mean() + (own == others_S).mean() / 2)
            )
    return np.array([np.mean(of_person) for of_person in wins.values()])


if __name__ == "__main__":
    main()
