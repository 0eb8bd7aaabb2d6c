"""Faces: does a detector find any in pictures that FireNet makes of published windows, or of a recording?

Upside down, the same pictures show the same edges and contrasts, but no face that the detector knows: that is its
chance level. Raw windows and raw events of the recording show what it finds without an anonymizer.

Legend of axes: N windows, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.attacks.base import AttackJob, Findings
from eventveil.audit.attacks.before_after import raw_pictures, recorded_windows, window_pictures
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.faces import SURE, FaceDetector
from eventveil.audit.figures import Faces, Figure
from eventveil.audit.settings import train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.pictures import picture_maker
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.reconstruction import load_firenet
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.networks.subjects import RAW


@dataclass(frozen=True)
class FaceSearch(AttackJob):
    """The job of looking for faces in pictures from a subject.

    Attributes:
        subject: its name.
    """

    FILE = "faces"
    TITLE = "faces in pictures from {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Look at the pictures of the test windows, and of the recording if there is one."""
        settings, subject = workspace.settings.reconstruction, workspace.subject(self.subject)
        assert settings.faces is not None
        assert settings.weights is not None
        detector, device = FaceDetector(settings.faces), workspace.group.device
        picture = picture_maker(settings.weights, workspace.settings.window, device)
        test = workspace.evaluation_set("test", subject)
        pictures = test.compute_outputs(picture, subject.anonymizer, "audit", self.subject, "faces")
        found_NC = scores_of(detector, torch.split(torch.from_numpy(pictures), 1)) >= SURE
        low, high = bootstrap_by_person(found_NC[:, 0].astype(np.float64), test.persons)
        value, chance = found_NC.mean(0).tolist()
        windows = Figure(value=value, low=min(low, value), high=max(high, value), chance=chance)
        faces = Faces(windows=windows, **self._of_recording(workspace, detector, subject))
        return {"faces": faces.model_dump(mode="json")}

    def _of_recording(self, workspace: AuditWorkspace, detector: FaceDetector, subject: Subject) -> dict[str, Any]:
        settings, device = workspace.settings.reconstruction, workspace.group.device
        if settings.recording is None or subject.source is not None:
            return {}
        assert settings.weights is not None
        network, cut = load_firenet(settings.weights).to(device), train_settings(workspace.settings, pooled=False)
        with torch.inference_mode():
            if self.subject == RAW:
                score_NC = scores_of(detector, raw_pictures(settings.recording, network, device))
            else:
                _, published = recorded_windows(settings.recording, subject.anonymizer, cut, device)
                score_NC = scores_of(detector, window_pictures(network, published, cut.window))
        share, chance = (score_NC >= SURE).mean(0).tolist()
        return {"recording": share, "recording_chance": chance, "pictures": len(score_NC)}


def scores_of(detector: FaceDetector, pictures: Iterable[torch.Tensor]) -> npt.NDArray[np.float32]:
    """Return how sure a face is in each picture (1, 1, H, W), and in the same picture upside down: (N, 2)."""
    return np.array([[detector.scores(one)[0], detector.scores(one.flip((2, 3)))[0]] for one in pictures], np.float32)


def jobs(plan: AuditPlan) -> list[FaceSearch]:
    """List the jobs for raw windows and every audited subject, if the settings name a detector."""
    return [FaceSearch(subject.name) for subject in plan.subjects if _is_searched(subject, plan)]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the faces found in pictures from a subject."""
    if not _is_searched(subject, plan):
        return {}
    return {"faces": Faces.model_validate(results.of(FaceSearch(subject.name).name)["faces"])}


def _is_searched(subject: Subject, plan: AuditPlan) -> bool:
    return plan.settings.reconstruction.faces is not None and (subject.audited or subject.name == RAW)
