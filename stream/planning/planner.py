"""Plans a pipeline before anything starts: checks the headers of its weights against the settings and each other.

It reads no tensor. The process that runs a network does, and refuses tensors that are not those of the header
(`eventveil.models.weights.load_same`); a pipeline publishes nothing before all its stages are ready.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eventveil.errors import AuditError, ConfigError, ExpiredError, WeightsError
from eventveil.models import shipped
from eventveil.models.header import check_fit, read_metadata
from eventveil.models.metadata import Metadata
from eventveil.models.shipped import shown
from eventveil.replay.player.sources import CLASSES, RECORDING, look_for
from eventveil.stream.histogram.density import FAR
from eventveil.stream.planning.books import BookPlan, plan_book
from eventveil.stream.planning.plan import PipelinePlan, WindowPlan
from eventveil.stream.planning.repeats import loop_remarks, refuse_same_events
from eventveil.stream.protocol.certificate import PASSED, CertifiedSubject, Signed, printable, read_key
from eventveil.stream.protocol.keys import AllowList, read_folder
from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.settings.models import AnonymizeSettings
from eventveil.stream.settings.pipeline import PipelineSettings, WindowSettings


def plan(settings: PipelineSettings) -> PipelinePlan:
    """Check everything that the pipeline needs, except the tensors of its networks.

    Raises:
        DatasetError: a source's folder is not the dataset that its URI names.
        ConfigError: two sources play the same events; the anonymizer's weights are missing, or a setting does not fit
            them; a camera's quiet windows would be too late for their release.
        WeightsError: the header of a weights file is invalid, or the weights are untrained without permission or do not
            fit the pipeline.
        BookError: the book of a stand-in is missing, damaged, or not the one that the weights were trained for.
        AuditError: a certificate is not valid, or a certificate given in the settings does not cover these weights; or
            it covers a stand-in with another book, or with fewer bits per second.
        AccessError: the publisher's keys are malformed or open to others.
    """
    for source in settings.sources:
        look_for(source.where)
    refuse_same_events(settings.sources)
    release_remarks = _check_release(settings)
    key_remarks = _check_keys(settings.publish.keys)
    planned = plan_networks(settings)
    if planned.window.mode == "recording":
        _require_single_recordings(settings)
    judged, class_remarks = _judged_streams(settings, planned.provenance)
    # Words hold no noise to average away, but their rule may draw delays or answers.
    loops = loop_remarks(settings.sources) if planned.book is None or planned.book.draws else ()
    remarks = (*release_remarks, *key_remarks, *planned.remarks, *class_remarks, *loops)
    return replace(planned, judged=judged, remarks=remarks)


def plan_networks(settings: PipelineSettings) -> PipelinePlan:
    """Check the headers of the networks and the book, and nothing of the sources.

    Raises:
        ConfigError, WeightsError, BookError, AuditError: as for `plan`.
    """
    anonymizer = _anonymizer(settings)
    book = plan_book(settings, anonymizer)
    classifier = None if settings.classify.weights is None else read_metadata(settings.classify.weights)
    requested = settings.window
    check_fit(anonymizer, classifier, bins=requested.bins, bin_us=requested.bin_us, size=requested.size)
    certificate, audit_remarks = _certificate(settings.anonymize, anonymizer, book)
    provenance = Provenance(
        anonymizer=anonymizer.identity,
        trained=anonymizer.trained,
        classifier=None if classifier is None else classifier.identity,
        classifier_trained=classifier is not None and classifier.trained,
        labels=_labels(classifier, book),
        certificate=None if certificate is None else certificate.digest,
        certificate_text=None if certificate is None else certificate.text,
        book=None if book is None else book.digest,
        changes_per_second=None if book is None else book.changes_per_second,
        bits_per_second=None if book is None else book.bits_per_second,
    )
    window = window_plan(requested, anonymizer, settings.anonymize.weights)
    min_density, density_remarks = _min_density(settings, classifier, anonymizer)
    return PipelinePlan(settings, window, provenance, book, min_density, remarks=(*audit_remarks, *density_remarks))


def _labels(classifier: Metadata | None, book: BookPlan | None) -> tuple[str, ...]:
    if book is not None:
        return book.labels
    return () if classifier is None else tuple(classifier.labels)


def _min_density(
    settings: PipelineSettings, classifier: Metadata | None, anonymizer: Metadata
) -> tuple[float | None, tuple[str, ...]]:
    """Return the density below which no gesture is named, and a remark on what that reveals."""
    if classifier is None and settings.classify.filters_gestures:
        raise ConfigError(
            "classify: min_probability, hold and min_density are for the gestures of a classifier, and there is none; "
            "leave them out"
        )
    density = settings.classify.min_density
    if density is None:
        return None, ()
    if anonymizer.representation != "histogram":
        raise ConfigError("classify.min_density: the windows of these weights are not event counts; leave it out")
    if density == "trained":
        if anonymizer.scene is None or anonymizer.scene.density is None:
            raise ConfigError(
                f"classify.min_density: {shown(settings.anonymize.weights)} does not record the density of its "
                "training; give a number of events per pixel (`eventveil calibrate` measures it)"
            )
        density = anonymizer.scene.density[0] / FAR
    remark = f"classify.min_density: gestures reveal which windows have fewer than {density:.3g} events per pixel"
    return density, (remark,)


def _check_release(settings: PipelineSettings) -> tuple[str, ...]:
    """Require quiet windows of cameras before their release; in lossless delivery, only remark on it."""
    line, remarks = settings.line, []
    for number, source in enumerate(settings.sources):
        quiet_ms = source.camera.quiet_ms
        if not source.where.is_camera or quiet_ms < line.release_ms:
            continue
        late = f"sources.{number}.camera.quiet_ms: quiet windows are complete {quiet_ms} ms after their end"
        if line.delivery == "live":
            raise ConfigError(
                f"{late}, too late for line.release_ms ({line.release_ms}), and would be dropped; give a smaller "
                "quiet_ms, or a larger release_ms"
            )
        remarks.append(f"{late}, later than line.release_ms ({line.release_ms}): arrival times show when nothing moves")
    return tuple(remarks)


def _check_keys(keys: Path | None) -> tuple[str, ...]:
    """Check the publisher's keys; return a remark if the list of allowed subscribers is empty."""
    if keys is None:
        return ()
    read_folder(keys)
    if AllowList(keys).read():
        return ()
    return (
        f"{keys}: no subscriber is allowed yet; add one at any time: `eventveil keys allow CLIENT.pub --keys {keys}`",
    )


def _anonymizer(settings: PipelineSettings) -> Metadata:
    path = settings.anonymize.weights
    if path is None:
        raise ConfigError(
            "the anonymizer has no weights: add --weights shipped (trained on simulated people only) "
            "or --weights FILE; `eventveil weights init anonynoise --out FILE` creates untrained weights for tests"
        )
    metadata = read_metadata(path)
    if not (metadata.trained or settings.anonymize.allow_untrained):
        raise WeightsError(
            f"{path}: the anonymizer is untrained, so its noise does not protect: refused; "
            "to try the pipeline anyway, give --allow-untrained; every header will then say so"
        )
    return metadata


def _certificate(
    settings: AnonymizeSettings, anonymizer: Metadata, book: BookPlan | None
) -> tuple[Signed | None, tuple[str, ...]]:
    """Return the certificate of these weights, and remarks on a missing, failed or soon expired audit."""
    assert settings.weights is not None
    default = shipped.certificate_of(settings.weights)
    path, signed, other = settings.certificate or default, None, ""
    named = shown(path)
    if settings.certificate is not None or default.exists():
        try:
            signed = Signed.read(path, read_key(shipped.PROJECT_KEY) if shipped.ships(path) else None)
        except ExpiredError:
            if settings.certificate is not None or not shipped.ships(path):
                raise
            # What ships still works after a year: from then on, it counts as not certified.
            other = f" ({named} has expired; install a newer eventveil)"
    subject = None if signed is None else signed.certificate.about(anonymizer.identity)
    if signed is not None and subject is not None:
        _check_certified_book(path, subject, book)
        warning = signed.expiry_warning()
        remarks = () if warning is None else (f"{named}: {warning}",)
        if signed.certificate.simulated:
            remarks = (f"{named}: the audit is evidence about simulated people only, not about real ones", *remarks)
        if settings.precision == "bf16":
            remarks = (f"{named}: audits run in fp32 by default, and anonymize.precision is bf16", *remarks)
        if subject.status == PASSED:
            return signed, remarks
        verdict = printable(subject.verdict)
        return signed, (f"{shown(settings.weights)}: did not pass its audit, according to {named}: {verdict}", *remarks)
    if signed is not None:
        other = f" ({named} covers other weights)"
    if settings.certificate is not None:
        raise AuditError(
            f"{named}: does not cover {shown(settings.weights)} (digest {anonymizer.identity[:16]}): refused; give "
            "the certificate of these weights, or none: every header will then say that they are not certified"
        )
    if not anonymizer.trained:
        return None, ()
    note = anonymizer.note or "none"
    name = shown(settings.weights)
    return None, (f"{name}: not certified{other}: no certificate shows whom it protects. Its note: {note}",)


def _check_certified_book(path: Path, subject: CertifiedSubject, book: BookPlan | None) -> None:
    """Refuse a stand-in with a book other than the audited one, or with more bits per second."""
    if book is None:
        return
    if subject.book != book.digest or subject.bits_per_second is None:
        raise AuditError(
            f"{book.path}: {path} covers these weights with the book of SHA-256 {subject.book}, and this one has "
            f"{book.digest}: refused; use the audited book, or a certificate for this one"
        )
    if subject.bits_per_second < book.bits_per_second:
        raise AuditError(
            f"{path}: covers these weights for {subject.bits_per_second:g} bits per second, and they would publish "
            f"{book.bits_per_second:g}: refused; audit them again"
        )


def _require_single_recordings(settings: PipelineSettings) -> None:
    for source in settings.sources:
        if source.loop or source.where.kind != RECORDING:
            raise ConfigError(
                f"{source.uri}: plays as one continuous stream, but each window is to hold a whole recording; "
                "give window.mode: windows and window.bin_us, or single recordings without a loop"
            )


def _judged_streams(settings: PipelineSettings, provenance: Provenance) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the streams whose ground truth the classifier's labels cover, and remarks on the others."""
    judged, remarks = [], []
    for source in settings.sources:
        classes = CLASSES.get(source.where.kind, ())
        unknown = [label for label in classes if label not in provenance.labels]
        if not classes:
            continue
        if not provenance.labels:
            remarks.append(f"{source.uri}: no classifier, so no accuracy")
        elif len(unknown) == len(classes):
            remarks.append(
                f"{source.uri}: the classifier knows none of its classes ({', '.join(classes)}), "
                f"only {', '.join(provenance.labels)}: no accuracy"
            )
        else:
            judged.append(source.stream)
            if unknown:
                remarks.append(
                    f"{source.uri}: the classifier does not know {', '.join(unknown)}: accuracy ignores these"
                )
    return tuple(judged), tuple(remarks)


def window_plan(requested: WindowSettings, trained: Metadata, name: Path | None) -> WindowPlan:
    """Plan how events are cut into the windows that an anonymizer takes.

    Args:
        requested: the user's settings.
        trained: metadata of the anonymizer's weights.
        name: the weights file, for messages.

    Raises:
        ConfigError: neither the settings nor the weights give the length of a bin.
    """
    mode = requested.mode or trained.mode
    bin_us = requested.bin_us or trained.bin_us
    if mode == "windows" and bin_us is None:
        raise ConfigError(
            f"{shown(name)}: the weights are for whole recordings and do not give the length of a bin; "
            "give window.bin_us, or window.mode: recording"
        )
    return WindowPlan(
        mode="voxel" if trained.representation == "voxel" else mode,
        bins=trained.bins,
        bin_us=None if mode == "recording" else bin_us,
        hop=None if mode == "recording" else requested.hop or trained.hop,
        size=trained.size,
        field=None if trained.scene is None else trained.scene.field,
        density=None if trained.scene is None else trained.scene.density,
        box=trained.box,
        clock_us=1000 if trained.clock == "ms" and mode == "recording" else 1,
        judge_end=trained.kind == "stand_in",
    )
