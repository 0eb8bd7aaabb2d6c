"""report.html: one page that loads nothing, for whoever must decide whether the camera may be switched on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventveil.audit.figures import Advantage, SubjectReport
from eventveil.audit.plots import frontier, watched
from eventveil.audit.report import Report
from eventveil.audit.verdict import below_chance
from eventveil.errors import AuditError
from eventveil.training.checkpoint import write_whole

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
except ImportError:
    raise AuditError("the report needs jinja2; pip install 'eventveil[audit]'") from None

PAGE, TEMPLATE = "report.html", "page.html.j2"
WORDS = {0: "private enough, as far as was tried", 1: "not private", 2: "could not be measured"}


def write_page(folder: Path, report: Report) -> None:
    """Write report.html.

    Raises:
        TrainingError: it cannot be written.
    """
    text = page(report)
    write_whole(folder / PAGE, lambda file: file.write(text.encode()))


def page(report: Report) -> str:
    """Return the page; whatever comes from files, as names and notes, is escaped."""
    loader = PackageLoader("eventveil.audit", package_path="")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"percent": _percent, "interval": _interval}
    return environment.get_template(TEMPLATE).render(
        report=report,
        words=WORDS,
        below=any(below_chance(subject.attacks) for subject in report.subjects),
        frontier=frontier(report.subjects) if any(subject.utility for subject in report.subjects) else None,
        watched=watched(report.subjects),
        averaging=[pair for subject in report.audited if (pair := _averaging(subject)) is not None],
    )


def _averaging(subject: SubjectReport) -> tuple[str, Advantage, Advantage] | None:
    """The same attacker with one window of a person: fed once, and with the mean of many."""
    often = next((one for one in subject.averaging if one.way == "linked" and one.windows == 1), None)
    if often is None:
        return None
    once = next(
        one
        for one in subject.attacks
        if (one.knowledge, one.architecture, one.seed, one.way, one.windows)
        == ("informed", often.architecture, often.seed, often.way, often.windows)
    )
    return subject.name, once.advantages[0], often.advantages[0]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _interval(figure: Any) -> str:
    return f"{100 * figure.low:.1f} to {100 * figure.high:.1f}"
