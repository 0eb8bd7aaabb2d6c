"""The Event-ReId method in the same trainer: people stay recognisable, pictures are the secret."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from dataset_makers import events_of, reid_windows
from small_trainings import Silent, settings, watch

from eventveil.errors import ConfigError, TrainingError
from eventveil.models.reconstruction import FireNet
from eventveil.models.weights import load_weights
from eventveil.replay.datasets import open_dataset
from eventveil.training.data.split import load_or_build_windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.networks.baselines import Gaussian, Unchanged
from eventveil.training.recipe import Recipe
from eventveil.training.settings import AttackSettings, ObjectiveSettings
from eventveil.training.stages.inversion import restored_share
from eventveil.training.stages.reconstruction import picture_maker, picture_result

CHANGES = {
    "batch": 4,
    "window": {"mode": "voxel", "bins": 5, "bin_us": 6_660, "size": [16, 24], "crop": "events", "offsets": 1},
    "anonymizer": {"kind": "event_autoencoder"},
    "adversarial": {"epochs": 2, "keep": "identity", "adversaries": 0, "objective": {"name": "structure-picture"}},
    "attack": {"epochs": 1, "of": ["identity"], "against": ["raw", "anonymizer"], "denoiser": True,
               "session_disjoint": False},
    "data": {"val_people": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six training people and two test people, with three windows for each of two cameras."""
    folder, windows = tmp_path_factory.mktemp("reid"), {}
    for split, people in (("train", range(1, 7)), ("test", range(1, 3))):
        for person in people:
            for camera in (1, 2):
                for number in (1, 2, 3):
                    rows = events_of([person, camera, number], 300, 33_000, 20 + person, 40)
                    windows[f"{split}/{person:03}_c{camera}_{number:03}.txt"] = rows + np.array([0, 300, 200, 0])
    return reid_windows(folder, windows)


@pytest.fixture(scope="module")
def firenet(tmp_path_factory):
    """A FireNet weights file with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("firenet") / "firenet.pth"
    torch.save(FireNet().state_dict(), path)
    return path


def with_firenet(root, firenet):
    return settings(root, **CHANGES | {"adversarial": CHANGES["adversarial"] | {"reconstruction": str(firenet)}})


def test_the_whole_recipe_leaves_an_anonymizer_of_voxels(root, firenet, tmp_path):
    reporter = Silent()
    results = Recipe(with_firenet(root, firenet), tmp_path, ProcessGroup(), reporter, watch).run_all()
    weights = load_weights(tmp_path / "weights" / "anonymizer.safetensors").metadata
    assert (weights.kind, weights.representation, weights.bins, weights.size) == (
        "event_autoencoder",
        "voxel",
        5,
        (16, 24),
    )
    assert not (tmp_path / "weights" / "gestures.safetensors").exists()
    rows = [row for row in reporter.rows if "objective" in row]
    assert len(rows) == 2
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert set(results) == {"raw-denoised", "anonymizer-denoised"}
    for result in results.values():
        assert set(result) == {"identity", "picture", "picture_retrieval"}
        assert 0 <= result["picture_retrieval"]["rank1"]["value"] <= 1
        low, high = result["picture"]["ssim"]["interval_95"]
        assert low <= result["picture"]["ssim"]["value"] <= high


def test_an_inversion_trains_no_attacker_of_labels_and_ends_in_pictures(root, firenet, tmp_path):
    config = with_firenet(root, firenet)
    attack = config.attack.model_copy(update={"denoiser": False, "inversion": True, "against": ("gaussian:1",)})
    config = config.model_copy(update={"attack": attack})
    (result,) = Recipe(config, tmp_path, ProcessGroup(), Silent(), watch).attack().values()
    assert set(result) == {"restored", "epoch", "picture", "picture_retrieval"}
    folder = tmp_path / "attack" / "gaussian-1-inverted"
    assert sorted(path.name for path in folder.iterdir()) == ["inversion", "result.json"]
    assert json.loads((folder / "result.json").read_text()) == result
    # A second call trains nothing and returns the same figures.
    again = Silent()
    (repeated,) = Recipe(config, tmp_path, ProcessGroup(), again, watch, resume=True).attack().values()
    assert repeated == result
    assert not again.rows
    # Other settings, or a start from the beginning, get no figures of this one; here without a network for pictures.
    alone = attack.model_copy(update={"of": ("target",)})
    with pytest.raises(TrainingError, match="already started; resume it"):
        Recipe(config.model_copy(update={"attack": alone}), tmp_path, ProcessGroup(), again, watch).attack()
    longer = config.model_copy(update={"attack": alone.model_copy(update={"epochs": alone.epochs + 1})})
    with pytest.raises(TrainingError, match="started with other settings"):
        Recipe(longer, tmp_path, ProcessGroup(), again, watch, resume=True).attack()


def test_an_inversion_needs_pictures_and_excludes_a_denoiser_with_attackers(root, firenet, tmp_path):
    config = with_firenet(root, firenet)
    likeness = {"reconstruction": None, "objective": ObjectiveSettings(name="likeness")}
    blind = config.model_copy(update={
        "adversarial": config.adversarial.model_copy(update=likeness),
        "attack": config.attack.model_copy(update={"denoiser": False, "inversion": True}),
    })  # fmt: skip
    with pytest.raises(ConfigError, match=r"attack\.inversion: it attacks pictures"):
        Recipe(blind, tmp_path, ProcessGroup(), Silent(), watch)
    with pytest.raises(ValueError, match="set one to false"):
        AttackSettings(denoiser=True, inversion=True)


class Reversed:
    """An anonymizer that can be undone exactly: it changes every sign."""

    def anonymize(self, x_BCHW, _generator):
        return -x_BCHW


class Empty:
    """An anonymizer that cannot be undone: nothing is left."""

    def anonymize(self, x_BCHW, _generator):
        return torch.zeros_like(x_BCHW)


def test_a_denoiser_restores_what_can_be_restored_and_no_more(root, firenet, tmp_path):
    config = with_firenet(root, firenet)
    dataset = open_dataset(root)
    windows = load_or_build_windows(dataset, "test", config.data, config.window, tmp_path, watch)
    evaluation_set = EvaluationSet("test", dataset, windows, config, ProcessGroup())
    undo = torch.nn.Conv2d(5, 5, 1, bias=False)
    undo.weight.data = -torch.eye(5)[:, :, None, None]
    assert restored_share(evaluation_set, undo, Reversed(), "a") == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)
    mean = evaluation_set.anonymize_rows(Unchanged(), ("a",), evaluation_set.draw.start).mean(0)
    best = restored_share(evaluation_set, lambda x: mean.expand_as(x), Empty(), "a")
    assert best.value == pytest.approx(0.0, abs=1e-5)


def test_pictures_of_raw_voxels_are_alike_and_noise_spoils_them(root, firenet, tmp_path):
    config = with_firenet(root, firenet)
    dataset = open_dataset(root)
    windows = load_or_build_windows(dataset, "test", config.data, config.window, tmp_path, watch)
    evaluation_set = EvaluationSet("test", dataset, windows, config, ProcessGroup())
    picture = picture_maker(firenet, torch.device("cpu"))
    raw = picture_result(evaluation_set, picture, None, Unchanged(), "a")
    noisy = picture_result(evaluation_set, picture, None, Gaussian(3.0), "a")
    assert raw["ssim"]["value"] == pytest.approx(1.0, abs=1e-5)
    assert noisy["ssim"]["value"] < 0.99
    assert noisy["psnr_db"]["value"] < raw["psnr_db"]["value"]
    assert (raw["windows"], raw["people"]) == (12, 2)


def test_the_published_sample_goes_through(real_data, tmp_path):
    firenet = real_data / "weights" / "firenet_1000.pth.tar"
    config = with_firenet(real_data / "event_reid", firenet)
    people = len({trial.subject for trial in open_dataset(real_data / "event_reid").of("train")})
    config = config.model_copy(update={"data": config.data.model_copy(update={"val_people": people - 3})})
    Recipe(config, tmp_path, ProcessGroup(), Silent(), watch).pretrain()
    assert (tmp_path / "pretrain" / "identity" / "best.pt").exists()
