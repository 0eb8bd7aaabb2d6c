"""How much of the target is left: classifiers of it, trained on raw windows and retrained on anonymized windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eventveil.audit.architectures import RESNET
from eventveil.audit.attacks.base import AttackJob, Findings
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Class, Figure, Utility
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.training.evaluation.evaluation import recognise
from eventveil.training.evaluation.results import target_result
from eventveil.training.networks.subjects import RAW


@dataclass(frozen=True)
class Target(AttackJob):
    """The job of one classifier of the target.

    Attributes:
        subject: name of the subject to train on.
        seed: seed of the network.
        tested_on: names of the subjects to test on, `subject` among them.
    """

    FILE = "target"
    TITLE = "classifier of the target, on {job.subject}"

    subject: str
    seed: int
    tested_on: tuple[str, ...]

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train the classifier, and test it: accuracy, overall and by class, for each subject."""
        network = Network(workspace.subject(self.subject), RESNET, self.seed, "target")
        classifier = workspace.train_or_load(network).classifier
        classes = workspace.dataset.classes
        accuracies: dict[str, Any] = {}
        for name in self.tested_on:
            way = "retrained" if name == self.subject else "as_it_is"
            subject = workspace.subject(name)
            test = workspace.evaluation_set("test", subject)
            recognised = recognise(test, classifier, None, subject.anonymizer, "audit", name, way)
            accuracy = Figure.of(target_result(recognised, len(classes))["accuracy"])
            accuracies[name] = {
                "accuracy": accuracy.model_dump(mode="json"),
                "classes": [
                    {
                        "name": classes[k],
                        "windows": int((recognised.target == k).sum()),
                        "accuracy": float(recognised.correct[recognised.target == k].mean()),
                    }
                    for k in np.unique(recognised.target)
                ],
            }
        return {"told": accuracies}


def jobs(plan: AuditPlan) -> list[Target]:
    """List the jobs of all classifiers of the target; none where the data has no classes."""
    if not plan.dataset.classes:
        return []
    names = tuple(subject.name for subject in plan.subjects)
    seed = plan.settings.attackers.seeds[0]
    return [Target(name, seed, names if name == RAW else (name,)) for name in names]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return how well the target is recognised in a subject's windows."""
    if not plan.dataset.classes:
        return {}
    name = subject.name
    retrained = results.of(Target(name, 0, ()).name)["told"][name]
    as_it_is = results.of(Target(RAW, 0, ()).name)["told"][name]
    utility = Utility(
        retrained=Figure.model_validate(retrained["accuracy"]),
        as_it_is=Figure.model_validate(as_it_is["accuracy"]),
        classes=tuple(Class.model_validate(values) for values in retrained["classes"]),
    )
    return {"utility": utility}
