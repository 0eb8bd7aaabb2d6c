"""Audits of a stand-in: attackers see what a subscriber would, step by step, and no more."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_audits import settings
from small_trainings import Silent, planted, watch
from stand_in_helpers import BOOK_SENSOR, stand_in_book, stand_in_model

from eventveil.audit.attacks import gestures, identity, information, messages, white_box
from eventveil.audit.conditions import CONDITIONS, under
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.stand_in import NOTHING, StandInSource
from eventveil.audit.subjects import Subject, read_books, read_weights, subjects_of, with_windows_of
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError, BookError
from eventveil.models import save_weights
from eventveil.models.metadata import Metadata
from eventveil.models.rate_limit import WordLimiter, bits_per_second
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.models.weights import load_weights
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Unchanged

BINS, STEP_US = 2, 100_000
WINDOW = {"bins": BINS, "bin_us": STEP_US, "size": [16, 16], "offsets": 2, "per_trial": 2}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Weights and book of a stand-in with windows of two steps, and its audit's workspace."""
    folder = tmp_path_factory.mktemp("weights")
    book = stand_in_book()
    book.write(folder / "book.safetensors")
    model = stand_in_model(book)
    with torch.no_grad():
        model.layers[0].weight.data = model.layers[0].weight.data[:, : 2 * BINS].clone()
    config = model.config.__class__(**(vars(model.config) | {"channels": 2 * BINS, "changes_per_second": 2}))
    fresh = type(model)(config).eval()
    fresh.load_state_dict(model.state_dict())
    metadata = Metadata.of(
        fresh, role="anonymizer", trained=False, bins=BINS, bin_us=STEP_US, hop=1, size=(16, 16)
    )  # fmt: skip
    path = folder / "standin.safetensors"
    save_weights(path, fresh, metadata)
    root = planted(tmp_path_factory.mktemp("planted"), train=4, test=6)
    work = tmp_path_factory.mktemp("work")
    anonymizers, classifier = read_weights([path])
    audit_settings = with_windows_of(
        settings(root, linking=[1], window=WINDOW, attackers={"architectures": ["plain"], "epochs": 1}),
        anonymizers["standin"],
    )
    subjects = tuple(subjects_of(anonymizers, classifier, audit_settings, read_books([path], anonymizers, None)))
    plan = AuditPlan(audit_settings, subjects, work, open_split(audit_settings.data, work, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    workspace.prepare()
    return SimpleNamespace(folder=folder, path=path, book=book, plan=plan, workspace=workspace, subject=subjects[1])


def test_what_is_published_is_what_the_pipeline_publishes_step_by_step(small):
    """The words of the runtime, limited by the public half's limiter, and the windows of the book at these times."""
    small_book = small.book
    raw = small.workspace._raw("test", whole_bins=True)
    published = small.workspace.evaluation_set("test", small.subject).windows
    runtime = StandInRuntime(load_weights(small.path), device="cpu")
    for first, end in np.unique(raw.session_rows, axis=0).tolist():
        rows = np.asarray(raw.rows[first:end], np.uint16)
        words = runtime(
            [rows[at : at + BINS] for at in range(len(rows) - BINS + 1)],
            [f"{first}"] * (len(rows) - BINS + 1),
            [(at + BINS) * STEP_US for at in range(len(rows) - BINS + 1)],
        )
        limiter = WordLimiter(2)
        limited = [limiter.limit(word, (at + BINS - 1) * STEP_US) for at, word in enumerate(words)]
        assert published.word_R[first:end].tolist() == [NOTHING] * (BINS - 1) + limited
        for step, word in enumerate(limited, BINS - 1):
            counts = published.rows[published.picture_R[first + step]]
            whole = small_book.window(word, step * STEP_US)
            assert counts.sum((1, 2)).tolist() == whole.sum((1, 2)).tolist()
        assert not published.rows[published.picture_R[first]].any()
    assert len(np.unique(published.word_R)) > 2  # or nothing was tested


def test_windows_are_the_steps_in_order(small):
    published = small.workspace.evaluation_set("test", small.subject).windows
    start = np.array([1, 5])
    windows = published.cut(start)
    assert windows.shape == (2, 2 * BINS, 16, 16)
    assert np.array_equal(windows[1, 2:], published.rows[published.picture_R[6]])
    assert np.array_equal(published.words(start), published.word_R[[[1, 2], [5, 6]]])


def test_pictures_are_binned_to_the_size_of_raw_windows_as_raw_events_are(small):
    events = small.book.events(0, 0)
    counts = np.zeros((2, 16, 16))
    y, x = events.y.astype(int) * 16 // BOOK_SENSOR.height, events.x.astype(int) * 16 // BOOK_SENSOR.width
    np.add.at(counts, (events.p.astype(int), y, x), 1)
    pictures, picture_R = small.subject.source._pictures(np.array([0]), np.array([0]), (16, 16))
    assert np.array_equal(pictures[picture_R[0]], counts)


def test_published_and_raw_windows_are_in_the_same_order(small):
    raw, published = small.workspace.test, small.workspace.evaluation_set("test", small.subject)
    assert np.array_equal(raw.persons, published.persons)
    assert np.array_equal(raw.targets, published.targets)


def test_a_condition_changes_the_recording_before_the_network_sees_it(small):
    raw = small.workspace._raw("test", whole_bins=True)
    nothing = StandInSource(small.subject.source.network, small.book).under(lambda x, _: torch.zeros_like(x))
    words = nothing.publish(raw, 0, torch.device("cpu")).word_R
    assert len(np.unique(words[words != NOTHING])) == 1
    moved = under(small.subject, "moved")
    assert moved.name == "standin-moved"
    assert moved.source.change is CONDITIONS["moved"]


def test_attackers_run_on_it_and_its_labels_are_attacked(small):
    jobs = [job for job in identity.jobs(small.plan) if job.subject == "standin"] + gestures.jobs(small.plan)
    for job in identity.jobs(small.plan)[:1] + jobs:
        perform(job, small.workspace)
    results = Results(small.plan.work)
    found = [
        *identity.collect(small.subject, small.plan, results)["attacks"],
        *gestures.collect(small.subject, small.plan, results)["attacks"],
    ]
    assert {(attack.knowledge, attack.architecture) for attack in found} == {
        ("ignorant", "plain"), ("informed", "plain"), ("gestures", "labels"),
    }  # fmt: skip


def test_the_bound_is_that_of_the_book(small):
    assert small.subject.source.bits_per_second == bits_per_second(4, 2, 10)


def test_windows_of_an_audit_share_no_step(small):
    assert small.plan.settings.window.hop is None


def test_a_book_must_be_there_and_the_right_one(small, tmp_path):
    anonymizers, _ = read_weights([small.path])
    moved = tmp_path / "standin.safetensors"
    moved.write_bytes(small.path.read_bytes())
    with pytest.raises(BookError, match="give --book FILE"):
        read_books([moved], anonymizers, None)
    assert read_books([moved], anonymizers, small.folder / "book.safetensors").keys() == {"standin"}
    with pytest.raises(AuditError, match="only a stand-in publishes from a book"):
        read_books([], {}, small.path)


class Says(StandInSource):
    """Says the person's word all the time, or words that do not depend on the person."""

    leaks = True

    def publish(self, raw, seed, device):
        published = super().publish(raw, seed, device)
        rows = np.diff(raw.first_row)
        own = np.repeat([int(trial.subject[-2:]) % 4 for trial in raw.trials], rows)
        luck = np.random.default_rng(int(raw.trials[0].subject[-2:])).integers(0, 4, len(own))  # by part
        published.word_R[:] = own if self.leaks else luck
        return published


class Babbles(Says):
    leaks = False


@pytest.fixture(scope="module")
def attacks(small, tmp_path_factory):
    """The linked attacks on labels and words, by subject; two of eight test people share a word."""
    root, work = planted(tmp_path_factory.mktemp("more"), train=10, test=8), tmp_path_factory.mktemp("work")
    changes = {"data": small.plan.settings.data.model_copy(update={"root": root}), "sequences": (600,)}
    audit_settings = small.plan.settings.model_copy(update=changes)
    sources = {"says": Says, "babbles": Babbles}
    subjects = tuple(
        Subject(name, Unchanged(), True, source=source(small.subject.source.network, small.book))
        for name, source in sources.items()
    )
    plan = AuditPlan(audit_settings, subjects, work, open_split(audit_settings.data, work, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    found = {}
    for family in (gestures, white_box, messages, information):
        for job in family.jobs(plan):
            perform(job, workspace)
        for subject in subjects:
            found[subject.name, family] = family.collect(subject, plan, Results(work))
    return found


@pytest.mark.parametrize("family", [gestures, white_box, messages])
def test_words_that_depend_on_the_person_are_found_and_others_say_nothing(attacks, family):
    lows = {}
    for name in ("says", "babbles"):
        linked = [attack for attack in attacks[name, family]["attacks"] if attack.way == "linked"]
        lows[name] = max(advantage.low for attack in linked for advantage in attack.advantages)
    assert lows["says"] > 0.1
    assert lows["babbles"] < 0.1


def test_words_carry_what_they_say(attacks):
    """Two steps that are one word of four; two steps of two words; with few people, predictions cost a little more."""
    said, babbled = (attacks[name, information]["information"].bits.value for name in ("says", "babbles"))
    assert 2 <= said < 4 <= babbled < 5.5
    assert all(one.missed_worst == 0 for one in attacks["says", information]["information"].trade_offs)
