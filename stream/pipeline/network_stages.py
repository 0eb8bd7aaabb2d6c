"""The stages with a network: anonymize and classify. Each is made and warmed up before it reports that it is ready."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from eventveil.errors import WeightsError
from eventveil.host.processes import return_free_memory
from eventveil.stream.pipeline.worker import StageContext
from eventveil.stream.runtime.relay import Relay
from eventveil.stream.runtime.stage import Transform
from eventveil.stream.runtime.windows import Seal
from eventveil.stream.settings.models import ModelSettings
from eventveil.stream.stages.transform import AnonymizeTransform, ChooseWordTransform, ClassifyTransform

if TYPE_CHECKING:
    from eventveil.models.precision import AnyRuntime
    from eventveil.models.weights import Weights


def run_anonymize(stage: StageContext, key: bytes) -> None:
    """Anonymize windows."""
    # torch is imported only where networks run: the other processes of a pipeline stay small.
    from eventveil.models.runtime import Anonymizer

    settings, provenance = stage.plan.settings.anonymize, stage.plan.provenance
    if stage.plan.book is not None:
        _choose_words(stage, Seal(key), stage.plan.book.step_us)
        return
    certified = provenance.certificate is not None
    # No variable holds the weights here: the runtime copies them, and their memory is returned before windows come.
    runtime = _started(
        stage, partial(Anonymizer, _load(settings, provenance.anonymizer)), settings, certified=certified
    )
    to: Literal["classify", "publish"] = "publish" if provenance.classifier is None else "classify"
    transform = AnonymizeTransform(runtime, Seal(key), stage.plan.min_density)
    _relay(stage, transform, to, max_age_ms=stage.plan.max_age_ms)


def _choose_words(stage: StageContext, seal: Seal, step_us: int) -> None:
    from eventveil.models.stand_in_runtime import StandInRuntime

    settings, provenance = stage.plan.settings.anonymize, stage.plan.provenance
    certified = provenance.certificate is not None
    runtime = _started(
        stage, partial(StandInRuntime, _load(settings, provenance.anonymizer)), settings, certified=certified
    )
    _relay(stage, ChooseWordTransform(runtime, seal, step_us), "publish", max_age_ms=stage.plan.max_age_ms)


def run_classify(stage: StageContext) -> None:
    """Recognise gestures."""
    from eventveil.models.runtime import Classifier

    settings = stage.plan.settings.classify
    digest = stage.plan.provenance.classifier
    runtime = _started(stage, partial(Classifier, _load(settings, digest)), settings, certified=False)
    _relay(stage, ClassifyTransform(runtime), "publish", max_age_ms=None)


def _started(
    stage: StageContext, make: Callable[..., AnyRuntime], settings: ModelSettings, *, certified: bool
) -> AnyRuntime:
    """Make and warm up the network of a stage. A certificate is about values in fp32: `auto` keeps to it."""
    from eventveil.models.precision import start

    precision = "fp32" if certified and settings.precision == "auto" else settings.precision
    runtime, stage.report.runs_on = start(
        lambda name: make(device=settings.device, precision=name),
        precision,
        batch=stage.plan.settings.anonymize.batch,
        stage=stage.name,
    )
    return runtime


def _load(settings: ModelSettings, digest: str | None) -> Weights:
    from eventveil.models.weights import load_same

    if settings.weights is None:
        raise WeightsError("the stage has no weights")
    return load_same(settings.weights, digest)


def _relay(
    stage: StageContext, transform: Transform, to: Literal["classify", "publish"], *, max_age_ms: int | None
) -> None:
    relay = Relay(
        transform,
        stage.receiver(),
        stage.sender(to),
        stage.counters,
        batch=stage.plan.settings.anonymize.batch,
        max_age_ms=max_age_ms,
    )
    return_free_memory()  # of the weights, and of the precisions that were tried
    stage.report.figures = relay.figures
    stage.report.send("ready")
    relay.run(stage.signals, stage.report)
