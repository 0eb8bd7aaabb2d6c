"""Trains attackers on one subject, and measures what they recognise in its output: targets, people, pictures.

If pictures are the secret, one more network learns to identify people by pictures of raw windows, and then searches for
them by pictures of the subject's output.

Source: the stage "attack" of AnonyNoise (Bendig et al., WACV 2025); image retrieval of Ahmad et al., ICCV 2023.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from eventveil.errors import ConfigError
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.weights import load_weights
from eventveil.training.data.event_rules import changes_events
from eventveil.training.engine.checkpoint import StageProgress, load_networks
from eventveil.training.engine.loop import BEST
from eventveil.training.evaluation.evaluation import rank_identities, recognise
from eventveil.training.evaluation.results import identity_result, target_result
from eventveil.training.networks.build import new_anonymizer, new_classifier, new_denoiser
from eventveil.training.networks.subjects import ANONYMIZER, RAW, baseline, folder_of
from eventveil.training.run import Run
from eventveil.training.settings import Label
from eventveil.training.stages.adversarial import KEPT
from eventveil.training.stages.classify import Attacker, ClassifierStage
from eventveil.training.stages.inversion import Invert, restored_share
from eventveil.training.stages.reconstruction import CHANNELS, Pictured, denoised_picture, picture_result
from eventveil.training.stages.single_network import StageInputs
from eventveil.training.whole_file import read_json, write_json


def train_picture_identifier(run: Run) -> nn.Module | None:
    """Train a network that identifies people by pictures of raw windows; None if no pictures are made or attacked."""
    if run.settings.adversarial.reconstruction is None or "identity" not in run.settings.attack.of:
        return None
    name, classes = f"pictures{_seed_suffix(run)}", run.classes("identity")
    network = new_classifier("identity", classes, run.settings, "attack", name, input_channels=CHANNELS)
    pictured = Pictured(baseline(RAW), run.picture)
    stage = run.classifier_stage(f"attack/{name}/identity", "identity", Attacker(network), pictured, "attack")
    run.train(stage, "attack", people_only=True)
    run.load_best(stage)
    return network


def attack_on(run: Run, subject: str, picture_identifier: nn.Module | None) -> dict[str, Any]:
    """Train attackers and test each once; return their results, keyed by the name of the subject's folder.

    Args:
        run: the run.
        subject: what to attack.
        picture_identifier: identifies people by pictures, if pictures are attacked.

    Raises:
        ConfigError: the dataset has no classes to attack.
        TrainingError: training cannot continue, or a file is missing or cannot be written.
    """
    attack, anonymizer = run.settings.attack, _load_subject(run, subject)
    name = folder_of(subject) if attack.weights is None or subject != ANONYMIZER else f"weights-{attack.weights.stem}"
    rule = subject if run.settings.window.mode == "voxel" and changes_events(subject) else None
    name += ("-denoised" if attack.denoiser else "-inverted" if attack.inversion else "") + _seed_suffix(run)
    path = run.folder / "attack" / name / "result.json"
    results = read_json(path)
    if attack.inversion:
        results = _invert(run, name, anonymizer, picture_identifier, rule, results)
        if run.group.leads:
            write_json(path, results)
    for label in () if attack.inversion else attack.of:
        if label not in run.labels:
            raise ConfigError(f"attack.of: {run.dataset.kind} has no target classes; remove {label}")
        stage, progress = _train(run, name, subject, label, anonymizer, rule)
        # Test people are used only once, with the weights that validation chose.
        if label in results:
            continue
        run.load_best(stage)
        results[label] = _test(run, stage, label, anonymizer, rule) | {"epoch": progress.best_epoch}
        if label == "identity" and picture_identifier is not None:
            denoiser = stage.attacker.denoiser
            results |= _test_pictures(run, stage.name, denoiser, anonymizer, picture_identifier, rule)
        if run.group.leads:
            write_json(path, results)
            if label == "target" and subject == ANONYMIZER and attack.weights is None and not attack.denoiser:
                run.export("target", stage.attacker.classifier, run.note("attack", progress))
    if run.group.leads:
        path = run.folder / "results.json"
        write_json(path, read_json(path) | {name: results})
    return {name: results}


def _train(
    run: Run, name: str, subject: str, label: Label, anonymizer: AnonymizerNetwork, rule: str | None
) -> tuple[ClassifierStage, StageProgress]:
    attack = run.settings.attack
    seed_name = ("attack", attack.seed, label, name)
    network = new_classifier(label, run.classes(label), run.settings, *seed_name)
    if (begun := _earlier_weights(run, subject, label)) is not None:
        network.load_state_dict(begun)
    denoiser = new_denoiser(run.settings, *seed_name) if attack.denoiser else None
    attacker = Attacker(network, denoiser)
    stage = run.classifier_stage(f"attack/{name}/{label}", label, attacker, anonymizer, "attack", rule)
    return stage, run.train(stage, "attack", people_only=label == "identity", rule=rule)


def _earlier_weights(run: Run, subject: str, label: Label) -> dict[str, torch.Tensor] | None:
    """Return the weights that an attacker starts from, by `attack.from`; None for fresh ones.

    The networks of stage 2 know the output of the run's anonymizer, so only its attackers start from them; those of
    other subjects are fresh. Source: AnonyNoise's code, whose post-training starts from the networks of its pipeline.

    Raises:
        TrainingError: the stage has not been trained.
    """
    begin_from, needed_by = run.settings.attack.begin_from, "the attack (with attack.from)"
    if begin_from == "pretrained":
        states = load_networks(run.folder / "pretrain" / label / BEST, needed_by)[1]["attacker"]
        return {key.removeprefix("classifier."): value for key, value in states.items()}
    if begin_from == "pipeline" and subject == ANONYMIZER:
        helper = KEPT if label == run.settings.adversarial.keep else "adversary0"
        return load_networks(run.folder / "adversarial" / BEST, needed_by)[1].get(helper)
    return None


def _test(
    run: Run, stage: ClassifierStage, label: Label, anonymizer: AnonymizerNetwork, rule: str | None
) -> dict[str, Any]:
    evaluation_set, attacker = run.evaluation_set("test", rule), stage.attacker
    if label == "identity":
        return identity_result(
            rank_identities(evaluation_set, attacker.classifier, attacker.denoiser, anonymizer, stage.name)
        )
    predictions = recognise(evaluation_set, attacker.classifier, attacker.denoiser, anonymizer, stage.name)
    run.draw_confusion(stage, predictions)
    return target_result(predictions, len(run.dataset.classes))


def _invert(
    run: Run,
    name: str,
    anonymizer: AnonymizerNetwork,
    picture_identifier: nn.Module | None,
    rule: str | None,
    earlier: dict[str, Any],
) -> dict[str, Any]:
    """Train a denoiser alone to restore raw windows; return how much it restores, and what its pictures show.

    Test people are used only once: if there are results of an earlier run, return those.
    """
    schedule = run.settings.attack
    denoiser = new_denoiser(run.settings, "attack", schedule.seed, "inversion", name)
    inputs = StageInputs(
        f"attack/{name}/inversion", anonymizer, run.settings, schedule, run.evaluation_set("val", rule)
    )
    stage = Invert(inputs, denoiser)
    progress = run.train(stage, "attack", rule=rule)
    if earlier:
        return earlier
    run.load_best(stage)
    share = restored_share(run.evaluation_set("test", rule), denoiser, anonymizer, stage.name)
    restored = {"value": share.value, "interval_95": [share.low, share.high], "chance": 0.0}
    results: dict[str, Any] = {"restored": restored, "epoch": progress.best_epoch}
    if picture_identifier is not None:
        results |= _test_pictures(run, stage.name, denoiser, anonymizer, picture_identifier, rule)
    return results


def _test_pictures(
    run: Run,
    name: str,
    denoiser: nn.Module | None,
    anonymizer: AnonymizerNetwork,
    picture_identifier: nn.Module,
    rule: str | None,
) -> dict[str, Any]:
    """Compare pictures of denoised windows with those of raw windows, and identify people by them."""
    evaluation_set, raw_set = run.evaluation_set("test", rule), run.evaluation_set("test")
    pictured = Pictured(anonymizer, denoised_picture(denoiser, run.picture))
    identities = rank_identities(evaluation_set, picture_identifier, None, pictured, name, "pictures")
    return {
        "picture": picture_result(evaluation_set, run.picture, denoiser, anonymizer, name, raw_set=raw_set),
        "picture_retrieval": identity_result(identities),
    }


def _load_subject(run: Run, subject: str) -> AnonymizerNetwork:
    if run.settings.window.mode == "voxel" and changes_events(subject):
        return baseline(RAW)  # the rule has changed the events already
    if subject != ANONYMIZER:
        return baseline(subject)
    path = run.settings.attack.weights
    if path is not None:
        network = load_weights(path).model
    else:
        network = new_anonymizer(run.settings)
        _, states = load_networks(run.folder / "adversarial" / BEST, "the attack on the anonymizer")
        network.load_state_dict(states["anonymizer"])
    network = network.eval().requires_grad_(False).to(run.group.device)
    return cast("AnonymizerNetwork", network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def _seed_suffix(run: Run) -> str:
    seed = run.settings.attack.seed
    return f"-seed{seed}" if seed else ""
