"""Plots for the report, as SVG in data URIs: sharp at any size, with nothing to load."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from eventveil.audit.figures import Advantage, Attack, CrowdFigures, Figure, SubjectReport, advantages
from eventveil.errors import AuditError
from eventveil.figures.plotting import CHANCE, GUESSING, draw_legend, draw_line, draw_point, new_figure
from eventveil.host.extras import require

with require("matplotlib", extra="audit", error=AuditError):
    import matplotlib  # noqa: F401 - so that a missing package is noticed now, not after the hours of an audit


def frontier(subjects: Sequence[SubjectReport]) -> str:
    """Plot the target's accuracy against the strongest attacker's advantage; dominated subjects are hollow.

    Squares are audited subjects, circles are comparisons. At least one subject must have a `utility`.
    """
    figure, axis = _figure()
    for number, subject in enumerate(subjects):
        if subject.utility is None:
            continue
        use, leak, colour = subject.utility.retrained, subject.strongest.advantage, f"C{number}"
        draw_point(
            axis, 100 * leak.value, 100 * use.value, x_interval=_percent(leak), y_interval=_percent(use),
            fmt="s" if subject.audited else "o", label=subject.name,
            color=colour, mfc="white" if subject.dominated_by else colour,
        )  # fmt: skip
    axis.axvline(0, **CHANCE, label=GUESSING)
    for chance in {subject.utility.retrained.chance for subject in subjects if subject.utility is not None}:
        axis.axhline(100 * chance, **CHANCE)
    axis.set_xlabel("strongest attacker's advantage over blind guessing, %")
    axis.set_ylabel("gestures recognised, %")
    draw_legend(axis)
    return _svg(figure)


def observed(subjects: Sequence[SubjectReport]) -> str:
    """Plot the strongest attacker's advantage against the time for which a person is observed."""
    figure, axis = _figure()
    for subject in subjects:
        linked = [one for one in advantages(subject.attacks) if one.attack.way == "linked"]
        lengths = sorted({one.attack.windows for one in linked})
        best = [max((f for f in linked if f.attack.windows == n), key=lambda f: f.advantage.value) for n in lengths]
        x = [one.attack.seconds or one.attack.windows for one in best]
        _line(axis, x, [one.advantage for one in best], subject.name)
    axis.axhline(0, **CHANCE, label=GUESSING)
    axis.set_xlabel("seconds observed" if any(a.seconds for s in subjects for a in s.attacks) else "recordings")
    axis.set_ylabel("advantage, %")
    draw_legend(axis)
    return _svg(figure)


def most_linking(attacks: Sequence[Attack]) -> tuple[CrowdFigures, ...]:
    """Return the figures by crowd of the attack that links most in the largest crowd; empty if there is none."""
    tested = [attack.crowds for attack in attacks if attack.crowds]
    return max(tested, key=lambda one: (one[-1].people, one[-1].linkability.value), default=())


def crowds(subjects: Sequence[SubjectReport]) -> str:
    """Plot the linkability of the attack that links most against the size of the crowd."""
    figure, axis = _figure()
    for subject in subjects:
        best = most_linking(subject.attacks)
        _line(axis, [one.people for one in best], [one.linkability for one in best], subject.name)
    sizes = sorted({one.people for subject in subjects for one in most_linking(subject.attacks)})
    guessing = range(2, max(sizes, default=2) + 1)
    axis.plot(guessing, [100 / people for people in guessing], **CHANCE, label=GUESSING)
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(people) for people in sizes])
    axis.minorticks_off()
    axis.set_xlabel("people in the crowd")
    axis.set_ylabel("linkability, %")
    draw_legend(axis)
    return _svg(figure)


def _percent(figure: Figure | Advantage) -> tuple[float, float]:
    return 100 * figure.low, 100 * figure.high


def _line(axis: Any, x: Sequence[float], figures: Sequence[Figure | Advantage], label: str) -> None:
    low, high = zip(*map(_percent, figures), strict=True) if figures else ((), ())
    draw_line(axis, x, [100 * one.value for one in figures], low, high, label)


def _figure() -> tuple[Any, Any]:
    figure, (axis,) = new_figure(5.2, 3.6)
    return figure, axis


def _svg(figure: Any) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
