"""Sets with scenes without a gesture: scenes are not people, and identity stages see no one where no one is."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from dataset_makers import events_of, recording
from small_trainings import settings, watch

from eventveil.audit.evaluation.protocols import search
from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.models.configs import ResNetConfig
from eventveil.models.resnet import ResNetClassifier
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.clip_source import open_recording
from eventveil.replay.datasets.dvs_gesture import NOBODY
from eventveil.replay.datasets.statistics import table
from eventveil.replay.simulation.camera import Shot, film_series, film_visit
from eventveil.replay.simulation.dataset import check_part_recipes
from eventveil.replay.simulation.negatives import film_negative
from eventveil.training.data.loader import BatchLoader, mirrored_targets
from eventveil.training.data.simulated import simulate_set
from eventveil.training.data.split import PARTS, load_or_build_windows, open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.stage import accuracy, helper_losses
from eventveil.training.evaluation.evaluation import EvaluationSet, rank_identities
from eventveil.training.networks.baselines import Unchanged
from eventveil.training.settings import SimulateSettings, TripletSettings

CLASS_NOBODY, CLASS_NO_GESTURE = 12, 13
SMALL = Sensor(48, 40)
VISIT = [(CLASS_NOBODY, 0, 200_000), (CLASS_NO_GESTURE, 200_000, 500_000), (1, 500_000, 700_000), (1, 700_000, 900_000)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Eight people for training and two for tests, in two lights each, and five scenes, four for training."""
    folder = tmp_path_factory.mktemp("visits")
    people = [f"user{number:02}_{light}" for number in range(1, 11) for light in ("led", "lab")]
    scenes = [f"scene{number:02}_fan" for number in range(1, 6)]
    for number, name in enumerate((*people, *scenes)):
        labels = VISIT if name in people else [(CLASS_NO_GESTURE if number % 2 else CLASS_NOBODY, 0, 900_000)]
        recording(folder, name, labels, events_of(number, 400))
    for split, names in (("train", people[:16] + scenes[:4]), ("test", people[16:] + scenes[4:])):
        (folder / f"trials_to_{split}.txt").write_text("".join(f"{name}.aedat\n" for name in names))
    return folder


@pytest.fixture
def chosen(root):
    return settings(root)


@pytest.fixture
def dataset(chosen, tmp_path):
    return open_split(chosen.data, tmp_path, watch)


def windows(dataset, part, chosen, folder):
    return load_or_build_windows(dataset, part, chosen.data, chosen.window, folder, watch)


def test_scenes_are_divided_apart_from_people(dataset):
    parts = {part: {trial.subject for trial in dataset.of(part)} for part in ("train", "val", "test")}
    people = {part: sum(name.startswith("user") for name in names) for part, names in parts.items()}
    assert people == {"train": 6, "val": 2, "test": 2}
    scenes = {part: len(names) - people[part] for part, names in parts.items()}
    assert scenes == {"train": 3, "val": 1, "test": 1}
    assert len(set.union(*parts.values())) == 15


def test_scenes_do_not_count_as_people(root):
    dataset = open_dataset(root)
    assert len(dataset.people) == 10
    rows = table(dataset, Counter())
    assert {name: row.people for name, row in rows.items()} == {"train": 8, "test": 2, "total": 10}
    assert rows["total"].classes == 3


def test_an_identity_stage_never_sees_a_window_without_a_person(dataset, chosen, tmp_path):
    chosen = settings(dataset.root, window={"per_trial": 3})
    train = windows(dataset, "train", chosen, tmp_path)
    people = sorted({trial.subject for trial in train.trials if trial.person})
    mirrored = mirrored_targets(dataset.kind, len(dataset.classes))
    seen = {}
    for people_only in (True, False):
        loader = BatchLoader(train, chosen, "stage", mirrored, ProcessGroup(), people_only=people_only)
        assert list(loader.people) == people
        batches = [loader.batch(0, step) for step in range(loader.begin_epoch(0))]
        by_name = [(dataset.by_name[name], person) for batch in batches
                   for name, person in zip(batch.trials, batch.person_B.tolist(), strict=True)]  # fmt: skip
        for trial, person in by_name:
            unseen = trial.label == NOBODY or trial.subject.startswith("scene")
            assert (person == -1) == unseen
            assert unseen or people[person] == trial.subject
        seen[people_only] = {person for _, person in by_name}
    assert min(seen[True]) == 0
    assert min(seen[False]) == -1


def test_the_search_for_people_leaves_scenes_out(dataset, chosen, tmp_path):
    evaluation_set = EvaluationSet("test", dataset, windows(dataset, "test", chosen, tmp_path), chosen, ProcessGroup())
    network = ResNetClassifier(ResNetConfig(depth=18, channels=4, width=8, embedding=8, classes=6)).eval()
    found = rank_identities(evaluation_set, network, None, Unchanged(), "test")
    assert set(found.query.person) == set(found.gallery.person) == {"user09", "user10"}
    assert NOBODY not in {*found.query.target, *found.gallery.target}
    everything = replace(evaluation_set, people_only=False)
    assert NOBODY in {trial.label for trial in np.array(everything.windows.trials)[everything.draw.trial]}


def test_the_gallery_is_that_of_its_list(dataset, chosen, tmp_path):
    trials = [trial for trial in dataset.of("test") if trial.person and trial.label != NOBODY]
    query = [trial.name for trial in trials if trial.session == "led"]
    listed = [trial.name for trial in trials if trial.session == "lab" and trial.target == 0]
    for name, names in (("query", query), ("gallery", listed)):
        (tmp_path / f"{name}.txt").write_text("\n".join(names))
    lists = {"queries": tmp_path / "query.txt", "gallery": tmp_path / "gallery.txt"}
    chosen = settings(dataset.root, data=lists, attack={"session_disjoint": False})
    found = EvaluationSet("test", dataset, windows(dataset, "test", chosen, tmp_path), chosen, ProcessGroup())
    network = ResNetClassifier(ResNetConfig(depth=18, channels=4, width=8, embedding=8, classes=6)).eval()
    ranking = rank_identities(found, network, None, Unchanged(), "test")
    assert set(ranking.query.trial) == set(query)
    assert set(ranking.gallery.trial) == set(listed)
    searched = search(replace(found, people_only=True))
    assert len(searched.gallery) == len(ranking.gallery)
    with pytest.raises(pydantic.ValidationError, match="gallery: expected queries, too"):
        settings(dataset.root, data={"gallery": tmp_path / "gallery.txt"})


def test_windows_without_a_person_have_no_loss():
    generator = torch.Generator().manual_seed(0)
    embedding, logits = torch.randn(8, 5, generator=generator), torch.randn(8, 3, generator=generator)
    label = torch.tensor([0, -1, 1, 1, -1, 0, 2, -1])
    known, group, triplet = label >= 0, ProcessGroup(), TripletSettings()
    got = helper_losses((embedding, logits), label, triplet, group)
    want = helper_losses((embedding[known], logits[known]), label[known], triplet, group)
    torch.testing.assert_close((got.cross_entropy, got.triplet), (want.cross_entropy, want.triplet))
    assert accuracy(logits, label) == accuracy(logits[known], label[known])
    embedding.requires_grad_(True)
    empty = helper_losses((embedding, logits), torch.full((8,), -1), triplet, group)
    assert empty.loss.item() == 0
    assert torch.equal(torch.autograd.grad(empty.loss, embedding)[0], torch.zeros(8, 5))


@dataclass(frozen=True, slots=True)
class Half(ProcessGroup):
    """One of two processes; the other one has this many labelled windows."""

    others: int = 0

    def total(self, x):
        return x + self.others


def test_two_processes_have_the_loss_of_one_whatever_windows_have_labels():
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, -1, -1, -1, 1, 0, 2, -1])
    whole = helper_losses((logits, logits), label, None, ProcessGroup()).cross_entropy
    halves = [
        helper_losses((logits[part], logits[part]), label[part], None, Half(size=2, others=others)).cross_entropy
        for part, others in ((slice(4), 3), (slice(4, 8), 1))
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)  # the group averages gradients


def test_visits_series_and_scenes_of_all_looks_are_one_set(tmp_path, monkeypatch):
    monkeypatch.setattr("eventveil.replay.simulation.negatives.chosen", lambda _: ("noise",))
    monkeypatch.setattr("eventveil.replay.simulation.camera.Shot", partial(Shot, sensor=SMALL))
    looks = ("plain", "dvs-gesture")
    chosen = SimulateSettings(
        subjects=3, sessions=1, seconds=15, looks=looks, visits=True, series=2, series_seconds=0.1, scenes=2,
        scene_seconds=0.3, seed=4,
    )  # fmt: skip
    done = []
    simulate_set(tmp_path / "all", chosen, 1, lambda *numbers: done.append(numbers))
    assert done == [(number, 7) for number in range(1, 8)]
    dataset = open_dataset(tmp_path / "all")
    assert dataset.people == ("user01", "user02", "user03", "user04", "user05")
    assert {trial.subject: trial.split for trial in dataset.trials} == {
        "user01": "train", "user02": "train", "user03": "test", "user04": "train", "user05": "test",
        "scene01": "train", "scene02": "test",
    }  # fmt: skip
    # People and takes have the looks in turn; series have the lights in turn.
    for number in (1, 2):
        shot = Shot(sensor=SMALL, look=looks[number - 1])
        visit, _ = film_visit(4, subject=number, session=0, seconds=15, shot=shot)
        assert contents(tmp_path / "all", f"user{number:02}") == contents_of(visit)
        other = Shot(sensor=SMALL, look=looks[number % 2])  # of person 3 + number
        series, _ = film_series(4, subject=3 + number, session=number, seconds=0.1, shot=other)
        assert contents(tmp_path / "all", f"user{3 + number:02}") == contents_of(series)
        scene = film_negative(4, "noise", take=number - 1, seconds=0.3, shot=shot)
        assert contents(tmp_path / "all", f"scene{number:02}") == contents_of(scene)
    # A set that is complete is left as it is, and one of other looks is refused.
    simulate_set(tmp_path / "all", chosen, 1, lambda *numbers: done.append(numbers))
    assert len(done) == 7
    with pytest.raises(EventFileError, match="plain,dvs-gesture"):
        simulate_set(tmp_path / "all", chosen.model_copy(update={"looks": looks[:1]}), 1, lambda *_: None)
    # So is one with parts that are no longer wanted: they would be trained on.
    with pytest.raises(EventFileError, match="series"):
        simulate_set(tmp_path / "all", chosen.model_copy(update={"series": 0}), 1, lambda *_: None)


def test_series_change_neither_the_validation_people_nor_its_scenes(tmp_path):
    parts = {}
    for series in (0, 30):
        folder = tmp_path / str(series)
        folder.mkdir()
        people = [f"user{number:02}_led" for number in range(1, 11 + series)]
        names = [*people, *(f"scene{number:02}_fan" for number in range(1, 11))]
        for number, name in enumerate(names):
            recording(folder, name, [(1 + number % 11, 0, 500_000)], events_of(number, 40))
        lists = {"train": [*people[:8], *people[10:-2], *names[len(people) :]], "test": [*people[8:10], *people[38:]]}
        for split, listed in lists.items():
            (folder / f"trials_to_{split}.txt").write_text("".join(f"{name}.aedat\n" for name in dict.fromkeys(listed)))
        recipe = {"sequences": {"subjects": 10}} | ({"series": {"after": 10, "subjects": 30}} if series else {})
        (folder / "simulated.json").write_text(json.dumps(recipe))
        for drawn in (None, 2):
            chosen = settings(folder, data={"val_people": 4, "test_people": drawn})
            dataset = open_split(chosen.data, tmp_path / f"run {series} {drawn}", watch)
            parts[series, drawn] = {part: {trial.subject for trial in dataset.of(part)} for part in PARTS}
    for drawn in (None, 2):
        without, among = parts[0, drawn], parts[30, drawn]
        assert among["val"] == without["val"]
        assert without["train"] < among["train"]
        assert sum(name.startswith("scene") for name in among["val"]) == (5 if drawn is None else 4)
    assert parts[30, 2]["test"] == parts[0, 2]["test"]
    assert parts[30, None]["test"] == parts[0, None]["test"] | {"user39", "user40"}


def test_a_folder_that_is_refused_gains_no_part(tmp_path):
    check_part_recipes(tmp_path / "all", {"series": {"seed": 1}})
    before = (tmp_path / "all" / "simulated.json").read_bytes()
    for series in (0, 2):  # not wanted; made with other options
        chosen = SimulateSettings(subjects=3, seconds=15, visits=True, series=series)
        with pytest.raises(EventFileError, match="series"):
            simulate_set(tmp_path / "all", chosen, 1, lambda *_: None)
        assert (tmp_path / "all" / "simulated.json").read_bytes() == before


def contents(folder: Path, subject):
    """Return the events of a recording; the file itself also holds when it was written."""
    (path,) = folder.glob(f"{subject}_*.aedat4")
    with open_recording(path) as packets:
        return contents_of(packets)


def contents_of(packets):
    packets = list(packets)
    return [np.concatenate([getattr(packet, name) for packet in packets]).astype(np.int64).tobytes() for name in "txyp"]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"visits": True, "seconds": 14}, "15 seconds"),
        ({"scenes": 2}, "visits"),
        ({"series": 2}, "visits"),
        ({"series": 1, "visits": True, "seconds": 15}, "two people"),
        ({"series": 500, "subjects": 500, "visits": True, "seconds": 15}, "999"),
        ({"scenes": 1, "visits": True, "seconds": 15}, "two scenes"),
        ({"looks": []}, "looks"),
    ],
)
def test_a_set_that_cannot_be_simulated_is_refused(wrong, what):
    with pytest.raises(pydantic.ValidationError, match=what):
        SimulateSettings(**wrong)
