"""Reconstruction: does what is published show pictures of people, and can attackers re-identify people by them?

The picture of an anonymized window is compared with the picture of the raw one. The chance level is how similar the
pictures of any two people are: windows of *others* who make the same gesture are compared, too.

Legend of axes: N windows, B of a batch, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.faces import FaceDetector
from eventveil.audit.figures import Figure, Likeness
from eventveil.audit.report.image_grid import SHEETS, draw_sheet
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.pictures import picture_maker
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.io import open_events
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet
from eventveil.training.networks.baselines import Unchanged as Unchanged
from eventveil.training.networks.subjects import RAW
from eventveil.training.objectives.ssim import psnr, ssim
from eventveil.training.randomness import numpy_generator
from eventveil.training.stages.reconstruction import CHANNELS, MAX_PSNR_DB, Pictured

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class RetrievalAttack(AttackJob):
    """The job of an attacker who learned to tell people apart by pictures of raw windows, and gets pictures of others.

    Attributes:
        architecture, seed: of the network.
        tested_on: names of the subjects to test on.
        subject: raw, on which the network is trained.
    """

    FILE = "reconstructing-{job.architecture}-{job.seed}"
    TITLE = "reconstructing {job.architecture}, seed {job.seed}, on pictures of {job.subject}"

    architecture: str
    seed: int
    tested_on: tuple[str, ...]
    subject: str = RAW

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train the network, and test it in every protocol: attacks by the name of the subject under attack."""
        picture = _picture_maker(workspace)
        pictures = Subject(f"{RAW}-pictures", Pictured(workspace.subject(RAW).anonymizer, picture))
        network = Network(pictures, self.architecture, self.seed, "identity", channels=CHANNELS)
        attacker = workspace.train_or_load(network)
        attacks: dict[str, Any] = {}
        for name in self.tested_on:
            attacks[name] = workspace.attack(
                attacker, Subject(name, Pictured(workspace.subject(name).anonymizer, picture)), name, network.name,
                knowledge="reconstructing", architecture=self.architecture, seed=self.seed,
            )  # fmt: skip
        return {"attacks": attacks}


@dataclass(frozen=True)
class Comparison(AttackJob):
    """The job of comparing pictures of a subject's windows with those of raw ones, and of drawing some of both.

    Attributes:
        subject: its name.
    """

    FILE = "pictures"
    TITLE = "pictures from {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Compare, and draw."""
        subject, picture, test = workspace.subject(self.subject), _picture_maker(workspace), workspace.test
        seed = workspace.settings.seed
        name = ("audit", self.subject, "pictures")
        raw_pictures = torch.from_numpy(test.compute_outputs(picture, Unchanged(), *name))
        pictures = torch.from_numpy(test.compute_outputs(picture, subject.anonymizer, *name))
        other_N = others(test, seed)
        chosen = draw_some(test, workspace.settings.reconstruction.shown, seed)
        rows = test.draw[chosen].start
        with torch.inference_mode():
            raw, published = (
                test.anonymize_rows(anonymizer, (*name, "shown"), rows)
                for anonymizer in (Unchanged(), subject.anonymizer)
            )
            shown = [("raw window", raw.sum(1)), ("its picture", picture(raw)[:, 0])]
            if self.subject != RAW:
                shown += [("published window", published.sum(1)), ("its picture", picture(published)[:, 0])]
        titles = [test.windows.trials[trial].label or "" for trial in test.draw[chosen].trial]
        path = workspace.work / SHEETS / f"{subject.folder}.png"
        draw_sheet(path, [(text, part.cpu().numpy()) for text, part in shown], titles)
        likeness = Likeness(
            ssim=_figure(_ssim, pictures, raw_pictures, other_N, test.persons),
            psnr_db=_figure(_psnr, pictures, raw_pictures, other_N, test.persons),
        )
        return {"likeness": likeness.model_dump(mode="json")}


def others(evaluation_set: EvaluationSet, seed: int) -> npt.NDArray[np.int64]:
    """Draw for each window the window of another person, of the same target where there is one: (N,).

    Where there is only one person, draw one of another trial.
    """
    random = numpy_generator(seed, "audit", "others")
    persons, targets = evaluation_set.persons, evaluation_set.targets
    groups = persons if len(np.unique(persons)) > 1 else evaluation_set.draw.trial
    drawn = np.empty(len(persons), np.int64)
    for number, (group, target) in enumerate(zip(groups, targets, strict=True)):
        strangers = np.flatnonzero(groups != group)
        alike = strangers[targets[strangers] == target]
        drawn[number] = random.choice(alike if len(alike) else strangers)
    return drawn


def draw_some(evaluation_set: EvaluationSet, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw windows to show: one each of up to `count` people, with the most events among eight of the person's."""
    random = numpy_generator(seed, "audit", "shown")
    persons, windows, start = evaluation_set.persons, evaluation_set.windows, evaluation_set.draw.start
    names = random.permutation(np.unique(persons))
    chosen: list[int] = []
    for name in names[:count]:
        candidates = random.permutation(np.flatnonzero(persons == name))[:8]
        chosen.append(int(max(candidates, key=lambda k: float(windows.cut(start[[k]]).sum()))))
    return np.array(chosen, np.int64)


def _figure(
    measure: Measure,
    pictures: torch.Tensor,
    raw_pictures: torch.Tensor,
    other_N: npt.NDArray[np.int64],
    persons: npt.NDArray[np.str_],
) -> Figure:
    value_N = _measured(measure, pictures, raw_pictures)
    low, high = bootstrap_by_person(value_N, persons)
    chance = float(_measured(measure, pictures, raw_pictures[torch.from_numpy(other_N)]).mean())
    value = float(value_N.mean())
    return Figure(value=value, low=min(low, value), high=max(high, value), chance=chance)


def _measured(measure: Measure, one: torch.Tensor, other: torch.Tensor) -> npt.NDArray[np.float64]:
    batches = zip(torch.split(one, EVALUATION_BATCH), torch.split(other, EVALUATION_BATCH), strict=True)
    return np.concatenate([measure(*batch).double().numpy() for batch in batches])


def _ssim(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return ssim(one, other, data_range=1.0)


def _psnr(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return psnr(one, other, data_range=1.0).clamp(max=MAX_PSNR_DB)


def _picture_maker(workspace: AuditWorkspace) -> Any:
    path = workspace.settings.reconstruction.weights
    assert path is not None
    return picture_maker(path, workspace.settings.window, workspace.group.device)


def check_reconstruction(settings: AuditSettings) -> None:
    """Check now, and not after hours of training, that pictures can be made.

    Raises:
        AuditError: windows are too small for pictures,
            or the detector of faces cannot be used.
        WeightsError: the file of FireNet is missing, or is not of this network.
        EventFileError: the recording cannot be opened.
    """
    reconstruction = settings.reconstruction
    if reconstruction.weights is not None:
        picture_maker(reconstruction.weights, settings.window, torch.device("cpu"))
    if reconstruction.faces is not None:
        FaceDetector(reconstruction.faces)
    if reconstruction.recording is not None:
        open_events(reconstruction.recording).close()


def jobs(plan: AuditPlan) -> list[RetrievalAttack | Comparison]:
    """List the jobs that make pictures."""
    settings = plan.settings.reconstruction
    if settings.weights is None:
        return []
    names = tuple(subject.name for subject in plan.subjects if subject.source is None)
    retrieval = [
        RetrievalAttack(architecture, seed, names) for architecture in settings.architectures for seed in settings.seeds
    ]
    return [*retrieval, *map(Comparison, names)]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the attacks by pictures of a subject's windows, and how similar these are to pictures of raw windows."""
    findings: Findings = {"attacks": ()}
    for job in jobs(plan):
        if isinstance(job, RetrievalAttack):
            findings["attacks"] += read_attacks(results.of(job.name)["attacks"].get(subject.name, ()))
        elif job.subject == subject.name:
            findings["likeness"] = Likeness.model_validate(results.of(job.name)["likeness"])
    return findings
