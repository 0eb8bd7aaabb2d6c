"""Which gestures of a classifier are named, and that those that are not look like the others from outside."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moving_disc import moving_disc
from pipeline_helpers import PROVENANCE, RUN, SEAL, link, origin, received, stage_counters, values
from pipeline_setup import BIN_US, BINS, SENSOR, make_kit, run_and_listen, write_recording

from eventveil.errors import ConfigError
from eventveil.events import EventPacket
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata, TrainedScene
from eventveil.models.weights import save_weights
from eventveil.stream.planning.planner import plan
from eventveil.stream.protocol.wire import decode
from eventveil.stream.publisher.gesture_filter import GestureFilter
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.windows import RawWindow
from eventveil.stream.stages.transform import AnonymizeTransform


def published(*seen, min_probability=0.0, hold=1):
    """Return the frames of the gestures of windows; each is (label, probability, whether it was quiet)."""
    with link(hwm=1000) as (push, pull):
        gestures = GestureFilter(min_probability, hold)
        publisher = Publisher(
            push, SEAL, PROVENANCE, stage_counters("publish"), run=RUN, max_age_ms=None, gestures=gestures
        )
        for seq, (best, probability, quiet) in enumerate(seen):
            scores = np.full(3, (1 - probability) / 2, np.float32)
            scores[best] = probability
            window = SEAL.set(origin(seq), values(), quiet=quiet).with_scores(scores)
            publisher.take(StageMessage("0", window, Counter()))
        return [frames for frames in received(pull) if frames[0] == b"gesture"]


def labels(frames):
    return [decode(each).header.label for each in frames]


SEEN = [(1, 0.9, False), (1, 0.9, False), (2, 0.6, False), (1, 0.9, True), (1, 0.9, False), (1, 0.9, False)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["wave", "wave", "roll", None, "wave", "wave"]),
        ({"min_probability": 0.7}, ["wave", "wave", None, None, "wave", "wave"]),
        ({"hold": 2}, [None, "wave", None, None, None, "wave"]),
        ({"hold": 3}, [None] * 6),
        ({"min_probability": 0.91}, [None] * 6),
    ],
)
def test_a_gesture_is_named_if_it_is_certain_for_long_enough_and_enough_moves(settings, expected):
    frames = published(*SEEN, **settings)
    assert labels(frames) == expected
    for each, label in zip(frames, expected, strict=True):
        assert (decode(each).header.probability is None) == (label is None)
    assert len({(len(header), len(payload)) for _, header, payload in frames}) == 1


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.4, 0.5, 0.8]), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.5, 0.7]),
    st.integers(1, 4),
)
def test_the_filter_names_what_its_slow_twin_names(seen, least, hold):
    gestures = GestureFilter(least, hold)
    named = [gestures.passes("0", best, probability, quiet=quiet) for best, probability, quiet in seen]
    for n in range(len(seen)):
        last = seen[max(0, n + 1 - hold) : n + 1]
        same = len(last) == hold and all(best == seen[n][0] for best, _, _ in last)
        assert named[n] == (same and all(share >= least and not quiet for _, share, quiet in last))


def test_streams_are_filtered_apart():
    gestures = GestureFilter(hold=2)
    assert [gestures.passes(stream, 1, 0.9, quiet=False) for stream in "abab"] == [False, False, True, True]


def counts(events, size=(4, 3)):
    window = np.zeros((1, 2, *size[::-1]), np.uint16)
    window.reshape(-1)[:events] = 1
    return RawWindow(origin(), window)


def test_a_window_is_quiet_below_the_density_and_without_one_none_is():
    for events, expected in ((0, True), (5, True), (6, False), (24, False)):
        transform = AnonymizeTransform(lambda batch: np.zeros((1, 2, 3, 4), np.float32), SEAL, 0.5)  # of 12 pixels
        (window,) = transform.process([counts(events)])
        assert window.quiet is expected
    (window,) = AnonymizeTransform(lambda batch: np.zeros((1, 2, 3, 4), np.float32), SEAL).process([counts(0)])
    assert not window.quiet


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A recording in which a disc moves for 0.5 s, and then nothing for as long."""
    kit = make_kit(tmp_path_factory.mktemp("kit"), seconds=0.1)
    still = EventPacket.of([999_999], [1], [1], [1])
    write_recording(kit.recording, [*moving_disc(SENSOR, 0.5), still])
    return kit


def test_in_a_pipeline_no_gesture_is_named_while_nothing_moves(kit):
    status, frames = run_and_listen(kit, classify__min_density=0.05)
    assert status.failure is None
    named = [decode(each).header.label is not None for each in frames if each[0] == b"gesture"]
    per_window = 500_000 // BIN_US // BINS
    assert named == [True] * per_window + [False] * per_window
    assert sum(each[0] == b"window" for each in frames) == 2 * per_window


def trained(kit, path, density):
    model = initialise("anonynoise", {"channels": 2 * BINS, "noise_std": 32.0}, seed=1)
    window = {"bins": BINS, "bin_us": BIN_US, "hop": BINS, "size": (32, 32), "trained": False}
    scene = TrainedScene(field=(64, 64), density=density)
    save_weights(path, model, Metadata.of(model, role="anonymizer", scene=scene, **window))
    return str(path)


def planned(kit, **changes):
    return plan(kit.settings("tcp://127.0.0.1:5999", **changes))


def test_the_density_is_a_number_or_a_third_of_that_of_the_training(kit, tmp_path):
    plan = planned(kit, classify__min_density=2)
    assert plan.min_density == 2.0
    assert any("gestures reveal which windows have fewer than 2 events" in remark for remark in plan.remarks)
    assert planned(kit).min_density is None
    weights = trained(kit, tmp_path / "w", (3.0, 9.0, 30.0))
    assert planned(kit, anonymize__weights=weights, classify__min_density="trained").min_density == 1.0
    with pytest.raises(ConfigError, match="does not record the density of its training"):
        planned(kit, classify__min_density="trained")


@pytest.mark.parametrize("value", [0, -1, "quiet", "nan", [1]])
def test_an_invalid_density_is_refused(kit, value):
    with pytest.raises(ConfigError, match=r"classify\.min_density"):
        planned(kit, classify__min_density=value)


@pytest.mark.parametrize("rule", [{"min_probability": 0.5}, {"hold": 2}, {"min_density": 1.0}])
def test_a_rule_without_a_classifier_is_refused(kit, rule):
    changes = {f"classify__{key}": value for key, value in rule.items()}
    with pytest.raises(ConfigError, match="for the gestures of a classifier, and there is none"):
        planned(kit, classify__weights=None, **changes)
