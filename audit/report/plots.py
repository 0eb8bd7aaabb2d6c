"""Plots for the report, as SVG in data URIs: sharp at any size, with nothing to load."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from eventveil.audit.figures import Attack, CrowdFigures, SubjectReport, advantages
from eventveil.errors import AuditError
from eventveil.extras import require

with require("matplotlib", extra="audit", error=AuditError):
    # The figure alone, without pyplot, which keeps state and looks for a display.
    from matplotlib.figure import Figure


def frontier(subjects: Sequence[SubjectReport]) -> str:
    """Plot the target's accuracy against the strongest attacker's advantage; dominated subjects are hollow.

    Squares are audited subjects, circles are comparisons.
    """
    figure, axis = _figure()
    for number, subject in enumerate(subjects):
        if subject.utility is None:
            continue
        use, leak, colour = subject.utility.retrained, subject.strongest.advantage, f"C{number}"
        axis.errorbar(
            [100 * leak.value], [100 * use.value],
            xerr=_around(leak), yerr=_around(use),
            fmt="s" if subject.audited else "o", label=subject.name,
            color=colour, mfc="white" if subject.dominated_by else colour, lw=0.8, ms=6,
        )  # fmt: skip
    axis.set_xlabel("strongest attacker's advantage over blind guessing, %")
    axis.set_ylabel("gestures recognised, %")
    axis.legend(fontsize=7)
    return _svg(figure)


def observed(subjects: Sequence[SubjectReport]) -> str:
    """Plot the strongest attacker's advantage against the time for which a person is observed."""
    figure, axis = _figure()
    for subject in subjects:
        linked = [one for one in advantages(subject.attacks) if one.attack.way == "linked"]
        lengths = sorted({one.attack.windows for one in linked})
        best = [max((f for f in linked if f.attack.windows == n), key=lambda f: f.advantage.value) for n in lengths]
        x = [one.attack.seconds or one.attack.windows for one in best]
        axis.plot(x, [100 * one.advantage.value for one in best], "o-", label=subject.name, ms=4)
        axis.fill_between(
            x, [100 * f.advantage.low for f in best], [100 * f.advantage.high for f in best], alpha=0.12
        )  # fmt: skip
    axis.axhline(0, color="0.5", lw=0.8)
    axis.set_xlabel("seconds observed" if any(a.seconds for s in subjects for a in s.attacks) else "recordings")
    axis.set_ylabel("advantage, %")
    axis.legend(fontsize=8)
    return _svg(figure)


def most_linking(attacks: Sequence[Attack]) -> tuple[CrowdFigures, ...]:
    """Return the figures by crowd of the attack that links most in the largest crowd; empty if there is none."""
    tested = [attack.crowds for attack in attacks if attack.crowds]
    return max(tested, key=lambda one: (one[-1].people, one[-1].linkability.value), default=())


def crowds(subjects: Sequence[SubjectReport]) -> str:
    """Plot the linkability of the attack that links most against the size of the crowd, and blind guessing in grey."""
    figure, axis = _figure()
    for subject in subjects:
        best = most_linking(subject.attacks)
        people, linked = [one.people for one in best], [one.linkability for one in best]
        axis.plot(people, [100 * one.value for one in linked], "o-", label=subject.name, ms=4)
        axis.fill_between(people, [100 * one.low for one in linked], [100 * one.high for one in linked], alpha=0.12)
    sizes = sorted({one.people for subject in subjects for one in most_linking(subject.attacks)})
    guessing = range(2, max(sizes, default=2) + 1)
    axis.plot(guessing, [100 / people for people in guessing], color="0.5", lw=0.8)
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(people) for people in sizes])
    axis.minorticks_off()
    axis.set_xlabel("people in the crowd")
    axis.set_ylabel("linkability, %")
    axis.legend(fontsize=8)
    return _svg(figure)


def _around(figure: Any) -> list[list[float]]:
    """Return how far an interval reaches below and above its figure, in per cent."""
    return [[100 * max(0.0, figure.value - figure.low)], [100 * max(0.0, figure.high - figure.value)]]


def _figure() -> tuple[Any, Any]:
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.add_subplot()
    axis.grid(alpha=0.3)
    return figure, axis


def _svg(figure: Any) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
