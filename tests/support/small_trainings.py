"""Small datasets with a planted ground truth, and small settings, for the tests of training.

A window is divided into 8x8 cells of 16x16 pixels. In its upper half the cells of one row light up in turn, and the row
encodes the gesture; in its lower half a pattern of cells lights up that encodes the person. Nothing else is in it.
"""

from __future__ import annotations

import numpy as np
import torch
from dataset_makers import tonic_trial

from eventveil.models.anonynoise import AnonyNoise
from eventveil.models.configs import AnonyNoiseConfig, ResNetConfig
from eventveil.models.resnet import ResNetClassifier
from eventveil.training.data.loader import Batch
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.randomness import NamedNoise, torch_generator
from eventveil.training.settings import TrainSettings
from eventveil.training.stages.adversarial import AdversarialStage

# The number of threads changes the order of summation, and curves are compared to the last bit.
torch.set_num_threads(1)

CLASSES, PEOPLE = 3, 4  # of the stage without a dataset
CELL = 16
GESTURES = (0, 3, 7)
TRIAL_MS = 400


def events(person, gesture, seed, *, watermark=True):
    """Return rows of t (us, in whole ms), x, y, p of one trial."""
    random = np.random.default_rng([seed, person, gesture])
    person_cells = np.random.default_rng(person).choice(32, 8, replace=False)
    ms = np.arange(TRIAL_MS)
    cue = np.stack(np.broadcast_arrays(ms, (ms // 10 + seed) % 8, GESTURES.index(gesture), 1), axis=1)
    marked_ms = ms[::4] if watermark else ms[:0]
    mark = np.stack(np.broadcast_arrays(marked_ms[:, None], person_cells % 8, 4 + person_cells // 8, 0), axis=2)
    rows = np.concatenate([cue, mark.reshape(-1, 4)])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    rows[:, 0] *= 1000
    rows[:, 1:3] = rows[:, 1:3] * CELL + random.integers(0, CELL, (len(rows), 2))
    return rows


def planted(root, train=6, test=3, sessions=("led", "natural")):
    """Write a dataset of `train` training people and `test` test people, each with every gesture."""
    for person in range(1, train + test + 1):
        folder = "ibmGestureTrain" if person <= train else "ibmGestureTest"
        for number, session in enumerate(sessions):
            for gesture in GESTURES:
                name = f"{folder}/user{person:02}_{session}/{gesture}.npy"
                tonic_trial(root, name, events(person, gesture, 10 * person + number))
    return root


def values(root, **changes):
    """Return settings as in a file, with networks that take milliseconds."""
    small = {"depth": 18, "width": 8, "embedding": 8}
    merged = {
        "batch": 8,
        "data": {"root": str(root), "val_people": 2, "workers": 1},
        "window": {"bins": 2, "bin_us": 60_000, "size": [8, 8], "offsets": 2, "per_trial": 1},
        "augment": {"rotation_deg": 0, "padding": 0},
        "target": small,
        "identity": small,
        "pretrain": {"epochs": 2, "lr": 0.003},
        "adversarial": {"epochs": 2, "objective": {"name": "uniform"}, "helpers": {"lr": 0.003}},
        "attack": {"epochs": 2, "lr": 0.003, "session_disjoint": True},
        "run": {"device": "cpu", "tensorboard": False, "pictures": False},
    }
    for key, value in changes.items():
        both_dicts = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both_dicts else value
    return merged


def settings(root, **changes):
    return TrainSettings.model_validate(values(root, **changes))


class Silent:
    """A reporter that prints nothing and keeps the rows of epochs."""

    def __init__(self):
        self.rows = []

    def begin(self, stage, steps, done):
        pass

    def step(self, values, windows):
        pass

    def epoch(self, row, epochs):
        self.rows.append(row)


def watch(what, done, of):
    pass


def classifier(classes):
    """Build a network without dropout, whose mask both uses of our forward pass share, unlike those of the twin."""
    network = ResNetClassifier(ResNetConfig(depth=18, channels=4, width=8, embedding=8, classes=classes))
    network.linear_block[3].p = 0.0
    with torch.no_grad():
        network.classifier[0].weight.mul_(100)  # predictions that differ
    return network


def anonynoise():
    torch.manual_seed(3)
    network = AnonyNoise(AnonyNoiseConfig(channels=4, noise_std=2.0))
    with torch.no_grad():
        network.convs3[2].weight.mul_(5)
    return network


def adversarial_stage(group, anonymizer=None, adversaries=1, **changes):
    """Build the stage alone, without a dataset, in training mode."""
    anonymizer = anonymizer or anonynoise()
    torch.manual_seed(0)
    chosen = settings("nowhere", adversarial={"adversaries": adversaries, **changes})
    networks = [classifier(PEOPLE) for _ in range(adversaries)]
    evaluation_set = EvaluationSet("val", None, None, chosen, group)
    stage = AdversarialStage(
        anonymizer, classifier(CLASSES), networks, lambda k, n: classifier(PEOPLE), None, chosen, evaluation_set
    )
    for learner in stage.learners.values():
        learner.network.train()
    return stage


def batch(group):
    """Return this process's part of eight windows (4, 8, 8) of four people."""
    x = torch.poisson(torch.full((8, 4, 8, 8), 0.7), generator=torch.Generator().manual_seed(1))
    part, noise = group.part(8), torch_generator(torch.device("cpu"), "noise")
    target, person = torch.arange(8) % CLASSES, torch.arange(8) // 2
    return Batch(x[part], target[part], person[part], NamedNoise(noise, group.rank, group.size), ("a",) * 8)
