"""Rules of the published recipes: each against its formula, or against what the published code would leave."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import reference_models
import reference_training
import torch
from dataset_makers import frame, sequence
from small_trainings import Silent, planted, settings, watch

from eventveil.config import read_yaml
from eventveil.errors import ConfigError, WeightsError
from eventveil.events import EventPacket, Sensor
from eventveil.models.kinds import initialise
from eventveil.models.noise import SeededNoise
from eventveil.models.published import load_torchvision
from eventveil.replay.datasets import open_dataset
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.data.augment import draw_augmentation
from eventveil.training.data.event_rules import changed
from eventveil.training.data.loader import prepared
from eventveil.training.data.sampling import Draw, in_batches
from eventveil.training.data.split import load_or_build_windows, row_shape
from eventveil.training.data.windows import build
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.learner import Learner
from eventveil.training.evaluation.confidence import chance_ranking
from eventveil.training.evaluation.evaluation import EvaluationSet, embed_windows
from eventveil.training.evaluation.retrieval_metrics import Labels, left_out, rank_scores
from eventveil.training.networks.build import new_anonymizer, new_classifier
from eventveil.training.networks.subjects import baseline
from eventveil.training.objectives.objectives import OBJECTIVES, ForwardPass
from eventveil.training.randomness import numpy_generator
from eventveil.training.recipe import Recipe
from eventveil.training.settings import ObjectiveSettings, ScheduleSettings, TrainSettings

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


def test_structure_and_picture_are_compared_over_the_range_of_their_values():
    generator = torch.Generator().manual_seed(5)
    raw = 3 * torch.randn(2, 5, 12, 13, generator=generator)
    anonymized = torch.rand(2, 5, 12, 13, generator=generator)
    seen = []

    def picture(x_BCHW):
        seen.append(x_BCHW)
        return 0.2 * x_BCHW.sum(1, keepdim=True)

    loss = OBJECTIVES["structure-picture"](
        ForwardPass(raw, anonymized, torch.tensor(0.7), (), picture), ObjectiveSettings(alpha=2.0, beta=3.0, gamma=0.5)
    )
    assert any(x is anonymized for x in seen)  # unchanged, not normalised

    def similarity(one, other):
        both = [x.double().numpy() for x in (one, other)]
        data_range = max(x.max() - x.min() for x in both)
        pairs = [(a, b) for x, y in zip(*both, strict=True) for a, b in zip(x, y, strict=True)]
        return sum(reference_training.ssim(a, b, data_range) for a, b in pairs) / len(pairs)

    pictures = [0.2 * x.sum(1, keepdim=True) for x in (anonymized, raw)]
    want = 2 * (1 - similarity(raw, anonymized)) + 3 * similarity(*pictures) + 0.5 * 0.7
    assert loss.item() == pytest.approx(want, abs=1e-5)


def test_an_autoencoder_of_boxes_takes_grids_as_they_come():
    boxed = settings(
        "nowhere",
        window={"mode": "voxel", "bins": 5, "bin_us": 6_660, "size": [16, 24], "crop": "events", "offsets": 1},
        anonymizer={"kind": "event_autoencoder"},
    )
    model = new_anonymizer(boxed)
    x = 7 * torch.randn(1, 5, 24, 16, generator=torch.Generator().manual_seed(2))
    assert torch.equal(model.anonymize(x, SeededNoise(0)), model(x))
    assert torch.equal(prepared(x, boxed), x)


def test_a_clock_of_milliseconds_bins_as_tonic_does():
    random = np.random.default_rng(6)
    t_us = np.sort(random.integers(1_234, 457_890, 3_000))
    events = EventPacket.of(t_us, random.integers(0, 4, 3_000), random.integers(0, 3, 3_000), np.ones(3_000, bool))
    found = {}
    for clock_us in (1, 1_000):
        histogrammer = WindowedHistogrammer(Sensor(4, 3), None, 5, mode="recording", clock_us=clock_us)
        list(histogrammer.push(events))
        (window,) = histogrammer.finish()
        found[clock_us] = window.counts[:, 1].sum((1, 2)).tolist()
    ms = [int(t) // 1_000 for t in t_us]  # as the files of tonic hold them
    length = (ms[-1] - ms[0]) // 5
    want = [sum(ms[0] + k * length <= t < ms[0] + (k + 1) * length for t in ms) for k in range(5)]
    assert found[1_000] == want
    assert found[1] != want  # of whole microseconds, some events are in other bins


def test_the_remainder_of_an_epoch_can_be_a_batch():
    draw, person = Draw(np.arange(11), np.arange(11)), np.arange(11)

    def sizes(count, **kwargs):
        return [len(b) for b in in_batches(draw[:count], person[:count], 4, None, numpy_generator(1), **kwargs)]

    assert (sizes(11), sizes(11, keep_last=True)) == ([4, 4], [4, 4, 3])
    assert (sizes(9, keep_last=True), sizes(3, keep_last=True)) == ([4, 4], [3])  # batch norm needs two windows


def test_queries_without_a_match_can_count_as_not_found():
    """Three queries; the last one's person is in the gallery with its own target only, which is left out."""
    query = Labels(np.array([1, 2, 3]), np.array([0, 0, 0]), np.array(["a", "b", "c"]), np.array(["s"] * 3))
    gallery = Labels(
        np.array([1, 2, 3, 2]), np.array([1, 1, 0, 1]), np.array(["d", "e", "f", "g"]), np.array(["s"] * 4)
    )
    score = np.array([[0.9, 0.1, 0.2, 0.3], [0.8, 0.7, 0.1, 0.6], [0.5, 0.4, 0.3, 0.2]])
    out = left_out(query, gallery)
    # The first is found in place 1; the second has its two in places 2 and 3; the third has none.
    second = ((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2
    dropped, missed = (rank_scores(score, query, gallery, out, count_unmatched=count) for count in (False, True))
    assert (dropped.rank1, missed.rank1) == pytest.approx((1 / 2, 1 / 3))
    assert (dropped.rank5, missed.rank10) == pytest.approx((1, 2 / 3))
    assert dropped.mean_average_precision == pytest.approx((1 + second) / 2)
    assert missed.mean_average_precision == pytest.approx((1 + second + 0) / 3)
    assert (missed.unmatched, missed.persons.tolist()) == (1, [1, 2, 3])
    chances = [chance_ranking(query, gallery, out, count_unmatched=count) for count in (False, True)]
    assert [2 / 3 * value for value in chances[0]] == pytest.approx(list(chances[1]))


def test_the_mirrored_raw_window_is_anonymized_with_its_own_noise(root, tmp_path):
    class Doubles:
        """Adds noise, and doubles the left half: mirroring before or after makes a difference."""

        def anonymize(self, x_BCHW, generator):
            noise = generator.normal(x_BCHW.shape, x_BCHW.device)
            drawn.append(noise.clone())
            return x_BCHW * torch.tensor([2.0] * 4 + [1.0] * 4) + noise

    class Pixels(torch.nn.Module):
        def forward(self, x_BCHW):
            return x_BCHW.flatten(1), None

    config = settings(root, attack={"mirror": "raw"})
    dataset = open_dataset(root)
    windows = load_or_build_windows(dataset, "test", config.data, config.window, tmp_path, watch)
    drawn = []
    evaluation_set = EvaluationSet("test", dataset, windows, config, ProcessGroup())
    got = embed_windows(evaluation_set, Pixels(), None, Doubles(), "a")
    raw = torch.from_numpy(windows.cut(evaluation_set.draw.start))
    half, count = torch.tensor([2.0] * 4 + [1.0] * 4), len(drawn) // 2
    first, second = torch.cat(drawn[:count]), torch.cat(drawn[count:])
    want = raw * half + first + raw.flip(3) * half + second
    np.testing.assert_allclose(got, want.flatten(1).numpy(), rtol=1e-6)
    assert not torch.allclose(first, second)


def test_see_is_binned_by_the_number_of_its_frames(tmp_path):
    """Thirteen frames in five bins: two frames in each, and three are left out; the first and the last are empty."""
    frames = [
        frame() if number in (0, 12) else frame(on=[(number % 3, 0)], off=[(number % 3, 1)]) for number in range(13)
    ]
    sequence(tmp_path, "1_001_man_24_Master_normal_angry_13_take000", frames)
    sequence(tmp_path, "2_002_man_24_Master_normal_fear_13_take000", frames)
    window = {"mode": "recording", "bins": 5, "bin_us": None, "size": [24, 16], "offsets": 1, "clock": "frames"}
    shape = row_shape(settings("nowhere", window=window).window)
    windows = build(open_dataset(tmp_path).trials, shape, tmp_path / "windows")
    got = windows.cut(windows.first_row[:1])[0].reshape(5, 2, 16, 24)
    want = np.zeros((5, 2, 16, 24))
    for number, picture in enumerate(frames[:10]):
        want[number // 2, 1] += np.asarray(picture) == 255
        want[number // 2, 0] += np.asarray(picture) == 0
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("name", "farthest"), [("dvs_gesture", 10), ("see", 15), ("event_reid_anonynoise", 25)])
def test_windows_are_shifted_by_a_twelfth_of_their_size(name, farthest):
    path = Path(str(files("eventveil.configs"))) / "train" / f"{name}.yaml"
    config = TrainSettings.model_validate(read_yaml(path, TrainSettings))
    assert config.window.size[0] // 12 == farthest
    generator = torch.Generator().manual_seed(0)
    drawn = draw_augmentation(5_000, config.window.size, generator, config.augment)
    # Each of at most 51 shifts has 5,000 chances: one that does not appear has a probability of 1e-43.
    assert drawn[:, :2].amin(0).tolist() == [-farthest] * 2
    assert drawn[:, :2].amax(0).tolist() == [farthest] * 2
    assert config.augment.mirror == (name != "dvs_gesture")


def test_three_of_four_events_are_discarded_or_scrambled_before_the_grid():
    random = np.random.default_rng(8)
    t, count = np.arange(4_000) * 8, 4_000
    events = EventPacket.of(t, random.integers(5, 9, count), random.integers(7, 12, count), np.ones(count, bool))
    (kept,) = changed([events], "discard:0.75", "trial")
    # 1,000 events are expected, with a deviation of 27: beyond 200 the probability is 1e-13.
    assert abs(len(kept) - 1_000) < 200
    assert set(zip(kept.t, kept.x, kept.y, strict=True)) <= set(zip(events.t, events.x, events.y, strict=True))
    (moved,) = changed([events], "scramble:0.75", "trial")
    np.testing.assert_array_equal(moved.t, events.t)
    assert (moved.x.min(), moved.x.max(), moved.y.min(), moved.y.max()) == (5, 8, 7, 11)
    # Half of the three quarters change their polarity: 1,500, deviation 31.
    assert abs(int((~moved.p).sum()) - 1_500) < 220
    places = {}
    for old, new, flipped in zip(zip(events.x, events.y), zip(moved.x, moved.y), ~moved.p):  # noqa: B905
        if flipped:  # moved for certain
            places.setdefault(old, set()).add(new)
    assert all(len(new) == 1 for new in places.values())  # a permutation of the 20 pixels
    assert len({next(iter(new)) for new in places.values()}) == 20


def test_scrambled_counts_stay_in_their_bin():
    x = torch.poisson(torch.full((3, 4, 9, 7), 5.0), generator=torch.Generator().manual_seed(1))
    got = baseline("scramble:0.75").anonymize(x, SeededNoise(3))
    assert torch.equal(got.view(3, 2, -1).sum(2), x.view(3, 2, -1).sum(2))
    assert got.min() >= 0
    same = baseline("scramble:0").anonymize(x, SeededNoise(3))
    assert torch.equal(same, x)
    # All of the first bin's events are ON; of those that are scrambled half become OFF: 0.375 of 945, deviation 15.
    only_on = torch.zeros(1, 2, 9, 7)
    only_on[:, 1] = 15
    flipped = baseline("scramble:0.75").anonymize(only_on, SeededNoise(4))[:, 0].sum()
    assert abs(float(flipped) - 0.375 * 945) < 110  # 7 deviations: a probability of 1e-12
