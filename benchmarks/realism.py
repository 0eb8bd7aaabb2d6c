"""Ask networks that others trained on real people which gestures they see in simulated people.

    EVENTVEIL_REAL_DATA=FOLDER python benchmarks/realism.py [--subjects 10] [--seconds 1.5] [--seed 3] [--look plain]

FOLDER holds `weights/` with the networks and `dvs_gesture/` with real trials. Each person makes each gesture once, and
the people stand in different lights. The table has a row for each gesture, with 95 % intervals (Wilson); the interval
of the whole is by person. Chance is 9.1 %. The real trials are of one person: they show that a judge works, no more.
`--judge FILE.py:CLASS` adds a judge (see `realism_judges.py`).
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import processor
from realism_judges import SIDE, Judge, SinabsJudge
from rich.console import Console
from rich.table import Table

from eventveil.events import EventPacket, Sensor
from eventveil.io.camera.device import concatenate
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import Shot, simulate
from eventveil.replay.simulation.looks import LOOKS
from eventveil.training.evaluation.confidence import Interval, accuracy_interval, wilson


def simulated(seed: int, subjects: int, seconds: float, shot: Shot) -> Iterator[tuple[int, int, EventPacket]]:
    """Yield person, gesture and events of each trial."""
    for subject in range(1, subjects + 1):
        for gesture in range(len(GESTURES)):
            packets = simulate(seed, subject=subject, session=subject - 1, gesture=gesture, seconds=seconds, shot=shot)
            yield subject, gesture, concatenate(list(packets))


def real(folder: Path) -> dict[int, EventPacket]:
    """Return a real trial of each gesture, its times from 0."""
    trials = {}
    for trial in open_dataset(folder / "dvs_gesture").trials:
        if trial.target is not None:
            with trial.open() as packets:
                events = concatenate(list(packets))
            trials[trial.target] = replace(events, t=events.t - events.t[0])
    return trials


def with_interval(right: int, trials: int, interval: Interval) -> str:
    return f"{right} of {trials} ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"


def report(judge: str, answers: list[tuple[int, int, int]], real_answers: dict[int, int]) -> Table:
    """Return the table of one judge; `answers` are person, gesture and answer."""
    table = Table("gesture", "simulated", "else taken for", "real trial", title=f"judge {judge}, {processor()}")
    for gesture, name in enumerate(GESTURES):
        seen = Counter(answer for _, made, answer in answers if made == gesture)
        right, trials = seen.pop(gesture, 0), sum(made == gesture for _, made, _ in answers)
        mistakes = ", ".join(f"{GESTURES[answer]} {times}" for answer, times in seen.most_common())
        real_answer = GESTURES[real_answers[gesture]] if gesture in real_answers else "none"
        real_text = "recognised" if real_answers.get(gesture) == gesture else real_answer
        table.add_row(name, with_interval(right, trials, wilson(right, trials)), mistakes, real_text)
    correct = [made == answer for _, made, answer in answers]
    interval = accuracy_interval(correct, [person for person, _, _ in answers])
    right_real = sum(gesture == answer for gesture, answer in real_answers.items())
    share = f"{np.mean(correct):.0%}: " + with_interval(sum(correct), len(correct), interval)
    table.add_row("all", share, "", f"{right_real} of {len(real_answers)}")
    return table


def load_judge(name: str) -> Judge:
    file, _, attribute = name.rpartition(":")
    judge: Judge = runpy.run_path(file)[attribute]()
    return judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=10, help="number of people")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a trial")
    parser.add_argument("--seed", type=int, default=3, help="seed of the people")
    parser.add_argument("--judge", action="append", default=[], metavar="FILE.py:CLASS", help="a further judge")
    parser.add_argument("--look", default="plain", help=f"look of people and rooms: {', '.join(LOOKS)}")
    options = parser.parse_args()
    folder = os.environ.get("EVENTVEIL_REAL_DATA")
    if not folder:
        sys.exit("EVENTVEIL_REAL_DATA does not name a folder of real recordings")
    judges = [SinabsJudge(), *map(load_judge, options.judge)]
    shot = Shot(sensor=Sensor(SIDE, SIDE), look=options.look)
    trials = list(simulated(options.seed, options.subjects, options.seconds, shot))
    real_trials = real(Path(folder))
    for judge in judges:
        answers = [(subject, gesture, judge.classify(trial)) for subject, gesture, trial in trials]
        real_answers = {gesture: judge.classify(trial) for gesture, trial in sorted(real_trials.items())}
        Console(soft_wrap=True).print(report(judge.name, answers, real_answers))


if __name__ == "__main__":
    main()
