"""Splits by person, and lists of queries and gallery."""

from __future__ import annotations

import json

import dataset_makers as make
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import DatasetError
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.retrieval import draw_retrieval, read_retrieval
from eventveil.replay.datasets.splits import Split, load_split, split_by_person


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    return open_dataset(make.tonic(tmp_path_factory.mktemp("tonic"), classes=(0, 1, 10)))


@given(st.integers(-5, 10**6), st.integers(1, 3), st.integers(1, 2))
def test_no_person_stands_on_both_sides(gestures, seed, train, test):
    split = split_by_person(gestures, {"train": train, "test": test}, seed)
    dataset = split.apply(gestures)
    sides = {part: {trial.subject for trial in dataset.of(part)} for part in ("train", "test")}
    assert not sides["train"] & sides["test"]
    assert (len(sides["train"]), len(sides["test"])) == (train, test)
    assert all(trial.split in sides and trial.subject in sides[trial.split] for trial in dataset.trials)
    assert len(dataset.trials) == 6 * (train + test)  # two lightings, three classes: all of each person


def test_the_same_seed_gives_the_same_split_on_every_machine(gestures):
    counts = {"train": 2, "val": 1, "test": 1}
    assert split_by_person(gestures, counts, 1) == Split(
        1, {"train": ("user03", "user25"), "val": ("user02",), "test": ("user24",)}
    )
    assert len({str(split_by_person(gestures, counts, seed)) for seed in range(20)}) > 10


@pytest.mark.parametrize("counts", [{}, {"train": 0, "test": 1}, {"train": 4, "test": 2}])
def test_parts_that_cannot_be_filled(gestures, counts):
    with pytest.raises(DatasetError, match="expected parts of one person or more, 5 in all"):
        split_by_person(gestures, counts, 0)


def test_a_split_is_read_back_as_it_was_written(gestures, tmp_path):
    split = split_by_person(gestures, {"train": 3, "test": 2}, 7)
    split.save(tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split
    assert json.loads((tmp_path / "split.json").read_text())["seed"] == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "expected a split as JSON"),
        ("[]", "expected a split as JSON"),
        ('{"seed": 1}', "expected a split as JSON"),
        ('{"seed": 1, "people": {"train": 3}}', "expected a split as JSON"),
        ('{"seed": "1", "people": {}}', "a whole number as seed"),
        ('{"seed": 1, "people": {"train": [3]}}', "names as text"),
        ('{"seed": 1, "people": {"train": ["a"], "test": ["a"]}}', "person a is in the split twice"),
        ('{"seed": 1, "people": {"train": ["a", "a"]}}', "person a is in the split twice"),
    ],
)
def test_files_that_are_not_a_split(tmp_path, content, message):
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_split(path)


def test_a_split_of_another_dataset(gestures):
    with pytest.raises(DatasetError, match="names people who are not there: user99"):
        Split(0, {"train": ("user01", "user99")}).apply(gestures)


def test_an_unknown_split_is_reported_with_the_known_ones(gestures):
    with pytest.raises(DatasetError, match="expected a split of train, test, got 'val'"):
        gestures.of("val")


def test_one_query_per_person_and_class(gestures):
    trials = gestures.of("test")
    query, gallery = draw_retrieval(trials, 3)
    assert sorted((trial.subject, trial.target) for trial in query) == [
        (person, target) for person in ("user24", "user25") for target in (0, 1, 10)
    ]
    assert {trial.name for trial in query} | {trial.name for trial in gallery} == {trial.name for trial in trials}
    assert len(query) + len(gallery) == len(trials)
    assert draw_retrieval(reversed(trials), 3).query == query[::-1]  # the order does not matter
    assert len({draw_retrieval(trials, seed).query for seed in range(20)}) > 5


def test_one_query_per_person_and_camera(tmp_path):
    query, gallery = draw_retrieval(open_dataset(make.reid(tmp_path)).of("test"), 0)
    assert sorted((trial.subject, trial.session) for trial in query) == [
        (person, camera) for person in ("002", "005") for camera in ("c1", "c2")
    ]
    assert len(gallery) > 50


def test_queries_without_a_gallery_are_refused(tmp_path):
    make.tonic_trial(tmp_path, "ibmGestureTest/user24_led/3.npy")
    with pytest.raises(DatasetError, match="got 1 and 0 trials"):
        draw_retrieval(open_dataset(tmp_path).of("test"), 0)


QUERIES = ("ibmGestureTest/user24_natural/10.npy", "ibmGestureTest/user25_fluorescent_led/0.npy")


def test_lists_in_each_published_form(gestures, tmp_path):
    path = tmp_path / "query.txt"
    path.write_text(f"user24 7 /{QUERIES[0]}\n{QUERIES[1]} 025 \n\n{QUERIES[0]}\n")
    query, gallery = read_retrieval(gestures, path)
    assert tuple(trial.name for trial in query) == QUERIES
    assert len(gallery) == 12 - 2
    reid = open_dataset(make.reid(tmp_path / "reid"))
    path.write_text("002_c2_006.txt\n005_c1_011.txt\n")
    assert [trial.name for trial in read_retrieval(reid, path).query] == ["002_c2_006.txt", "005_c1_011.txt"]


def test_a_gallery_that_is_given(gestures, tmp_path):
    query, gallery = tmp_path / "query.txt", tmp_path / "gallery.txt"
    query.write_text(QUERIES[0])
    gallery.write_text(QUERIES[1])
    retrieval = read_retrieval(gestures, query, gallery)
    assert [trial.name for trials in retrieval for trial in trials] == list(QUERIES)
    gallery.write_text("\n".join(QUERIES))
    with pytest.raises(DatasetError, match="is also on the list of queries"):
        read_retrieval(gestures, query, gallery)


def test_the_lists_of_see(tmp_path):
    names = [trial.path.name for trial in open_dataset(make.see(tmp_path / "bare")).trials]
    sides = {"train": names[:2], "query": names[4:5], "gallery": names[5:6]}
    lists = {side: [{"filename": name} for name in names_of_side] for side, names_of_side in sides.items()}
    path = tmp_path / "lists.json"
    path.write_text(json.dumps(lists, indent=2))
    retrieval = read_retrieval(open_dataset(tmp_path / "bare"), path, path, split="all")
    assert [[trial.path.name for trial in trials] for trials in retrieval] == [sides["query"], sides["gallery"]]
    path.write_text('{"query": ["a"]}')
    with pytest.raises(DatasetError, match="expected rows with a filename under 'query'"):
        read_retrieval(open_dataset(tmp_path / "bare"), path, split="all")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ibmGestureTest/user24_natural/9.npy", "row 2: expected the name of one trial"),  # not there
        ("ibmGestureTrain/user01_natural/0.npy", "row 2: expected the name of one trial"),  # of the other split
        ("10.npy", "row 2: expected the name of one trial"),  # of many
        (" ".join(QUERIES), "row 2: expected the name of one trial"),
    ],
)
def test_lines_that_name_no_trial(gestures, tmp_path, line, message):
    path = tmp_path / "query.txt"
    path.write_text(f"{QUERIES[0]}\n{line}\n")
    with pytest.raises(DatasetError, match=message):
        read_retrieval(gestures, path)


def test_a_list_that_is_not_there_or_empty(gestures, tmp_path):
    with pytest.raises(DatasetError, match=r"looked for query.txt, a list of trials"):
        read_retrieval(gestures, tmp_path / "query.txt")
    (tmp_path / "query.txt").write_text("\n")
    with pytest.raises(DatasetError, match="got 0 and 12 trials"):
        read_retrieval(gestures, tmp_path / "query.txt")


def test_the_lists_of_the_published_sample(real_data):
    folder = real_data / "event_reid"
    query, gallery = read_retrieval(open_dataset(folder), folder / "query_list.txt", folder / "gallery_list.txt")
    assert (len(query), len(gallery)) == (13, 20)
    assert {trial.subject for trial in query} == {f"test/00{number}" for number in range(1, 6)}
