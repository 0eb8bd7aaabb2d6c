"""The command `eventveil audit`: attackers on an anonymizer, a report, and a certificate."""

from __future__ import annotations

import shlex
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from eventveil.cli.options import JsonOption, print_json, say, stderr, stdout
from eventveil.errors import AuditError

if TYPE_CHECKING:
    from eventveil.audit.auditor import MakeExecutor
    from eventveil.audit.figures import Advantage, Figure
    from eventveil.audit.report.report import AuditReport
    from eventveil.audit.settings import AuditSettings

INTERRUPTED = 130  # exit status: 128 and the number of SIGINT, as shells have it
FULL = "audit/full.yaml"

audit = typer.Typer(invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.add_typer(audit, name="audit")


@audit.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    weights: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE|shipped", help="Weights of an anonymizer. May be repeated: all go into one report."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder of a dataset, see docs/datasets.md.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="YAML", help="As in configs/audit/; full.yaml without this.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key: attackers.epochs=20.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Highest advantage over blind guessing that is private enough: 0 is chance, 1 certainty."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report goes, and below work/ what is private.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Ed25519 private key that signs; DIR/key.pem without this. Made if missing."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where DIR stands.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Attackers at once, in processes that share the cores; with --ray at most so many."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|auto", help="Train attackers on a Ray cluster, all of whose machines see DIR."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tell how much of a person gets through an anonymizer: train attackers on it, and test them on unseen people.

    Exit status 0: even the upper end of the strongest attacker's 95 % interval is below the threshold. 1: it is not.
    2: it could not be measured, and what it would take is said.

    Example:  eventveil audit --weights anonymizer.safetensors --data people --out audit

    A signed certificate is checked with:  eventveil audit verify audit/certificate.json
    """
    if context.invoked_subcommand is not None:
        return
    if not weights or out is None:
        raise AuditError("expected --weights FILE and --out DIR; see eventveil audit --help")
    settings = _settings(config, data, threshold, overrides or [])
    report = _audited(settings, weights, out, key, _executor(jobs, ray), resume=resume)
    if json:
        print_json({"out": str(out), "status": report.status, "report": report.model_dump(mode="json")})
    else:
        _print(report)
    raise typer.Exit(report.status)


@audit.command("verify")
def verify(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="certificate.json of an audit.")],
    key: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Key of whom you trust; without it anybody may have signed."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="report.json that it must be of.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights that it must be about.")] = None,
    json: JsonOption = False,
) -> None:
    """Check the signature of a certificate, and what it is about.

    Exit status 0 where all that was asked for holds, 2 where it does not; what the verdict was is said, not judged.

    Example:  eventveil audit verify audit/certificate.json --key public.pem --weights anonymizer.safetensors
    """
    from eventveil.audit.report.certificate import verify as hold
    from eventveil.models.weights import load_weights

    about = None if weights is None else load_weights(weights).digest
    held = hold(certificate, key=key, report=report, weights=about)
    if json:
        print_json({"valid": True, "trusted": key is not None, "certificate": held.model_dump(mode="json")})
        return
    stdout.print(f"The signature holds. Signed {held.made} with key {held.public_key}", markup=False)
    if key is None:
        stdout.print("Whose key that is, nothing here tells: name the one you trust with --key", markup=False)
    for one in held.subjects:
        stdout.print(f"{one.name} (tensors {(one.weights or 'none')[:16]}): {one.verdict}", markup=False)


def _settings(config: Path | None, data: Path | None, threshold: float | None, overrides: list[str]) -> AuditSettings:
    from eventveil.audit.settings import AuditSettings
    from eventveil.config import checked, read_yaml

    changes = [] if data is None else [f"data.root={_quoted(data)}", "data.simulate=null"]
    changes += [] if threshold is None else [f"threshold={threshold}"]
    with as_file(files("eventveil.configs") / FULL) as full:
        path = config or full
        values = read_yaml(path, AuditSettings)
        return checked(AuditSettings, values, [*changes, *overrides], name=str(path), example="attackers.epochs=20")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"  # as YAML has it


def _audited(
    settings: AuditSettings,
    weights: list[Path],
    out: Path,
    key: Path | None,
    make_executor: MakeExecutor,
    *,
    resume: bool,
) -> AuditReport:
    from eventveil.audit.auditor import Auditor
    from eventveil.audit.execution.progress import AuditProgress
    from eventveil.audit.report.certificate import certify
    from eventveil.audit.report.html import write_pages
    from eventveil.audit.report.report import write_report
    from eventveil.audit.subjects import read_weights, subjects_of, with_windows_of
    from eventveil.training.engine.loop import Interrupted

    held = read_weights(weights)
    settings = with_windows_of(settings, next(iter(held.values())))
    subjects = subjects_of(held, settings)
    command = shlex.join(["eventveil", *sys.argv[1:]])
    try:
        with AuditProgress(stderr) as board:
            report = Auditor(settings, subjects, out, board, resume=resume).run(make_executor, command)
    except (Interrupted, KeyboardInterrupt):
        say(f"eventveil: stopped; {out} holds all that was done. Go on with the same command and --resume")
        raise typer.Exit(INTERRUPTED) from None
    write_report(out, report)
    write_pages(out, report)
    certify(out, report, key or out / "key.pem")
    say(f"eventveil: done; {out} holds the report. {out / 'work'} holds raw windows and who is who: it is private")
    return report


def _executor(jobs: int | None, ray: str | None) -> MakeExecutor:
    if ray is not None:
        from eventveil.audit.execution.ray import RayExecutor

        return lambda plan, _: RayExecutor(plan, ray, jobs)
    from eventveil.audit.execution.executors import InProcessExecutor, ProcessExecutor

    return lambda plan, board: (
        InProcessExecutor(plan, board.moved) if jobs in (None, 1) else ProcessExecutor(plan, jobs or 1)
    )


def _print(report: AuditReport) -> None:
    """Figures that fit into 80 columns, who was the strongest, and the verdicts last, where one looks first."""
    figures = [Column(name, justify="right") for name in ("advantage", "EER", "retrained", "as it is")]
    table = Table("anonymizer", *figures, box=SIMPLE, title="Unseen people, per cent; below, the 95 % interval")
    for subject in report.subjects:
        use = subject.utility
        errors = [attack.equal_error_rate for attack in subject.attacks if attack.equal_error_rate is not None]
        table.add_row(
            subject.name,
            _cell(subject.strongest.advantage),
            _cell(min(errors, key=lambda error: error.value, default=None)),
            _cell(use.retrained if use else None),
            _cell(use.as_it_is if use else None),
        )
    stdout.print(table, soft_wrap=False)
    chances = {f"{100 * subject.utility.retrained.chance:.1f}" for subject in report.subjects if subject.utility}
    guess = f" (by chance {', '.join(sorted(chances))})" if chances else ""
    _paragraph(
        "advantage: of the strongest attacker over blind guessing; 0 is guessing, 100 certainty. EER: lowest error of "
        f"a check whether two are the same person; by chance 50. Gestures recognised{guess}: by a classifier retrained "
        "on anonymized windows, and as it is by one of raw windows.\n"
    )
    for subject in report.subjects:
        attack, by = subject.strongest.attack, subject.strongest.advantage.by
        seconds = "" if attack.seconds is None else f" ({attack.seconds:g} s)"
        better = f"; dominated by {', '.join(subject.dominated_by)}" if subject.dominated_by else ""
        _paragraph(f"{subject.name}: {attack.title}, by {by} from {attack.windows} window(s){seconds}{better}")
    for subject in report.audited:
        if subject.verdict is not None:
            _paragraph(f"\n{subject.name}: {subject.verdict.text}")


def _paragraph(text: str) -> None:
    stdout.print(text, markup=False, soft_wrap=False)


def _cell(figure: Figure | Advantage | None) -> str:
    return "-" if figure is None else f"{100 * figure.value:.1f}\n{100 * figure.low:.0f} to {100 * figure.high:.0f}"
