"""Ask networks that others trained on real people which gestures they see in the words of a book.

    EVENTVEIL_REAL_DATA=FOLDER python benchmarks/book_judges.py BOOK [--seconds 1.5] [--every 5]

FOLDER holds `weights/` with the networks. Each word is played as the publisher plays it, from every fifth step of its
clip on, for 1.5 s, so two of five trials run over the end of a clip of 25 steps. The trials of a word are of one clip
and overlap: they have no interval. Chance is 9.1 %. Words without a gesture have no right answer; the table lists what
the judge takes them for. `--judge FILE.py:CLASS` adds a judge (see `realism_judges.py`).
"""

from __future__ import annotations

import argparse
import runpy
from collections import Counter
from pathlib import Path

from machine import processor
from realism_judges import Judge, SinabsJudge
from rich.console import Console
from rich.table import Table

from eventveil.events import EventPacket
from eventveil.io.camera.device import concatenate
from eventveil.models.book import Book
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.training.book.sheet import title


def played(book: Book, word: int, start: int, steps: int) -> EventPacket:
    """Return the events of a word from one step of the clock on, their times from 0."""
    parts = [book.events(word, step * book.step_us) for step in range(start, start + steps)]
    events = concatenate(parts)
    return EventPacket(events.t - start * book.step_us, events.x, events.y, events.p)


def report(book: Book, judge: Judge, seconds: float, every: int) -> Table:
    steps = round(seconds * 1e6 / book.step_us)
    table = Table("word", "recognised", "else taken for", title=f"judge {judge.name}, {processor()}")
    right_words = right_trials = gestures = trials = 0
    for number, word in enumerate(book.words):
        starts = range(0, book.metadata.steps, every)
        seen = Counter(GESTURES[judge.classify(played(book, number, start, steps))] for start in starts)
        right = seen.pop(word.label, 0)
        if word.label in GESTURES:
            gestures, right_words = gestures + 1, right_words + (2 * right > len(starts))
            trials, right_trials = trials + len(starts), right_trials + right
        mistakes = ", ".join(f"{name} {times}" for name, times in seen.most_common())
        answer = f"{right} of {len(starts)}" if word.label in GESTURES else ""
        table.add_row(title(number, word), answer, mistakes)
    table.add_row("all gestures", f"{right_trials} of {trials}", f"mostly right: {right_words} of {gestures} words")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("book", type=Path)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a trial")
    parser.add_argument("--every", type=int, default=5, help="steps between the beginnings of two trials")
    parser.add_argument("--judge", action="append", default=[], metavar="FILE.py:CLASS", help="a further judge")
    options = parser.parse_args()
    book = Book.read(options.book)
    judges: list[Judge] = [SinabsJudge()]
    for name in options.judge:
        file, _, attribute = name.rpartition(":")
        judges.append(runpy.run_path(file)[attribute]())
    for judge in judges:
        Console(soft_wrap=True).print(report(book, judge, options.seconds, options.every))


if __name__ == "__main__":
    main()
