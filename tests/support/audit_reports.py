"""A report of an audit, written by hand, for tests of the page, the terminal output and the certificate."""

from __future__ import annotations

from datetime import UTC, datetime

from eventveil.audit.figures import (
    Advantage,
    Attack,
    Attribute,
    Class,
    CrowdFigures,
    Faces,
    Figure,
    Information,
    Likeness,
    PlantedLeak,
    Replay,
    SubjectReport,
    TradeOff,
    Utility,
    surest,
)
from eventveil.audit.planted import LEAKS
from eventveil.audit.report.certificate import certify
from eventveil.audit.report.report import AuditReport, Data, Made, Repeated, write_report
from eventveil.audit.report.verdict import decide

TENSORS = "ab" * 32


def attack(value, way="linked", windows=1, knowledge="informed"):
    share = Figure(value=0.2, low=0.1, high=0.3, chance=0.1)
    error = Figure(value=0.4, low=0.3, high=0.5, chance=0.5) if way == "linked" else None
    advantage = Advantage(by="rank-1", value=value, low=value - 0.03, high=value + 0.03, ceiling=value + 0.03)
    return Attack(
        knowledge=knowledge, architecture="plain", seed=0, way=way, windows=windows, seconds=float(windows),
        people=40, queries=100, gallery=200, rank1=share, rank5=share, rank10=share, mean_average_precision=share,
        equal_error_rate=error, advantages=(advantage,),
        crowds=tuple(
            CrowdFigures(people=people, linkability=share, singling_out=None if people == 2 else share)
            for people in (2, 40)
        ) if way == "linked" else (),
    )  # fmt: skip


def subject(name, leak, *, audited=False, use=0.9):
    attacks = (attack(-0.2, "search"), attack(leak), attack(leak, windows=5))
    figure = Figure(value=use, low=use - 0.1, high=min(1.0, use + 0.05), chance=0.1)
    return SubjectReport(
        name=name, audited=audited, weights=TENSORS if audited else None,
        about={"note": "<b>note</b>", "trained": False} if audited else None, attacks=attacks,
        averaging=(attack(0.5, knowledge="averaging"), attack(0.2, knowledge="overlapping")) if audited else (),
        utility=Utility(retrained=figure, as_it_is=figure, classes=(Class(name="a <clap>", windows=3, accuracy=0.5),)),
        verdict=decide(attacks, (attack(0.8),), threshold=0.1, precision=0.05) if audited else None,
    )  # fmt: skip


def report():
    made = Made.of(datetime.now(UTC).isoformat(timespec="seconds"), "eventveil audit <script>", 60.0, "cpu")
    data = Data(
        kind="dvs-gesture", layout="x", simulated=False, people={"train": 60, "val": 8, "test": 40},
        trials={"train": 1, "val": 1, "test": 1}, sessions=80, classes=("a <clap>",), index="1" * 64, split="2" * 64,
    )  # fmt: skip
    return AuditReport(
        made=made, evidence=True, threshold=0.1, precision=0.05, people_linked=0.0, look=1, settings={"averaging": 10},
        data=data,
        subjects=(subject("raw", 0.8), subject("hidden<i>", 0.04, audited=True), subject("bare", 0.5, audited=True)),
    )  # fmt: skip


def figure(value, chance=0.0):
    return Figure(value=value, low=value - 0.1, high=value + 0.1, chance=chance)


def signed(report, folder):
    """Write a report into a folder, and return its certificate."""
    write_report(folder, report)
    return certify(folder, report, folder / "key.pem")


def simulated(report):
    """Return the data of a report, with simulated people."""
    return report.data.model_copy(update={"simulated": True})


def with_everything(report):
    """Return a report with everything that a page can show, and long names."""
    raw, hidden, bare = report.subjects
    shown = {
        "restored": figure(0.12),
        "likeness": Likeness(ssim=figure(0.25, 0.2), psnr_db=figure(11.0, 10.5)),
        "faces": Faces(windows=figure(0.12, 0.1), recording=0.5, recording_chance=0.1, pictures=40),
        "information": Information(
            bits=figure(0.5),
            ceiling=7.0,
            bits_per_second=0.5,
            trade_offs=tuple(
                TradeOff(windows=windows, false_alarms=0.1, missed=0.8, missed_worst=0.3, pairs=40)
                for windows in (1, 10, 60)
            ),
        ),
        "replay": Replay(noise=True, guesses=768, explained=figure(0.01), succeeded=False),
        "attributes": tuple(
            Attribute(name=name, probe=probe, classes=("one", "other"), people=40, accuracy=figure(0.6, 0.5))
            for name in ("glasses", "height", "light")
            for probe in ("linear", "cnn")
        ),
        "name": "noisy_channel-2026-with-a-long-name",
    }
    found = [
        PlantedLeak(name=leak.name, found=number > 1, surest=surest(raw.attacks), surely_linked=number)
        for number, leak in enumerate(LEAKS)
    ]
    return report.model_copy(
        update={
            "subjects": (raw, hidden.model_copy(update=shown), bare),
            "data": simulated(report),
            "selftest": tuple(found),
            "repeated": (Repeated(job="informed plain, seed 0, on raw", reasons=("its worker is gone",)),),
        }
    )
