"""`eventveil audit`: attack an anonymizer, write a report and sign a certificate."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from eventveil.cli.options import (
    INTERRUPTED,
    AnonymizerOption,
    BookOption,
    JsonOption,
    OutFolderOption,
    ResumeOption,
    WeightsOption,
    print_json,
    say,
    set_option,
    stderr,
    stdout,
)
from eventveil.errors import AuditError
from eventveil.host.extras import require_line
from eventveil.models.shipped import key_of

if TYPE_CHECKING:
    from eventveil.audit.auditor import MakeExecutor
    from eventveil.audit.figures import Advantage, Figure
    from eventveil.audit.report.report import AuditReport
    from eventveil.audit.settings import AuditSettings
    from eventveil.audit.subjects import Subject

DEFAULT_CONFIG = "full"

DataOption = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Folder of a dataset, see docs/datasets.md [simulated people].")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(metavar="CONFIG", help="YAML file, or the name of a configuration in configs/audit/ [full]."),
]
JobsOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Attackers trained at once, in processes that share the cores [1]."),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS|auto",
        help="Train attackers on a Ray cluster whose machines all see the --out folder; --jobs is then a limit.",
    ),
]

audit = typer.Typer(invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.add_typer(audit, name="audit")


@audit.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    weights: WeightsOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    overrides: Annotated[list[str] | None, set_option("attackers.epochs=20")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Highest acceptable advantage of an attacker over blind guessing: 0 is chance, 1 certainty."),
    ] = None,
    book: BookOption = None,
    out: OutFolderOption = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM",
            help="Ed25519 private key that signs the certificate, created if missing; audits are counted in a "
            "file next to it [DIR/key.pem].",
        ),
    ] = None,
    valid_days: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=3650, help="Days from the end of the audit until its certificate is refused [365]."
        ),
    ] = None,
    resume: ResumeOption = False,
    jobs: JobsOption = None,
    ray: RayOption = None,
    json: JsonOption = False,
) -> None:
    """Measure how much identity an anonymizer leaks: train attackers on anonymized data, test them on unseen people.

    All --weights go into one report in the --out folder, with a signed certificate. One of them may be a classifier:
    the gestures that it publishes are attacked, too. The folder work/ inside --out contains raw windows and identities:
    keep it private.

    Exit status 0, Pass: the ceiling of every attacker's advantage is below the threshold. 1, Fail: an attacker is, or
    may be, above it, or single people are linked with certainty. 2, Inconclusive: the report states what would be
    needed to decide. Repeated audits of the same weights are held to stricter levels (docs/audit.md).

    For example:

    eventveil audit --weights shipped --config quick --out quick

    eventveil audit --weights anonymizer.safetensors --data people --out audit

    eventveil audit verify audit/certificate.json
    """
    if context.invoked_subcommand is not None:
        return
    require_line("eventveil audit")
    if not weights or out is None:
        raise AuditError("expected --weights FILE and --out DIR; see eventveil audit --help")
    settings = _settings(config, data, threshold, overrides or [])
    report = _audit(settings, weights, book, out, key, valid_days, _executor(jobs, ray), resume=resume)
    if json:
        print_json({"out": str(out), "status": report.status, "report": report.model_dump(mode="json")})
    else:
        _print_report(report)
    raise typer.Exit(report.status)


@audit.command("selftest")
def selftest(
    data: DataOption = None,
    config: ConfigOption = None,
    overrides: Annotated[list[str] | None, set_option("attackers.epochs=20")] = None,
    out: OutFolderOption = None,
    resume: ResumeOption = False,
    jobs: JobsOption = None,
    ray: RayOption = None,
    json: JsonOption = False,
) -> None:
    """Test whether an audit of this size finds leaks: plant a standard set of them, and attack each.

    The figures go to report.json in the --out folder. Exit status 0: all leaks are found. 2: one is missed, or the
    attackers are too weak on raw windows; an audit with the same settings and people is then inconclusive.

    For example:

    eventveil audit selftest --config quick --out selftest
    """
    require_line("eventveil audit selftest")
    from eventveil.audit.report.report import write_report
    from eventveil.audit.report.verdict import weakness
    from eventveil.audit.subjects import raw_alone

    if out is None:
        raise AuditError("expected --out DIR; see eventveil audit selftest --help")
    changes = ["against=[raw]", "selftest=true", "averaging=0", "reconstruction.weights=null", "probes.probes=[]"]
    settings = _settings(config, data, None, [*(overrides or []), *changes])
    report = _attack(settings, raw_alone(), out, out / "key.pem", _executor(jobs, ray), resume=resume)
    write_report(out, report)
    missed = [leak.name for leak in report.selftest if not leak.found]
    reason = weakness(report.subjects[0].attacks, missed, report.threshold)
    if json:
        values = {"out": str(out), "missed": missed, "reason": reason, "report": report.model_dump(mode="json")}
        print_json(values)
    else:
        _print_leaks(report)
        _paragraph("Every leak was found" if reason is None else f"Inconclusive: {reason}")
    raise typer.Exit(0 if reason is None else 2)


@audit.command("verify")
def verify(
    certificate: Annotated[
        Path,
        typer.Argument(
            metavar="CERT|NAME", help="certificate.json of an audit, or the name of weights, such as 'shipped'."
        ),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            parser=key_of,
            metavar="PEM|shipped",
            help="Public key of the auditor you trust ('shipped': of the project); without it, any signer is accepted.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="report.json that the certificate must match.")
    ] = None,
    weights: AnonymizerOption = None,
    json: JsonOption = False,
) -> None:
    """Verify the signature of a certificate, its last day, and that it covers the given report and weights.

    Ask the auditor whether the printed fingerprint is that of their own key.

    Exit status 0 if everything matches, otherwise 2. The audit's verdict is printed and does not change the status.

    For example:

    eventveil audit verify audit/certificate.json

    eventveil audit verify audit/certificate.json --key public.pem --weights anonymizer.safetensors

    eventveil audit verify shipped --key shipped --weights shipped
    """
    from eventveil.audit.report.certificate import verify as verify_certificate
    from eventveil.models import shipped
    from eventveil.stream.protocol.certificate import printable

    if shipped.is_name(certificate):
        name, certificate = certificate, shipped.certificate_of(shipped.files_of(certificate)[0])
        if not certificate.exists():
            raise AuditError(f"{name}: no certificate of these weights ships (docs/audit.md)")
    digest = None if weights is None else _digest_of(shipped.files_of(weights)[0])
    signed = verify_certificate(certificate, key=key, report=report, weights=digest)
    verified, warning = signed.certificate, signed.expiry_warning()
    if json:
        signer = {"key": signed.key, "fingerprint": signed.fingerprint}
        print_json(
            {"valid": True, "trusted": key is not None, **signer, "certificate": verified.model_dump(mode="json")}
        )
        return
    stdout.print(f"Valid signature, made {printable(verified.made)}, valid until {verified.not_after}", markup=False)
    stdout.print(f"Key {signed.key}, fingerprint {signed.fingerprint}", markup=False)
    if key is None:
        stdout.print("The owner of this key is unverified: give the key you trust with --key", markup=False)
    if warning is not None:
        say(f"eventveil: {warning}")
    if verified.simulated:
        stdout.print("The evidence is about simulated people only: it shows nothing about real people", markup=False)
    if verified.look > 1:
        stdout.print(f"It was audit {verified.look} of these weights with this key", markup=False)
    for subject in verified.subjects:
        text = f"{subject.name} (digest {(subject.weights or 'none')[:16]}): {subject.verdict}"
        stdout.print(printable(text), markup=False)


def _digest_of(weights: Path) -> str:
    require_line("--weights, whose tensors are verified,")
    from eventveil.models.weights import load_weights

    return load_weights(weights).digest


def _settings(config: Path | None, data: Path | None, threshold: float | None, overrides: list[str]) -> AuditSettings:
    from eventveil.audit.settings import AuditSettings
    from eventveil.config import checked, find_config, packaged_configs, read_yaml

    changes = [] if data is None else [f"data.root={_quote(data)}", "data.simulate=null"]
    changes += [] if threshold is None else [f"threshold={threshold}"]
    path = packaged_configs("audit")[DEFAULT_CONFIG] if config is None else find_config(config, "audit")
    values = read_yaml(path, AuditSettings)
    return checked(AuditSettings, values, [*changes, *overrides], name=str(path), example="attackers.epochs=20")


def _quote(path: Path) -> str:
    """Quote a path as a YAML string."""
    return "'" + str(path).replace("'", "''") + "'"


def _audit(
    settings: AuditSettings,
    weights: list[Path],
    book: Path | None,
    out: Path,
    key: Path | None,
    valid_days: int | None,
    make_executor: MakeExecutor,
    *,
    resume: bool,
) -> AuditReport:
    from eventveil.audit.report.certificate import certify, signing_key
    from eventveil.audit.report.html import write_pages
    from eventveil.audit.report.report import write_report
    from eventveil.audit.subjects import read_books, read_weights, subjects_of, with_windows_of
    from eventveil.stream.protocol.certificate import VALID_DAYS

    anonymizers, classifier = read_weights(weights)
    settings = with_windows_of(settings, next(iter(anonymizers.values())))
    subjects = subjects_of(anonymizers, classifier, settings, read_books(weights, anonymizers, book))
    key = key or out / "key.pem"
    if key.exists():
        signing_key(key)  # fail now, not after a night of attacks
    report = _attack(settings, subjects, out, key, make_executor, resume=resume)
    write_report(out, report)
    signed = certify(out, report, key, valid_days or VALID_DAYS)
    write_pages(out, report, signed)
    say(f"eventveil: certified until {signed.certificate.not_after}; fingerprint of the key: {signed.fingerprint}")
    say(f"eventveil: done; the report is in {out}. {out / 'work'} contains raw windows and identities: keep it private")
    return report


def _attack(
    settings: AuditSettings, subjects: list[Subject], out: Path, key: Path, make_executor: MakeExecutor, *, resume: bool
) -> AuditReport:
    from eventveil.audit.audit_log import AuditLog
    from eventveil.audit.auditor import Auditor
    from eventveil.audit.execution.progress import AuditProgress
    from eventveil.cli.retention import windows_kept
    from eventveil.training.engine.loop import Interrupted

    command = shlex.join(["eventveil", *sys.argv[1:]])
    try:
        kept = windows_kept(out / "work", keep=settings.run.keep_windows, cache=settings.data.cache)
        with kept, AuditProgress(stderr) as progress:
            return Auditor(settings, subjects, out, progress, AuditLog(key), resume=resume).run(make_executor, command)
    except (Interrupted, KeyboardInterrupt):
        say(f"eventveil: stopped; {out} holds all results so far. To continue, repeat the command with --resume")
        raise typer.Exit(INTERRUPTED) from None


def _executor(jobs: int | None, ray: str | None) -> MakeExecutor:
    if ray is not None:
        from eventveil.audit.execution.ray import RayExecutor

        return lambda plan, _: RayExecutor(plan, ray, jobs)
    from eventveil.audit.execution.executors import InProcessExecutor, ProcessExecutor

    return lambda plan, progress: (
        InProcessExecutor(plan, progress.moved) if jobs in (None, 1) else ProcessExecutor(plan, jobs or 1)
    )


def _print_report(report: AuditReport) -> None:
    """Print the figures in 80 columns, the strongest attacks, and the verdicts last, where readers look first."""
    columns = [Column(name, justify="right", no_wrap=True) for name in ("advantage", "EER", "retrained", "unchanged")]
    table = Table("anonymizer", *columns, box=SIMPLE, title="Unseen people, per cent; below, the 95 % interval")
    for subject in report.subjects:
        utility = subject.utility
        errors = [attack.equal_error_rate for attack in subject.attacks if attack.equal_error_rate is not None]
        table.add_row(
            subject.name,
            _cell(subject.strongest.advantage),
            _cell(min(errors, key=lambda error: error.value, default=None)),
            _cell(utility.retrained if utility else None),
            _cell(utility.as_it_is if utility else None),
        )
    stdout.print(table, soft_wrap=False)
    chances = {f"{100 * subject.utility.retrained.chance:.1f}" for subject in report.subjects if subject.utility}
    chance = f" (chance: {', '.join(sorted(chances))})" if chances else ""
    _paragraph(
        "advantage: of the strongest attacker over blind guessing; 0 is guessing, 100 certainty. EER: lowest equal "
        f"error rate of identity verification; chance: 50. Gestures recognised{chance}: by a classifier retrained on "
        "anonymized windows, and by an unchanged one, trained on raw windows.\n"
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


def _print_leaks(report: AuditReport) -> None:
    """Print whether each planted leak was found, and by whom."""
    table = Table("leak", "found", "by", Column("advantage", justify="right", no_wrap=True), box=SIMPLE)
    for leak in report.selftest:
        attack = leak.surest.attack
        by = f"{attack.title}, {attack.windows} window(s)"
        found = f"yes, {leak.surely_linked} linked" if leak.surely_linked else "yes" if leak.found else "NO"
        table.add_row(leak.name, found, by, _cell(leak.surest.advantage))
    stdout.print(table, soft_wrap=False)
