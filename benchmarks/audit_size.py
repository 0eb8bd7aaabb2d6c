"""Measure how often an audit of this size could pass if its attackers learned nothing: random scores, whole visits.

    python benchmarks/audit_size.py --people 230 --visits 5

Each visit of a person is compared with all people's other visits, as the audit compares them ("linked", in sequences
that last a whole visit), but by random scores. The ceiling of the choice between two people must stay below the
threshold. An audit has several attackers, and the highest ceiling counts, so the real share is lower.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from eventveil.audit.evaluation.betting import by_person, ceiling, level_of
from eventveil.audit.evaluation.crowd import best_of_person, wins_over_another

FEATURES = 8  # a score is the product of this many random numbers of either visit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[180])
    parser.add_argument("--visits", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--audits", type=int, default=100)
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = Table("people", "visits", "advantage", "ceiling, mean", "ceiling, 90 % quantile", "audits that could pass")
    generator = np.random.default_rng(options.seed)
    for people in options.people:
        for visits in options.visits:
            results = [random_audit(people, visits, generator) for _ in range(options.audits)]
            advantage_A, ceiling_A = np.array(results).T
            table.add_row(
                str(people), str(visits), f"{advantage_A.mean():.1%} ± {advantage_A.std():.1%}",
                f"{ceiling_A.mean():.1%}", f"{np.quantile(ceiling_A, 0.9):.1%}",
                f"{(ceiling_A < options.threshold).mean():.0%}",
            )  # fmt: skip
    Console().print(table)


def random_audit(people: int, visits: int, generator: np.random.Generator) -> tuple[float, float]:
    """Return the advantage of random scores in the choice between two people, and its ceiling in the first audit."""
    person_T = np.repeat(np.arange(people), visits)
    visit_T = np.tile(np.arange(visits), people)
    embedding_TE = generator.normal(size=(len(person_T), FEATURES))
    best_TP = best_of_person(embedding_TE @ embedding_TE.T, person_T, visit_T[:, None] == visit_T, people)
    wins_P = by_person(wins_over_another(best_TP, person_T), person_T)
    return 2 * float(wins_P.mean()) - 1, 2 * ceiling(wins_P, level_of(1)) - 1


if __name__ == "__main__":
    main()
