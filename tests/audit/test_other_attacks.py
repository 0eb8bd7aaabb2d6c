"""Planted leakage for the other attacks: inversion, pictures, guessing the noise, averaging, and probes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_audits import Nothing, settings
from small_trainings import GESTURES, Silent, planted, watch

from eventveil.audit.attacks import FAMILIES, attributes
from eventveil.audit.attacks.attributes import Probing, balanced_accuracy
from eventveil.audit.attacks.averaging import Averaged, Overlapped
from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.attacks.inversion import Denoising, Inverting
from eventveil.audit.attacks.noise_replay import GENERATORS, Guessing, replay
from eventveil.audit.attacks.reconstruction import Comparison, RetrievalAttack, others
from eventveil.audit.execution.scheduler import perform
from eventveil.audit.figures import Attack, Attribute, Figure, Likeness, Replay
from eventveil.audit.subjects import Subject
from eventveil.audit.traits import Trait, traits_of
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.models.anonynoise import AnonyNoise
from eventveil.models.configs import AnonyNoiseConfig
from eventveil.models.noise import LiveNoise, SeededNoise
from eventveil.models.reconstruction import FireNet
from eventveil.replay.datasets.trials import Dataset, Trial
from eventveil.replay.simulation.looks import look_named
from eventveil.replay.simulation.person import Person
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Discard, Gaussian, Pixelate, Scramble
from eventveil.training.networks.baselines import Unchanged as Unchanged
from eventveil.training.settings import AugmentSettings

pytestmark = pytest.mark.timeout(600)  # half a minute alone; far more next to trainings


class Turned:
    """Reverses time and polarity, amplified far above its noise, so that it can be undone."""

    def anonymize(self, x_BCHW, generator, /):
        return -5 * x_BCHW.flip(1) + generator.normal(x_BCHW.shape, x_BCHW.device)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return the workspace of an audit with six test people, raw windows and two anonymizers."""
    root = planted(tmp_path_factory.mktemp("planted"), train=8, test=6)
    torch.manual_seed(1)
    firenet = tmp_path_factory.mktemp("firenet") / "firenet.pth"
    torch.save(FireNet().state_dict(), firenet)
    short = {"epochs": 4, "lr": 0.01}
    audit_settings = settings(
        root, linking=[1], attackers={"architectures": ["plain"], **short},
        inversion={"architectures": ["plain"], "width": 8, "layers": 4, **short},
        reconstruction={"weights": str(firenet), "architectures": ["plain"]},
        probes={"probes": ["linear", "cnn"], **short},
    )  # fmt: skip
    work = tmp_path_factory.mktemp("work")
    subjects = (Subject("raw", Unchanged()), Subject("turned", Turned(), True), Subject("nothing", Nothing(), True))
    plan = AuditPlan(audit_settings, subjects, work, open_split(audit_settings.data, work, watch))
    return AuditWorkspace(plan, ProcessGroup(), Silent())


def test_jobs_keep_the_names_by_which_a_resumed_audit_finds_their_results(workspace):
    subjects = (workspace.subject("raw"), workspace.subject("turned"))
    audit_settings = workspace.settings.model_copy(update={"averaging": 2, "guesses": 1})
    plan = AuditPlan(audit_settings, subjects, workspace.work, workspace.dataset)
    assert [job.name for family in FAMILIES for job in family.jobs(plan)] == [
        "raw/identity-plain-0", "turned/identity-plain-0",
        "raw/nearest-squares", "raw/nearest-bits", "turned/nearest-squares", "turned/nearest-bits",
        "raw/statistics", "turned/statistics",
        "turned/messages",
        "turned-averaging/identity-plain-0", "turned-overlapping/identity-plain-0",
        "raw/target", "turned/target",
        "turned/inverting-0", "turned/denoising-plain-0",
        "raw/reconstructing-plain-0", "raw/pictures", "turned/pictures",
        "turned/replay",
        "raw/attributes-linear", "raw/attributes-cnn", "turned/attributes-linear", "turned/attributes-cnn",
    ]  # fmt: skip


def attacks(values):
    return [Attack.model_validate(attack) for attack in values]


def lows(values):
    return [advantage.low for attack in attacks(values) for advantage in attack.advantages]


def gained(values):
    return np.mean([advantage.value for attack in attacks(values) for advantage in attack.advantages])


def chance_lies_within(values):
    return all(a.low <= 0.02 and a.high >= 0 for attack in attacks(values) for a in attack.advantages)


def test_an_invertible_anonymizer_is_found_by_inverting_and_by_denoising(workspace):
    ignorant = IdentityAttack("raw", "plain", 0, ("raw", "turned")).run(workspace)["attacks"]
    alone = Inverting("turned", 0, (("plain", 0),)).run(workspace)
    together = Denoising("turned", "plain", 0).run(workspace)
    assert Figure.model_validate(alone["restored"]).low > 0.5
    assert {attack.knowledge for attack in attacks(alone["attacks"])} == {"inverting"}
    assert {attack.knowledge for attack in attacks(together["attacks"])} == {"denoising"}
    assert min(lows(alone["attacks"])) > 0.4
    assert min(lows(together["attacks"])) > 0.4
    assert gained(alone["attacks"]) > gained(ignorant["turned"]) + 0.05  # the same network, without the denoiser


def test_noise_cannot_be_inverted(workspace):
    alone = Inverting("nothing", 0, (("plain", 0),)).run(workspace)
    assert Figure.model_validate(alone["restored"]).low <= 0
    assert Figure.model_validate(alone["restored"]).value < 0.1
    assert chance_lies_within(alone["attacks"])
    assert chance_lies_within(Denoising("nothing", "plain", 0).run(workspace)["attacks"])


def test_the_inverting_job_waits_for_the_network_trained_on_raw_windows():
    assert Inverting("turned", 0, (("plain", 0),)).after == (IdentityAttack("raw", "plain", 0, ()).name,)


def test_the_epoch_is_chosen_by_what_is_linked(workspace):
    network = Network(workspace.subject("raw"), "plain", 0, "identity")
    workspace.train_or_load(network)
    rows = (workspace.work / network.name / "epochs.csv").read_text().splitlines()
    assert "val_linked_mAP" in rows[0]
    assert "val_mAP" not in rows[0].split(",")


def test_people_are_found_by_pictures_of_raw_windows_and_not_by_pictures_of_noise(workspace):
    by_subject = RetrievalAttack("plain", 0, ("raw", "nothing")).run(workspace)["attacks"]
    assert max(lows(by_subject["raw"])) > 0.4
    assert chance_lies_within(by_subject["nothing"])
    assert {attack.knowledge for attack in attacks(by_subject["raw"])} == {"reconstructing"}


def test_pictures_resemble_those_of_raw_windows_if_something_is_kept(workspace):
    by_name = {}
    for name in ("raw", "turned", "nothing"):
        perform(Comparison(name), workspace)
        results = json.loads((workspace.work / "results" / name / "pictures.json").read_text())
        by_name[name] = Likeness.model_validate(results["likeness"])
        assert (workspace.work / "pictures" / f"{name}.png").read_bytes()[1:4] == b"PNG"
    assert by_name["raw"].ssim.value == pytest.approx(1, abs=1e-4)
    assert by_name["raw"].psnr_db.value == 100
    assert by_name["raw"].ssim.chance < 0.8  # other people's pictures differ
    assert by_name["turned"].ssim.low > by_name["turned"].ssim.chance + 0.05
    nothing = by_name["nothing"].ssim
    assert abs(nothing.value - nothing.chance) < 0.05
    assert nothing.value < by_name["turned"].ssim.value


def test_chance_is_of_other_people_who_do_the_same(workspace):
    test = workspace.test
    other = others(test, 0)
    assert (test.persons[other] != test.persons).all()
    assert (test.targets[other] == test.targets).all()


@pytest.fixture(scope="module")
def windows():
    generator = torch.Generator().manual_seed(0)
    x_NCHW = torch.poisson(torch.full((24, 4, 12, 12), 0.5), generator=generator)
    return x_NCHW, np.array([f"person {number % 6}" for number in range(24)])


def noisy():
    torch.manual_seed(0)
    return AnonyNoise(AnonyNoiseConfig(channels=4, noise_std=4.0)).eval()


@pytest.mark.parametrize("anonymizer", [Gaussian(4.0), Scramble(), Discard(0.5), noisy()])
@pytest.mark.parametrize("make", GENERATORS)
def test_noise_from_a_tried_seed_is_predicted_with_every_generator(windows, anonymizer, make):
    with torch.inference_mode():
        result = replay(anonymizer, *windows, make(5), 8)
    assert result.succeeded
    assert result.explained.low > 0.99
    assert result.guesses == 24


@pytest.mark.parametrize("anonymizer", [Gaussian(4.0), Scramble(), noisy()])
@pytest.mark.parametrize("noise", [LiveNoise(), SeededNoise(10**9)])
def test_live_noise_and_untried_seeds_are_not_predicted(windows, anonymizer, noise):
    with torch.inference_mode():
        result = replay(anonymizer, *windows, noise, 8)
    assert not result.succeeded
    assert result.explained.low < 0.1
    assert result.explained.high > -0.1


def test_where_no_noise_is_drawn_nothing_is_guessed(windows):
    result = replay(Pixelate(2), *windows, LiveNoise(), 8)
    assert (result.noise, result.succeeded, result.explained) == (False, False, None)


def test_the_audit_guesses_against_the_noise_of_the_pipeline(workspace, monkeypatch):
    assert not Replay.model_validate(Guessing("turned", 4).run(workspace)["replay"]).succeeded
    # A pipeline whose noise came from a seed would be detected.
    monkeypatch.setattr("eventveil.audit.attacks.noise_replay.LiveNoise", lambda: SeededNoise(3))
    assert Replay.model_validate(Guessing("turned", 4).run(workspace)["replay"]).succeeded


@pytest.mark.parametrize("hop", [1, 2, 3, 6])
def test_windows_that_overlap_show_every_bin_and_take_noise_off_where_they_do(hop):
    x_BCHW = torch.poisson(torch.full((3, 12, 8, 8), 2.0))
    torch.testing.assert_close(Overlapped(Unchanged(), 6, hop).anonymize(x_BCHW, SeededNoise(0)), x_BCHW)
    left = Overlapped(Gaussian(2.0), 6, hop).anonymize(x_BCHW, SeededNoise(0)) - x_BCHW
    assert left.std().item() == pytest.approx(2.0 / (6 / hop) ** 0.5, rel=0.1)
    again = Averaged(Gaussian(2.0), 4).anonymize(x_BCHW, SeededNoise(0)) - x_BCHW
    assert again.std().item() == pytest.approx(1.0, rel=0.1)


def test_windows_that_overlap_show_what_happened_in_other_places():
    windows = []

    class Recording:
        def anonymize(self, x_BCHW, generator, /):
            windows.append(x_BCHW.view(1, 4, 2).sum(2).flatten().tolist())
            return x_BCHW

    x_BCHW = torch.tensor([5.0, 0, 0, 0, 0, 0, 7, 0]).view(1, 8, 1, 1)  # bins 0 and 3
    Overlapped(Recording(), 4, 1).anonymize(x_BCHW, SeededNoise(0))
    assert sorted(windows) == sorted(
        [[0, 0, 0, 5], [0, 0, 5, 0], [0, 5, 0, 0], [5, 0, 0, 7], [0, 0, 7, 0], [0, 7, 0, 0], [7, 0, 0, 0]]
    )


@pytest.mark.nightly
def test_averaging_windows_that_overlap_gains_over_seeing_each_event_once(tmp_path):
    root = planted(tmp_path / "planted", train=8, test=6)
    audit_settings = settings(
        root, linking=[1], attackers={"architectures": ["plain"], "epochs": 6},
        window={"bins": 8, "bin_us": 15_000, "offsets": 1},
    )  # fmt: skip
    subjects = (Subject("raw", Unchanged()), Subject("once", Gaussian(4.0)),
                Subject("overlapping", Overlapped(Gaussian(4.0), 8, 1)))  # fmt: skip
    plan = AuditPlan(audit_settings, subjects, tmp_path, open_split(audit_settings.data, tmp_path, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())

    def advantage(name):
        subject = workspace.subject(name)
        attacker = workspace.train_or_load(Network(subject, "plain", 0, "identity"))
        result = workspace.attack(
            attacker, subject, name, knowledge="overlapping", architecture="plain", seed=0
        )  # fmt: skip
        return attacks(result)[-1].advantages[0].value

    assert advantage("overlapping") > advantage("once") + 0.2


def test_probes_find_planted_traits_and_none_in_noise(workspace, monkeypatch):
    trials = workspace.dataset.trials
    gesture = Trait("gesture", ("a", "b", "c"), {trial.name: GESTURES.index(trial.target) for trial in trials})
    half = {trial.name: sum(trial.subject.encode()) % 2 for trial in trials}  # and nothing shows it
    chosen = Trait("half", ("even", "odd"), half)
    monkeypatch.setattr(attributes, "traits_of", lambda dataset: [gesture, chosen])
    for probe in ("linear", "cnn"):
        raw = [Attribute.model_validate(one) for one in Probing("raw", probe).run(workspace)["attributes"]]
        assert [(one.name, one.probe, one.people) for one in raw] == [("gesture", probe, 6), ("half", probe, 6)]
        assert raw[0].accuracy.low > 0.6
        assert raw[0].accuracy.chance == pytest.approx(1 / 3)
        assert raw[1].accuracy.low <= raw[1].accuracy.chance == 0.5
        assert raw[1].accuracy.high - raw[1].accuracy.low > 0.3  # six people, however many windows
        for one in Probing("nothing", probe).run(workspace)["attributes"]:
            accuracy = Attribute.model_validate(one).accuracy
            assert accuracy.low <= accuracy.chance <= accuracy.high


def test_balanced_accuracy_is_the_mean_over_classes():
    right = np.array([0] * 8 + [1] * 2)
    assert balanced_accuracy(np.stack((np.zeros(10, int), right), axis=1)) == 0.5
    assert balanced_accuracy(np.stack((right, right), axis=1)) == 1
    predicted = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0])
    assert balanced_accuracy(np.stack((predicted, right), axis=1)) == 0.5


def dataset(root, lighting=("led", "natural")):
    trials = [
        Trial(f"{split}/{subject}_{number}", root, f"user{subject:02}", 0, "clap", light or f"camera{number}", light,
              1, split, opener=None)
        for split, people in (("train", range(1, 13)), ("val", range(13, 15)), ("test", range(15, 25)))
        for subject in people
        for number, light in enumerate(lighting)
    ]  # fmt: skip
    return Dataset("dvs-gesture", "x", root, ("clap",), tuple(trials))


@pytest.mark.parametrize("gestures", [True, False])
def test_traits_of_simulated_people_are_those_they_were_drawn_with(tmp_path, gestures):
    options = {"seed": 7, "seconds": 2.0, "subjects": 24}
    recipe = options if gestures else {"sequences": options, "negatives": {"seed": 8}}
    (tmp_path / "simulated.json").write_text(json.dumps(recipe))
    light, glasses, height, hand, tempo = traits_of(dataset(tmp_path))
    assert (light.name, light.classes) == ("light", ("led", "natural"))
    assert (glasses.name, glasses.classes) == ("glasses", ("glasses", "none"))
    assert (height.name, height.classes) == ("height", ("short", "tall"))
    assert (hand.name, hand.classes) == ("hand", ("left", "right"))
    assert (tempo.name, tempo.classes) == ("tempo", ("fast", "slow"))
    tall, slow = [], []
    for trial in dataset(tmp_path).trials:
        person = Person.drawn(7, int(trial.subject[4:]))
        assert glasses.classes[glasses.of[trial.name]] == ("glasses" if person.glasses else "none")
        assert hand.classes[hand.of[trial.name]] == ("left" if person.left_handed else "right")
        slow.append((tempo.of[trial.name], person.tempo))
        tall.append((height.of[trial.name], person.torso + person.head_height))
    assert min(h for is_tall, h in tall if is_tall) > max(h for is_tall, h in tall if not is_tall)
    assert max(tempo for is_slow, tempo in slow if is_slow) < min(tempo for is_slow, tempo in slow if not is_slow)


def test_traits_are_those_of_people_with_the_looks_that_they_have_in_turn(tmp_path):
    recipe = {"seed": 7, "seconds": 2.0, "subjects": 24, "look": "varied,plain"}
    (tmp_path / "simulated.json").write_text(json.dumps(recipe))
    of = {trait.name: trait for trait in traits_of(dataset(tmp_path))}
    for trial in dataset(tmp_path).trials:
        number = int(trial.subject[4:])
        person = look_named("varied" if number % 2 else "plain").person(7, number)
        assert of["glasses"].classes[of["glasses"].of[trial.name]] == ("glasses" if person.glasses else "none")
        assert of["hand"].classes[of["hand"].of[trial.name]] == ("left" if person.left_handed else "right")


def test_windows_are_not_mirrored_for_probes_which_would_hide_the_hand(workspace, monkeypatch):
    settings = workspace.settings.model_copy(update={"augment": AugmentSettings(mirror=True)})
    monkeypatch.setattr(workspace, "settings", settings)
    trained = []
    monkeypatch.setattr(workspace, "train", lambda _stage, of_training, _subject: trained.append(of_training))
    Probing("raw", "linear").run(workspace)
    assert [one.augment.mirror for one in trained] == [False]


def test_real_people_have_only_the_light_or_the_camera_as_traits(tmp_path):
    assert [trait.name for trait in traits_of(dataset(tmp_path))] == ["light"]
    assert [trait.name for trait in traits_of(dataset(tmp_path, lighting=(None, None)))] == ["session"]
    assert traits_of(dataset(tmp_path, lighting=("led",))) == []
    (tmp_path / "simulated.json").write_text(json.dumps({"negatives": {"seed": 7}}))  # scenes without people
    assert [trait.name for trait in traits_of(dataset(tmp_path))] == ["light"]
    # With another person among simulated people, their traits are unknown.
    (tmp_path / "simulated.json").write_text(json.dumps({"seed": 7}))
    real = dataset(tmp_path)
    mixed = replace(real, trials=(*real.trials, replace(real.trials[0], name="x", subject="anna")))
    assert [trait.name for trait in traits_of(mixed)] == ["light"]
