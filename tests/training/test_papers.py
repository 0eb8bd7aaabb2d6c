"""Rules of the published recipes: each against its formula, or against what the published code would leave."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import reference_models
import torch
from small_trainings import Silent, planted, settings, watch

from eventveil.config import read_yaml
from eventveil.errors import ConfigError, WeightsError
from eventveil.models.kinds import initialise
from eventveil.models.published import load_torchvision
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.learner import Learner
from eventveil.training.networks.build import new_classifier
from eventveil.training.recipe import Recipe
from eventveil.training.settings import ScheduleSettings, TrainSettings

STILL = 1e-12  # a learning rate at which weights stay what they were


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("set"), train=4, test=2)


def networks(folder):
    return torch.load(folder / "best.pt", weights_only=True)["networks"]


def weights_of(state, prefix=""):
    return {name.removeprefix(prefix): value for name, value in state.items() if name.endswith(("weight", "bias"))}


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """A run without validation people, whose attackers start from its helpers and stay there."""
    folder = tmp_path_factory.mktemp("run")
    config = settings(
        root,
        data={"val_people": 0},
        adversarial={"best_by": "last", "epochs": 2},
        attack={"from": "pipeline", "lr": STILL, "epochs": 1, "schedule": "constant", "against": ["raw", "anonymizer"]},
    )
    reporter = Silent()
    Recipe(config, folder, ProcessGroup(), reporter, watch).run_all()
    return folder, reporter.rows


def test_attackers_on_the_anonymizer_start_from_the_networks_of_the_pipeline(run):
    folder, _ = run
    helpers = networks(folder / "adversarial")
    for label, helper in (("target", "kept"), ("identity", "adversary0")):
        begun = weights_of(networks(folder / "attack" / "anonymizer" / label)["attacker"], "classifier.")
        for name, value in weights_of(helpers[helper]).items():
            torch.testing.assert_close(begun[name], value, rtol=0, atol=1e-9)
        fresh = weights_of(networks(folder / "attack" / "raw" / label)["attacker"], "classifier.")
        assert not torch.allclose(fresh["backbone.0.weight"], helpers[helper]["backbone.0.weight"])


def test_without_validation_people_all_train_and_the_last_epoch_counts(run, root):
    folder, rows = run
    assert not [name for row in rows for name in row if name.startswith("val_")]
    for stage in ("pretrain/target", "pretrain/identity", "adversarial"):
        assert torch.load(folder / stage / "best.pt", weights_only=True)["epoch"] == 1
    classifier = networks(folder / "pretrain" / "identity")["attacker"]["classifier.classifier.0.weight"]
    assert len(classifier) == 4


def test_a_trade_off_needs_validation_people(root):
    with pytest.raises(ValueError, match=r"adversarial\.best_by: trade-off chooses an epoch on validation people"):
        settings(root, data={"val_people": 0})


def test_the_pipeline_of_this_run_did_not_make_other_weights(root):
    with pytest.raises(ValueError, match="from pipeline starts from the networks of this run's stage 2"):
        settings(root, attack={"from": "pipeline", "weights": "other.safetensors"})


def test_a_backbone_from_torchvision_computes_what_torchvisions_does(tmp_path):
    state, path = reference_models.torchvision_state(18), tmp_path / "resnet18.pth"
    torch.save(state, path)
    small = {"depth": 18, "embedding": 8, "width": 64, "backbone": str(path)}
    config = settings("nowhere", target=small)
    network = new_classifier("target", 3, config, "pretrain").eval()
    x = torch.randn(2, 4, 32, 40, generator=torch.Generator().manual_seed(1))  # 2 bins of 2 polarities

    def widened(stem):
        return torch.stack([stem[:, channel % 3] for channel in range(4)], dim=1)

    with torch.no_grad():
        got, want = network.backbone(x).flatten(1), reference_models.resnet_pooled(state, x, 18, widened)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * want.abs().max().item())
    for wrong in (settings("nowhere", target=small | {"width": 8}), settings("nowhere", target=small | {"depth": 34})):
        with pytest.raises((ConfigError, WeightsError), match="resnet18"):
            new_classifier("target", 3, wrong, "pretrain")


def test_sgd_steps_as_its_formula_says():
    network = torch.nn.Linear(3, 2)
    weights = [parameter.detach().clone().double() for parameter in network.parameters()]
    velocity = [torch.zeros_like(weight) for weight in weights]
    schedule = ScheduleSettings(lr=0.1, schedule="constant", weight_decay=0.05)
    learner = Learner(network, schedule, "sgd", 1, ProcessGroup())
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        output = network(x)
        slope = 2 * output.detach().double()  # of the sum of squares
        gradients = [slope.T @ x.double(), slope.sum(0)]
        learner.gradient(output.square().sum() / 100).step()
        for weight, gradient, moving in zip(weights, gradients, velocity, strict=True):
            decayed = gradient / 100 + 0.05 * weight
            moving.mul_(0.9).add_(decayed)
            weight.sub_(0.1 * (decayed + 0.9 * moving))  # Nesterov: a step ahead along the momentum
    for got, want in zip(network.parameters(), weights, strict=True):
        torch.testing.assert_close(got.detach().double(), want, rtol=1e-5, atol=1e-6)


def test_the_network_of_event_reid_has_no_stride_in_its_last_stage():
    state = reference_models.torchvision_state(50)
    config = {"depth": 50, "channels": 5, "classes": 22, "embedding": 256, "last_stride": 1, "dropout": 0.0}
    network = initialise("resnet_classifier", config, seed=0)
    load_torchvision(network, state, Path("resnet50"))
    x = torch.randn(1, 5, 96, 64, generator=torch.Generator().manual_seed(1))

    def widened(stem):
        return torch.cat([stem, stem[:, :2]], dim=1)  # channels 3 and 4 are copies of 0 and 1

    with torch.no_grad():
        assert network.backbone[:-1](x).shape == (1, 2048, 6, 4)  # an eighth of 32 and more, not a sixteenth
        got = network.backbone(x).flatten(1)
        want = reference_models.resnet_pooled(state, x, 50, widened, last_stride=1)
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * want.abs().max().item())
        assert torch.equal(network.train().linear_block[3](got), got)


def test_the_configuration_of_event_reid_is_the_papers():
    path = Path(str(files("eventveil.configs"))) / "train" / "event_reid.yaml"
    config = TrainSettings.model_validate(read_yaml(path, TrainSettings))
    assert (config.optimizer, config.batch, config.people_per_batch) == ("sgd", 24, 3)
    stages = (config.adversarial.anonymizer, config.adversarial.helpers, config.attack)
    assert {(stage.lr, stage.weight_decay, stage.schedule) for stage in stages} == {(0.001, 5e-4, "constant")}
    assert (config.adversarial.epochs, config.adversarial.best_by, config.adversarial.from_pretrained) == (
        60,
        "last",
        False,
    )
    network = config.identity
    assert (network.depth, network.embedding, network.last_stride, network.dropout) == (50, 256, 1, 0.0)
    assert (config.augment.padding, config.augment.rotation_deg, config.augment.mirror) == (0, 0, False)
