"""Reconstruction: are there pictures of people in what is published, and can people be found by them?

A picture of an anonymized window is compared with the picture of the raw one. How like the pictures of any two people
are is the chance level: windows of *others* who make the same gesture are compared, too.

Legend of axes: N windows, B of a batch, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack, Figure, Likeness
from eventveil.audit.report.image_grid import SHEETS, draw_sheet
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.pictures import picture_maker
from eventveil.audit.workspace.workspace import AuditWorkspace, Network
from eventveil.io import open_events
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet, embed_windows
from eventveil.training.networks.baselines import Unchanged as Unchanged
from eventveil.training.networks.subjects import RAW, folder_of
from eventveil.training.objectives.ssim import psnr, ssim
from eventveil.training.randomness import numpy_generator
from eventveil.training.stages.reconstruction import CHANNELS, MAX_PSNR_DB, Pictured

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class RetrievalAttack:
    """The job of one who learned to tell people apart by pictures of raw windows, and looks at pictures of others.

    Attributes:
        architecture, seed: of its network.
        tested_on: names of subjects.
    """

    architecture: str
    seed: int
    tested_on: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(RAW)}/reconstructing-{self.architecture}-{self.seed}"

    @property
    def title(self) -> str:
        """What it does."""
        return f"reconstructing {self.architecture}, seed {self.seed}, on pictures of {RAW}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Train it, and test it in every protocol: attacks by the subject they are on."""
        picture = _picture_of(bench)
        raw = bench.subject(RAW)
        seen = Subject(f"{RAW}-pictures", Pictured(raw.anonymizer, picture))
        asked = Network(seen, self.architecture, self.seed, "identity", channels=CHANNELS)
        network = bench.attacker(asked).classifier
        found: dict[str, Any] = {}
        for name in self.tested_on:
            anonymizer = Pictured(bench.subject(name).anonymizer, picture)
            embedding_NE = embed_windows(bench.test, network, None, anonymizer, "audit", name, asked.name)
            found[name] = bench.asked(
                embedding_NE, knowledge="reconstructing", architecture=self.architecture, seed=self.seed
            )
        return {"attacks": found}


@dataclass(frozen=True)
class Comparison:
    """The job of comparing pictures of a subject's windows with those of raw ones, and of drawing some of both.

    Attributes:
        subject: its name.
    """

    subject: str

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.subject)}/pictures"

    @property
    def title(self) -> str:
        """What it does."""
        return f"pictures from {self.subject}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Compare, and draw."""
        subject, picture, stand = bench.subject(self.subject), _picture_of(bench), bench.test
        name = ("audit", self.subject, "pictures")
        wanted = torch.from_numpy(stand.compute_outputs(picture, Unchanged(), *name))
        seen = torch.from_numpy(stand.compute_outputs(picture, subject.anonymizer, *name))
        other_N = others(stand, bench.settings.seed)
        some = draw_some(stand, bench.settings.reconstruction.shown, bench.settings.seed)
        rows = stand.draw[some].start
        with torch.inference_mode():
            raw, own = (stand.anonymize_rows(one, (*name, "shown"), rows) for one in (Unchanged(), subject.anonymizer))
            shown = [("raw window", raw.sum(1)), ("its picture", picture(raw)[:, 0])]
            if self.subject != RAW:
                shown += [("published window", own.sum(1)), ("its picture", picture(own)[:, 0])]
        titles = [stand.windows.trials[trial].label or "" for trial in stand.draw[some].trial]
        path = bench.work / SHEETS / f"{subject.folder}.png"
        draw_sheet(path, [(text, part.cpu().numpy()) for text, part in shown], titles)
        likeness = Likeness(
            ssim=_figure(_ssim, seen, wanted, other_N, stand.persons),
            psnr_db=_figure(_psnr, seen, wanted, other_N, stand.persons),
        )
        return {"likeness": likeness.model_dump(mode="json")}


def others(stand: EvaluationSet, seed: int) -> npt.NDArray[np.int64]:
    """(N,) for each window another person's, drawn, of the same target where there is one.

    Where there is but one person it is another trial's.
    """
    random = numpy_generator(seed, "audit", "others")
    persons, targets = stand.persons, stand.targets
    who = persons if len(np.unique(persons)) > 1 else stand.draw.trial
    found = np.empty(len(persons), np.int64)
    for number, (one, target) in enumerate(zip(who, targets, strict=True)):
        strangers = np.flatnonzero(who != one)
        alike = strangers[targets[strangers] == target]
        found[number] = random.choice(alike if len(alike) else strangers)
    return found


def draw_some(stand: EvaluationSet, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Windows to be shown: of one person each, as far as there are so many; those in which much happens."""
    random = numpy_generator(seed, "audit", "shown")
    persons = stand.persons
    names = random.permutation(np.unique(persons))
    chosen: list[int] = []
    for name in names[:count]:
        own = random.permutation(np.flatnonzero(persons == name))[:8]
        chosen.append(int(max(own, key=lambda k: float(stand.windows.cut(stand.draw.start[[k]]).sum()))))
    return np.array(chosen, np.int64)


def _figure(
    measure: Measure,
    seen: torch.Tensor,
    wanted: torch.Tensor,
    other_N: npt.NDArray[np.int64],
    persons: npt.NDArray[np.str_],
) -> Figure:
    value_N = _measured(measure, seen, wanted)
    low, high = bootstrap_by_person(value_N, persons)
    chance = float(_measured(measure, seen, wanted[torch.from_numpy(other_N)]).mean())
    value = float(value_N.mean())
    return Figure(value=value, low=min(low, value), high=max(high, value), chance=chance)


def _measured(measure: Measure, seen: torch.Tensor, wanted: torch.Tensor) -> npt.NDArray[np.float64]:
    parts = zip(torch.split(seen, EVALUATION_BATCH), torch.split(wanted, EVALUATION_BATCH), strict=True)
    return np.concatenate([measure(one, other).double().numpy() for one, other in parts])


def _ssim(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return ssim(one, other, data_range=1.0)


def _psnr(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return psnr(one, other, data_range=1.0).clamp(max=MAX_PSNR_DB)


def _picture_of(bench: AuditWorkspace) -> Any:
    path = bench.settings.reconstruction.weights
    assert path is not None
    return picture_maker(path, bench.settings.window, bench.world.device)


def check_reconstruction(settings: AuditSettings) -> None:
    """See now, and not after hours of training, that pictures can be made.

    Raises:
        AuditError: windows are too small for pictures.
        WeightsError: the file of FireNet is missing, or is not of this network.
        EventFileError: the recording cannot be opened.
    """
    own = settings.reconstruction
    if own.weights is not None:
        picture_maker(own.weights, settings.window, torch.device("cpu"))
    if own.recording is not None:
        open_events(own.recording).close()


def reconstruction_jobs(settings: AuditSettings, subjects: Sequence[Subject]) -> list[RetrievalAttack | Comparison]:
    """The jobs of all who make pictures."""
    own = settings.reconstruction
    if own.weights is None:
        return []
    names = tuple(subject.name for subject in subjects)
    retrieval = [RetrievalAttack(architecture, seed, names) for architecture in own.architectures for seed in own.seeds]
    return [*retrieval, *map(Comparison, names)]


def reconstruction_on(
    name: str, settings: AuditSettings, results: Results
) -> tuple[tuple[Attack, ...], Likeness | None]:
    """Who found people by pictures of a subject's windows, and how like those of raw windows these are."""
    attacks: list[Attack] = []
    for job in reconstruction_jobs(settings, ()):
        if isinstance(job, RetrievalAttack):
            attacks += [Attack.model_validate(attack) for attack in results.of(job.name)["attacks"][name]]
    done = results.of(Comparison(name).name)
    return tuple(attacks), Likeness.model_validate(done["likeness"]) if done else None
