"""Anonymizes many recordings: plans the files, does what is left, and keeps the manifest."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventveil.errors import ConfigError
from eventveil.stream.archive.message_writer import EVENT_FORMATS, WRITERS
from eventveil.stream.batch.manifest import FILES, Entry, ManifestFile
from eventveil.stream.batch.recordings import Recording, repeated
from eventveil.stream.batch.work import Executor, Task, TaskOutcome
from eventveil.stream.planning.plan import PipelinePlan


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a batch.

    Attributes:
        done: files that were written now.
        earlier: files that an earlier run had written.
        windows: windows in all files.
        failed: why a recording has no file, by its name.
        omissions: how much of each recording was left out or corrected, by its name and the reason.
    """

    done: int
    earlier: int
    windows: int
    failed: dict[str, str]
    omissions: dict[str, dict[str, int]]


def anonymize_all(
    recordings: Sequence[Recording],
    out: Path,
    plan: PipelinePlan,
    form: str,
    executor: Executor,
    *,
    resume: bool = False,
    watch: Callable[[TaskOutcome], object] = lambda _: None,
) -> Result:
    """Write the anonymized file of each recording to `out/anonymized`, and `out/manifest.json`.

    Files have random names and are made in random order: neither their names nor their times say which of them show
    the same person. The manifest, which is private, says what each was made of.

    Args:
        recordings: what to anonymize.
        out: folder for the results.
        plan: plan of the networks.
        form: format of the files, a key of `eventveil.stream.archive.message_writer.WRITERS`.
        executor: does the work.
        resume: go on with an interrupted batch of the same recordings; what failed is tried again. What has a file, or
            had one, is not made again.
        watch: called with what became of each recording.

    Raises:
        ConfigError: the format does not fit the anonymizer, or the folder cannot be used.
        EventVeilError: a network failed, or a file cannot be written. The manifest says what is done.
    """
    if form in EVENT_FORMATS and plan.book is None:
        raise ConfigError(
            f"--format {form}: only a stand-in makes events, and {plan.settings.anonymize.weights} makes windows; "
            "choose hdf5, npz or mcap"
        )
    names = [(recording.name, secrets.token_hex(6) + WRITERS[form][2]) for recording in recordings]
    with ManifestFile(out, _made_of(plan, form), names, resume=resume) as manifest:
        entries = manifest.entries
        # A file is complete from the moment that it has its name, whether its process lived to note it or not; and who
        # has it may have moved it away. Neither may get another draw of the noise.
        done = {name for name, entry in entries.items() if entry.windows or (out / FILES / entry.file).exists()}
        # What an earlier run has anonymized comes first: it is its twin that is left out, whatever the order is now.
        repeats = repeated(sorted(recordings, key=lambda recording: recording.name not in done))
        done -= repeats.keys()
        for name in done:
            if entries[name].error is not None:  # it failed before it was made, and its process was killed just then
                manifest.note(entries[name].model_copy(update={"error": None}))
        for name, other in repeats.items():
            error = f"{name}: has the events of {other}, and noise or delays drawn twice can be averaged away: left out"
            manifest.note(entries[name].model_copy(update={"error": error}))
        left = [recording for recording in recordings if recording.name not in done | repeats.keys()]
        random.SystemRandom().shuffle(left)
        tasks = [Task(recording, out / FILES / entries[recording.name].file) for recording in left]
        with closing(executor.run(plan, form, tasks)) as outcomes:
            for outcome in outcomes:
                manifest.note(_entry(entries[outcome.recording], outcome))
                watch(outcome)
        failed = {name: entry.error for name, entry in entries.items() if entry.error is not None}
        windows = sum(entry.windows or 0 for entry in entries.values())
        omissions = {name: entry.omissions for name, entry in entries.items() if entry.omissions}
    return Result(len(recordings) - len(done) - len(failed), len(done), windows, failed, omissions)


def _entry(before: Entry, outcome: TaskOutcome) -> Entry:
    if outcome.error is not None:
        return before.model_copy(update={"error": outcome.error, "windows": None, "sha256": None, "omissions": {}})
    done = {"windows": outcome.windows, "sha256": outcome.sha256, "omissions": outcome.omissions}
    return before.model_copy(update={"error": None} | done)


def _made_of(plan: PipelinePlan, form: str) -> dict[str, Any]:
    """Return what all files of a batch have in common, as JSON."""
    provenance, settings = plan.provenance, plan.settings
    classify = settings.classify.model_dump(mode="json", include={"min_probability", "hold"})
    window = {name: getattr(plan.window, name) for name in ("mode", "bins", "bin_us", "hop", "size")}
    return {
        "format": form,
        "anonymizer": provenance.anonymizer,
        "classifier": provenance.classifier,
        "certificate": provenance.certificate,
        "book": provenance.book,
        "trained": provenance.trained,
        "window": window | {"size": list(plan.window.size)},
        "classify": classify | {"min_density": plan.min_density},
        "scene": settings.sources[0].scene.model_dump(mode="json"),
    }
