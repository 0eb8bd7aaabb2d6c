"""Decides what will run, before anything starts: loads the weights and holds them to the settings and to each other."""

from __future__ import annotations

from pathlib import Path

from eventveil.errors import AuditError, ConfigError, WeightsError
from eventveil.models.metadata import Metadata
from eventveil.models.weights import Weights, check_fit, load_weights
from eventveil.replay.player.sources import CLASSES, RECORDING, look_for
from eventveil.stream.plan import PipelinePlan, WindowPlan
from eventveil.stream.protocol.certificate import CERTIFICATE, PASSED, Signed
from eventveil.stream.protocol.keys import AllowList, read_folder
from eventveil.stream.publisher.publisher import Provenance
from eventveil.stream.settings import AnonymizeSettings, PipelineSettings, WindowSettings


def plan(settings: PipelineSettings) -> PipelinePlan:
    """Load and check what the line needs.

    Raises:
        DatasetError: a source's folder is not the dataset that it is said to be.
        ConfigError: the anonymizer's weights are missing, or a setting does not fit them.
        WeightsError: a weights file is wrong, untrained without leave, or does not fit the line.
        AuditError: a certificate does not hold, or one that was named is not about these weights.
        AccessError: the publisher's keys are not as they must be.
    """
    for source in settings.sources:
        look_for(source.where)
    strangers = _check_keys(settings.publish.keys)
    anonymizer = _anonymizer(settings)
    classifier = None if settings.classify.weights is None else load_weights(settings.classify.weights)
    asked = settings.window
    check_fit(anonymizer, classifier, bins=asked.bins, bin_us=asked.bin_us, size=asked.size)
    certificate, word = _certificate(settings.anonymize, anonymizer)
    provenance = Provenance(
        anonymizer=anonymizer.digest,
        trained=anonymizer.metadata.trained,
        classifier=None if classifier is None else classifier.digest,
        classifier_trained=classifier is not None and classifier.metadata.trained,
        labels=() if classifier is None else tuple(classifier.metadata.labels),
        certificate=None if certificate is None else certificate.digest,
        certificate_text=None if certificate is None else certificate.text,
    )
    window = window_plan(asked, anonymizer.metadata, settings.anonymize.weights)
    if window.mode == "recording":
        _refuse_what_is_no_recording(settings)
    judged, remarks = _judged(settings, provenance)
    return PipelinePlan(settings, window, provenance, judged, (*strangers, *word, *remarks))


def _check_keys(keys: Path | None) -> tuple[str, ...]:
    """Hold the publisher's keys to what they must be; a word where nobody is on the list yet."""
    if keys is None:
        return ()
    read_folder(keys)
    if AllowList(keys).read():
        return ()
    return (f"{keys}: nobody may subscribe yet; `eventveil keys allow CLIENT.pub --keys {keys}`, also while it runs",)


def _anonymizer(settings: PipelineSettings) -> Weights:
    path = settings.anonymize.weights
    if path is None:
        raise ConfigError(
            "the anonymizer has no weights: add --weights shipped (trained on simulated people only) "
            "or --weights FILE; `eventveil weights init anonynoise FILE` creates untrained weights for tests"
        )
    weights = load_weights(path)
    if not (weights.metadata.trained or settings.anonymize.allow_untrained):
        raise WeightsError(
            f"{path}: the anonymizer is untrained, its noise protects nobody: refused; "
            "to try the line all the same, --allow-untrained: every header will say so"
        )
    return weights


def _certificate(settings: AnonymizeSettings, anonymizer: Weights) -> tuple[Signed | None, tuple[str, ...]]:
    """The certificate of these weights, and a word about weights of which nobody has shown what they hide."""
    assert settings.weights is not None
    beside = settings.weights.with_name(CERTIFICATE)
    path = settings.certificate or beside
    signed = Signed.read(path) if settings.certificate is not None or beside.exists() else None
    judged = None if signed is None else signed.certificate.about(anonymizer.digest)
    if signed is not None and judged is not None:
        if judged.status == PASSED:
            return signed, ()
        return signed, (f"{settings.weights}: did not pass its audit, as {path} says: {judged.verdict}",)
    other = "" if signed is None else f" ({path} is about other weights)"
    if settings.certificate is not None:
        raise AuditError(
            f"{path}: is not about {settings.weights} (tensors {anonymizer.digest[:16]}): refused; give the "
            "certificate of these very weights, or none, and every header will say that they were never audited"
        )
    if not anonymizer.metadata.trained:
        return None, ()
    said = anonymizer.metadata.note or "nothing"
    return None, (
        f"{settings.weights}: never audited{other}: nobody has certified whom it hides. It says of itself: {said}",
    )


def _refuse_what_is_no_recording(settings: PipelineSettings) -> None:
    for source in settings.sources:
        if source.loop or source.where.kind != RECORDING:
            raise ConfigError(
                f"{source.uri}: plays on as one long stream, and whole recordings are to be one window each; "
                "give window.mode: windows and window.bin_us, or single recordings without a loop"
            )


def _judged(settings: PipelineSettings, provenance: Provenance) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The streams whose gestures can be held against the truth, by the labels' text; and remarks on the others."""
    judged, remarks = [], []
    for source in settings.sources:
        classes = CLASSES.get(source.where.kind, ())
        strange = [label for label in classes if label not in provenance.labels]
        if not classes:
            continue
        if provenance.classifier is None:
            remarks.append(f"{source.uri}: no classifier, so no accuracy")
        elif len(strange) == len(classes):
            remarks.append(
                f"{source.uri}: the classifier knows none of its classes ({', '.join(classes)}), "
                f"only {', '.join(provenance.labels)}: no accuracy"
            )
        else:
            judged.append(source.stream)
            if strange:
                remarks.append(f"{source.uri}: the classifier does not know {', '.join(strange)}: these are not judged")
    return tuple(judged), tuple(remarks)


def window_plan(asked: WindowSettings, trained: Metadata, name: Path | None) -> WindowPlan:
    """How the windows are cut that an anonymizer takes.

    Args:
        asked: what the user wants.
        trained: of the anonymizer's weights.
        name: of the weights file, for messages.

    Raises:
        ConfigError: the weights leave open how long a bin is.
    """
    mode = asked.mode or trained.mode
    bin_us = asked.bin_us or trained.bin_us
    if mode == "windows" and bin_us is None:
        raise ConfigError(
            f"{name}: the weights are for whole recordings and name no length of a bin; "
            "give window.bin_us, or window.mode: recording"
        )
    return WindowPlan(
        mode="voxel" if trained.representation == "voxel" else mode,
        bins=trained.bins,
        bin_us=None if mode == "recording" else bin_us,
        hop=None if mode == "recording" else asked.hop or trained.hop,
        size=trained.size,
        field=None if trained.scene is None else trained.scene.field,
        density=None if trained.scene is None else trained.scene.density,
    )
