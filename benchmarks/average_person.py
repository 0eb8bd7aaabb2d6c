"""Find the most average people of a look: candidates for the stand-in of a book, chosen without asking any judge.

    python benchmarks/average_person.py [--look dvs-gesture] [--seed 0] [--people 1000]

Every trait that is a number is compared with the median of all people, in units of its standard deviation; the sum of
the squares is the distance of a person from the average. People who are left-handed or wear glasses are left out,
because most do neither.
"""

from __future__ import annotations

import argparse
from dataclasses import astuple, fields

import numpy as np
from rich.console import Console
from rich.table import Table

from eventveil.replay.simulation.looks import LOOKS, look_named
from eventveil.replay.simulation.person import Person

SHOWN = 5


def distances(people: list[Person]) -> np.ndarray:
    """Return the squared distance of each person from the average."""
    numbers = [number for number, field in enumerate(fields(Person)) if field.type == "float"]
    traits = np.array([astuple(person) for person in people], object)[:, numbers].astype(float)
    spread = traits.std(axis=0)
    varied = spread > 0
    return (((traits - np.median(traits, axis=0))[:, varied] / spread[varied]) ** 2).sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--look", default="dvs-gesture", help=f"look of the people: {', '.join(LOOKS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=1000, help="how many are compared")
    options = parser.parse_args()
    people = [look_named(options.look).person(options.seed, number) for number in range(options.people)]
    far = distances(people)
    usual = [number for number, person in enumerate(people) if not (person.left_handed or person.glasses)]
    table = Table("number", "distance", "tempo", "amplitude", "hair")
    for number in sorted(usual, key=lambda number: far[number])[:SHOWN]:
        person = people[number]
        table.add_row(str(number), f"{far[number]:.1f}", f"{person.tempo:.2f}", f"{person.amplitude:.2f}", person.hair)
    Console().print(table)


if __name__ == "__main__":
    main()
