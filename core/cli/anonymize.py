"""`eventveil anonymize`: turn recordings, folders and datasets into anonymized files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventveil.cli.networks import CertificateOption, UntrainedOption, with_networks
from eventveil.cli.options import (
    INTERRUPTED,
    BookOption,
    JsonOption,
    OutFolderOption,
    ResumeOption,
    SensorOption,
    WeightsOption,
    damage_option,
    disorder_option,
    print_json,
    say,
    set_option,
)
from eventveil.errors import ConfigError
from eventveil.host.extras import require_line

if TYPE_CHECKING:
    from eventveil.stream.batch.anonymize import Result
    from eventveil.stream.batch.work import Executor
    from eventveil.stream.planning.plan import PipelinePlan
    from eventveil.stream.settings.pipeline import PipelineSettings

GROUPS = ("window", "anonymize", "classify", "scene")
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="hdf5|npz|mcap|aedat4|evt3",
        help="Format of the files: windows and gestures, or the events of a stand-in.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("anonymize")(anonymize)


def anonymize(
    recordings: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...",
            help="Recordings, folders of recordings, or datasets (dvs-gesture:PATH, see:PATH, event-reid:PATH, with "
            "?split=test for one split).",
        ),
    ],
    out: OutFolderOption = None,
    weights: WeightsOption = None,
    book: BookOption = None,
    form: FormatOption = "hdf5",
    sensor: SensorOption = None,
    on_disorder: Annotated[str | None, disorder_option()] = None,
    on_damage: Annotated[str | None, damage_option()] = None,
    allow_untrained: UntrainedOption = False,
    certificate: CertificateOption = None,
    resume: ResumeOption = False,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Recordings anonymized at once, in processes that share the cores [1]."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|auto",
            help="Work on a Ray cluster whose machines all see the recordings and --out; --jobs is then a limit.",
        ),
    ] = None,
    overrides: Annotated[list[str] | None, set_option("scene.rotate=90")] = None,
    json: JsonOption = False,
) -> None:
    """Anonymize recordings: for each, write a file with what a pipeline would publish of it.

    DIR/anonymized holds the files, under random names. DIR/manifest.json says which recording became which file, with
    the digests of recordings and weights: keep it private.

    The stages and checks are those of `eventveil run`. Noise is new in each run, so anonymize a recording only once:
    two versions of it could be averaged.

    A recording that cannot be read is reported and left out; the exit status is then 1. --resume continues after
    an interruption and tries failed recordings again.

    For example:

    eventveil anonymize trial.aedat4 --weights shipped --out trial

    eventveil anonymize see:data/SEE --weights shipped --out see --format npz --jobs 2

    eventveil anonymize visits --weights stand_in.safetensors --out visits-anonymous --format aedat4
    """
    require_line("eventveil anonymize")
    if out is None:
        raise ConfigError("expected --out DIR, the folder for anonymized files")
    from eventveil.cli.progress import DelayedProgress
    from eventveil.stream.archive.message_writer import WRITERS
    from eventveil.stream.batch.anonymize import anonymize_all
    from eventveil.stream.batch.recordings import find_recordings
    from eventveil.stream.planning.planner import plan_networks

    if form not in WRITERS:
        raise ConfigError(f"--format {form}: expected {', '.join(WRITERS)}")
    source = {
        "uri": recordings[0],
        "sensor": sensor and str(sensor),
        "on_disorder": on_disorder,
        "on_damage": on_damage,
    }
    settings = _settings({key: value for key, value in source.items() if value is not None}, overrides or [])
    found = find_recordings(recordings, settings.sources[0])
    changes = {"book": book, "certificate": certificate, "allow_untrained": allow_untrained or None}
    plan = plan_networks(with_networks(settings, weights or [], None, changes))
    _say_remarks(plan)
    executor = _executor(jobs, ray)
    try:
        with DelayedProgress("recordings", len(found)) as progress:
            result = anonymize_all(found, out, plan, form, executor, resume=resume, watch=lambda _: progress.count())
    except KeyboardInterrupt:
        say("eventveil: interrupted; to continue, repeat the command with --resume")
        raise typer.Exit(INTERRUPTED) from None
    _report(result, out, json=json)


def _settings(source: dict[str, Any], overrides: list[str]) -> PipelineSettings:
    """Return the settings of a pipeline with one source, which stands for all recordings."""
    from eventveil.config import run_settings

    for override in overrides:
        if override.partition("=")[0].partition(".")[0] not in GROUPS:
            raise ConfigError(f"--set {override}: expected a key of {', '.join(GROUPS)}, as in scene.rotate=90")
    overrides = [f"sources.0.{override}" if override.startswith("scene.") else override for override in overrides]
    return run_settings({"sources": [source]}, overrides, name="eventveil anonymize")


def _executor(jobs: int | None, ray: str | None) -> Executor:
    if ray is not None:
        from eventveil.stream.batch.ray import OnRay

        return OnRay(ray, jobs)
    if jobs is None or jobs == 1:
        from eventveil.stream.batch.work import InProcess

        return InProcess()
    from eventveil.stream.batch.processes import InProcesses

    return InProcesses(jobs)


def _say_remarks(plan: PipelinePlan) -> None:
    if not plan.provenance.trained:
        say("eventveil: THE ANONYMIZER IS UNTRAINED: the files protect no one (--allow-untrained)")
    if plan.book is not None:
        say(f"eventveil: {plan.book.summary}")
    for remark in plan.remarks:
        say(f"eventveil: {remark}")


def _report(result: Result, out: Path, *, json: bool) -> None:
    """Print the result; end with status 1 if recordings failed."""
    from eventveil.cli.progress import FaultReporter

    if json:
        failed = [{"recording": name, "error": error} for name, error in result.failed.items()]
        counts = {"done": result.done, "earlier": result.earlier, "windows": result.windows}
        print_json({"out": str(out)} | counts | {"failed": failed, "omissions": result.omissions})
    for name, omissions in result.omissions.items():
        for reason, count in omissions.items():
            say(f"{name}: {reason}: {count}")
    faults = FaultReporter()
    for error in result.failed.values():
        faults.report(error)
    earlier = f", and {result.earlier} earlier" if result.earlier else ""
    text = f"{result.windows:,} windows in all, {len(result.failed)} failed"
    say(f"{out}: {result.done} recordings anonymized{earlier}; {text}")
    faults.finish()
