"""Fresh attackers on one subject: what of the target and of people is told from what it lets out, and what is seen.

Where pictures are the secret there is one more, who learned to tell people apart by pictures of raw windows, and looks
for them by pictures of what is let out.

Source: the stage "attack" of AnonyNoise (Bendig et al., WACV 2025); image retrieval of Ahmad et al., ICCV 2023.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from eventveil.errors import ConfigError
from eventveil.models.kinds import Anonymizer
from eventveil.models.weights import load_weights
from eventveil.training.engine.checkpoint import Progress, load_networks
from eventveil.training.engine.loop import BEST
from eventveil.training.engine.run_folder import read_json, write_json
from eventveil.training.evaluation.evaluation import find, recognise
from eventveil.training.evaluation.results import identity_result, target_result
from eventveil.training.networks.build import new_anonymizer, new_classifier, new_denoiser
from eventveil.training.networks.subjects import ANONYMIZER, RAW, baseline, folder_of
from eventveil.training.run import Run
from eventveil.training.settings import Label
from eventveil.training.stages.classify import Attacker, ClassifierStage
from eventveil.training.stages.reconstruction import CHANNELS, Pictured, picture_result, pictures_behind


def train_viewer(run: Run) -> nn.Module | None:
    """Train a network that tells people apart by pictures of raw windows; None where nobody makes or needs them."""
    if run.settings.adversarial.reconstruction is None or "identity" not in run.settings.attack.of:
        return None
    name, classes = f"pictures{_seeded(run)}", run.classes("identity")
    network = new_classifier("identity", classes, run.settings, "attack", name, seen=CHANNELS)
    pictured = Pictured(baseline(RAW), run.picture)
    stage = run.classify(f"attack/{name}/identity", "identity", Attacker(network), pictured, "attack")
    run.train(stage, "attack")
    run.load_best(stage)
    return network


def attack_on(run: Run, subject: str, viewer: nn.Module | None) -> dict[str, Any]:
    """Train attackers and test them once; returns what they got by the name of the subject's folder.

    Args:
        run: whose settings say what for.
        subject: what is attacked.
        viewer: who tells people apart by pictures, if anybody makes some.

    Raises:
        ConfigError: the dataset has no classes that could be attacked.
        TrainingError: a training cannot go on, or a file is missing or cannot be written.
    """
    own, anonymizer = run.settings.attack, _subject(run, subject)
    name = folder_of(subject) if own.weights is None or subject != ANONYMIZER else f"weights-{own.weights.stem}"
    name += ("-denoised" if own.denoiser else "") + _seeded(run)
    path = run.folder / "attack" / name / "result.json"
    done = read_json(path)
    for label in own.of:
        if label not in run.labels:
            raise ConfigError(f"attack.of: {run.dataset.kind} has no classes to tell; leave {label} out")
        stage, progress = _trained(run, name, label, anonymizer)
        # Test people are looked at once, with the weights that validation chose.
        if label in done:
            continue
        run.load_best(stage)
        done[label] = _tested(run, stage, label, anonymizer) | {"epoch": progress.best_epoch}
        if label == "identity" and viewer is not None:
            done |= _seen(run, stage, anonymizer, viewer)
        if run.world.leads:
            write_json(path, done)
            if label == "target" and subject == ANONYMIZER and own.weights is None and not own.denoiser:
                run.export("target", stage.attacker.classifier, run.note("attack", progress))
    if run.world.leads:
        path = run.folder / "results.json"
        write_json(path, read_json(path) | {name: done})
    return {name: done}


def _trained(run: Run, name: str, label: Label, anonymizer: Anonymizer) -> tuple[ClassifierStage, Progress]:
    own = run.settings.attack
    named = ("attack", own.seed, label, name)
    network = new_classifier(label, run.classes(label), run.settings, *named)
    denoiser = new_denoiser(run.settings, *named) if own.denoiser else None
    stage = run.classify(f"attack/{name}/{label}", label, Attacker(network, denoiser), anonymizer, "attack")
    return stage, run.train(stage, "attack")


def _tested(run: Run, stage: ClassifierStage, label: Label, anonymizer: Anonymizer) -> dict[str, Any]:
    stand, attacker = run.stand("test"), stage.attacker
    if label == "identity":
        return identity_result(find(stand, attacker.classifier, attacker.denoiser, anonymizer, stage.name))
    told = recognise(stand, attacker.classifier, attacker.denoiser, anonymizer, stage.name)
    run.draw_confusion(stage, told)
    return target_result(told, len(run.dataset.classes))


def _seen(run: Run, stage: ClassifierStage, anonymizer: Anonymizer, viewer: nn.Module) -> dict[str, Any]:
    """How like pictures are to those of raw windows, and who is found by them, both turned back by the denoiser."""
    stand, before = run.stand("test"), stage.attacker.denoiser
    picture = pictures_behind(before, run.picture)
    found = find(stand, viewer, None, Pictured(anonymizer, picture), stage.name, "pictures")
    return {
        "picture": picture_result(stand, run.picture, before, anonymizer, stage.name),
        "picture_retrieval": identity_result(found),
    }


def _subject(run: Run, subject: str) -> Anonymizer:
    if subject != ANONYMIZER:
        return baseline(subject)
    own = run.settings.attack.weights
    if own is not None:
        network = load_weights(own).model
    else:
        network = new_anonymizer(run.settings)
        _, states = load_networks(run.folder / "adversarial" / BEST, "the attack on the anonymizer")
        network.load_state_dict(states["anonymizer"])
    network = network.eval().requires_grad_(False).to(run.world.device)
    return cast("Anonymizer", network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def _seeded(run: Run) -> str:
    seed = run.settings.attack.seed
    return f"-seed{seed}" if seed else ""
