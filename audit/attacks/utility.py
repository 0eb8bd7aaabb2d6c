"""What is left of the target: classifiers of it, trained on raw windows and afresh on anonymized ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventveil.audit.architectures import RESNET
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Class, Figure, Utility
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditWorkspace, Network
from eventveil.training.evaluation.evaluation import recognise
from eventveil.training.evaluation.results import target_result
from eventveil.training.networks.subjects import RAW, folder_of


@dataclass(frozen=True)
class Target:
    """The job of one classifier of the target.

    Attributes:
        learned_on: name of the subject.
        seed: of its network.
        tested_on: names of subjects, that of `learned_on` among them.
    """

    learned_on: str
    seed: int
    tested_on: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.learned_on)}/target"

    @property
    def title(self) -> str:
        """What it does."""
        return f"classifier of the target, on {self.learned_on}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Train it, and let it say what it sees: accuracy, and that of each class, by the subject."""
        network = bench.trained(Network(bench.subject(self.learned_on), RESNET, self.seed, "target"))
        classes = bench.dataset.classes
        told: dict[str, Any] = {}
        for name in self.tested_on:
            way = "retrained" if name == self.learned_on else "as_it_is"
            seen = recognise(bench.test, network, None, bench.subject(name).anonymizer, "audit", name, way)
            told[name] = {
                "accuracy": Figure.of(target_result(seen, len(classes))["accuracy"]).model_dump(mode="json"),
                "classes": [
                    {
                        "name": classes[k],
                        "windows": int((seen.target == k).sum()),
                        "accuracy": float(seen.correct[seen.target == k].mean()),
                    }
                    for k in np.unique(seen.target)
                ],
            }
        return {"told": told}


def target_jobs(settings: AuditSettings, subjects: Sequence[Subject]) -> list[Target]:
    """The jobs of all classifiers of the target."""
    names = tuple(subject.name for subject in subjects)
    seed = settings.attackers.seeds[0]
    return [Target(name, seed, names if name == RAW else (name,)) for name in names]


def utility_on(name: str, results: Results) -> Utility:
    """What is left of the target in a subject's windows, once the jobs are done."""
    retrained = results.of(Target(name, 0, ()).name)["told"][name]
    as_it_is = results.of(Target(RAW, 0, ()).name)["told"][name]
    return Utility(
        retrained=Figure.model_validate(retrained["accuracy"]),
        as_it_is=Figure.model_validate(as_it_is["accuracy"]),
        classes=tuple(Class.model_validate(one) for one in retrained["classes"]),
    )
