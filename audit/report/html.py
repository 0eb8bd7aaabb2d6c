"""report.html: one page, for deciding whether the camera may be switched on. certificate.html: a sheet to print.

The report is in the order of ISO/IEC 27559:2022. Page one is for a privacy officer; `summary` has its words.

It is made to be shared, so it never contains pictures of real people: those are in work/pictures.html, which is
private. Pictures of simulated people are in both; pictures of a recording are only in the private page.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from eventveil.audit.figures import Advantage, SubjectReport
from eventveil.audit.report.image_grid import SHEETS
from eventveil.audit.report.plots import crowds, frontier, most_linking, observed
from eventveil.audit.report.report import CERTIFICATE_PAGE, PAGE, AuditReport
from eventveil.audit.report.summary import (
    KINDS,
    THREATS,
    maximum_risk,
    what_is_learned,
    what_leaves,
    who_tried,
)
from eventveil.audit.report.verdict import below_chance
from eventveil.errors import AuditError
from eventveil.host.extras import require
from eventveil.stream.protocol.certificate import Signed
from eventveil.training.whole_file import write_whole

with require("jinja2", extra="audit", error=AuditError):
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

TEMPLATE = "page.html.j2"
CERTIFICATE_TEMPLATE = "certificate.html.j2"
PICTURES, PICTURES_TEMPLATE = "pictures.html", "pictures.html.j2"
WORDS = {0: "Pass (private enough against the attackers tried)", 1: "Fail (not private)", 2: "Inconclusive"}

Sheets = list[tuple[str, str]]
"""Names of picture sheets, and the sheets as data URIs."""


def write_pages(folder: Path, report: AuditReport, signed: Signed) -> None:
    """Write report.html and certificate.html, and work/pictures.html if pictures were made.

    Raises:
        TrainingError: they cannot be written.
    """
    sheets = _sheets(folder / "work" / SHEETS)
    if sheets:
        _write(folder / "work" / PICTURES, _environment().get_template(PICTURES_TEMPLATE).render(sheets=sheets))
    shown = [sheet for sheet in sheets if not sheet[0].startswith("recording-")] if report.data.simulated else []
    _write(folder / PAGE, page(report, signed, shown))
    _write(folder / CERTIFICATE_PAGE, certificate_page(report, signed))


def page(report: AuditReport, signed: Signed, sheets: Sheets) -> str:
    """Render the page. Text from files, such as names and notes, is escaped.

    Args:
        report: the report.
        signed: its certificate.
        sheets: pictures that may be shared.
    """
    assert report.data.simulated or not sheets, "pictures of real people are private"
    attacked = {attack.knowledge for subject in report.subjects for attack in subject.attacks + subject.averaging}
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            signed=signed,
            sheets=sheets,
            words=WORDS,
            threats=THREATS,
            kinds=[(kind, what) for kind, what in KINDS.items() if kind in attacked],
            leaving=lambda subject: what_leaves(subject, _bits_per_second(signed, subject)),
            learned=what_is_learned(report),
            tried=who_tried(report),
            maximum=maximum_risk,
            below=any(below_chance(subject.attacks) for subject in report.subjects),
            frontier=frontier(report.subjects) if any(subject.utility for subject in report.subjects) else None,
            observed=observed(report.subjects),
            crowds=crowds(report.subjects),
            best_crowds={subject.name: most_linking(subject.attacks) for subject in report.subjects},
            averaging=[row for subject in report.audited if (row := _averaging(subject)) is not None],
            not_tried=_not_tried(report),
        )
    )


def certificate_page(report: AuditReport, signed: Signed) -> str:
    """Render the certificate for people, to print on one sheet; the signed file is certificate.json."""
    return _environment().get_template(CERTIFICATE_TEMPLATE).render(report=report, signed=signed, words=WORDS)


def _bits_per_second(signed: Signed, subject: SubjectReport) -> float | None:
    certified = signed.certificate.about(subject.weights) if subject.weights is not None else None
    return None if certified is None else certified.bits_per_second


def _environment() -> Environment:
    loader = PackageLoader("eventveil.audit.report", package_path="")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"percent": _percent, "interval": _interval, "breakable": _breakable}
    return environment


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def _sheets(folder: Path) -> Sheets:
    return [
        (path.stem, "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode())
        for path in sorted(folder.glob("*.png"))
    ]


def _not_tried(report: AuditReport) -> list[str]:
    """Return descriptions of the attacks that this audit left out."""
    subjects = report.audited
    attacks = {
        "undoing the anonymizer": any(subject.restored for subject in subjects),
        "pictures reconstructed from windows": any(subject.likeness for subject in subjects),
        "faces in pictures": any(subject.faces for subject in subjects),
        "guessing the noise": any(subject.replay for subject in subjects),
        "attributes of people and the light": any(subject.attributes for subject in subjects),
    }
    return [text for text, tried in attacks.items() if not tried]


def _averaging(subject: SubjectReport) -> tuple[str, Advantage, dict[str, Advantage]] | None:
    """Return the advantages of one attacker with one window of a person: as published, and with averages."""
    averages = [one for one in subject.averaging if one.way == "linked" and one.windows == 1]
    if not averages:
        return None
    published = next(
        one
        for one in subject.attacks
        if (one.knowledge, one.architecture, one.seed, one.way, one.windows)
        == ("informed", averages[0].architecture, averages[0].seed, "linked", 1)
        and not one.condition
    )
    return subject.name, published.advantages[0], {one.knowledge: one.advantages[0] for one in averages}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _interval(figure: Any) -> str:
    return f"{100 * figure.low:.1f} to {100 * figure.high:.1f}"


def _breakable(text: Any) -> Markup:
    """Let a line end after an underscore or a full stop, as in names of files; a break elsewhere would split a word."""
    return Markup(str(escape(text)).replace("_", "_<wbr>").replace(".", ".<wbr>"))
