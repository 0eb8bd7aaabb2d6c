"""The stand-in's runtime: windows in, numbers of words out, a rule for each stream, and nothing after a fault."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from model_helpers import anonymizer_weights
from pipeline_helpers import origin
from stand_in_helpers import WINDOW, WORDS, stand_in_book, stand_in_model

from eventveil.errors import AnonymizerCrashError, AnonymizerError, BoundaryError, WeightsError
from eventveil.models.decision import DecisionRule
from eventveil.models.metadata import Metadata
from eventveil.models.runtime import Anonymizer
from eventveil.models.stand_in import StandIn
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.models.weights import Weights
from eventveil.stream.runtime.windows import RawWindow, Seal
from eventveil.stream.stages.transform import ChooseWordTransform

SHAPE = (10, 2, 32, 32)


def weights(**config):
    model = stand_in_model(stand_in_book(), **config)
    return Weights(model, Metadata.of(model, role="anonymizer", trained=False, **WINDOW), "")


def windows(n, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.poisson(share, SHAPE).astype(np.uint16) for share in generator.uniform(0.001, 2, n)]


def ends(n):
    return [1_000_000 + 100_000 * number for number in range(n)]


def test_words_are_those_of_the_rule_on_the_networks_probabilities():
    one = weights(transition=0.1, evidence=0.5, threshold=0.3)
    seen = windows(20)
    rule = DecisionRule(one.model.config)
    expected = []
    for window, end_us in zip(seen, ends(20), strict=True):
        logits = one.model(torch.from_numpy(window.astype(np.float32).reshape(1, 20, 32, 32)))
        expected.append(rule.decide(torch.softmax(logits, 1)[0].detach().numpy(), end_us))
    runtime = StandInRuntime(one, device="cpu")
    runtime.warm_up()
    words = [word for n in range(0, 20, 4) for word in runtime(seen[n : n + 4], ["0"] * 4, ends(20)[n : n + 4])]
    assert words == expected
    assert len(set(words)) > 1
    assert all(type(word) is int and 0 <= word < len(WORDS) for word in words)


def test_with_seeded_draws_the_words_repeat():
    one, seen = weights(transition=0.1, evidence=0.5, delay=5, epsilon=1.0, interval_s=0.5), windows(30)

    def words(seed):
        draws = random.Random(seed)
        return StandInRuntime(one, device="cpu", below=draws.randrange)(seen, ["0"] * 30, ends(30))

    assert words(0) == words(0)
    assert words(0) != words(1)


def test_streams_in_one_batch_do_not_touch_each_other():
    one, seen = weights(transition=0.01, evidence=0.5), windows(12)
    alone = StandInRuntime(one, device="cpu")(seen, ["a"] * 12, ends(12))
    mixed = [window for pair in zip(seen, reversed(seen), strict=True) for window in pair]
    both = StandInRuntime(one, device="cpu")(mixed, ["a", "b"] * 12, sorted(ends(12) * 2))
    assert both[::2] == alone


@pytest.mark.parametrize(
    "window",
    [
        np.zeros(SHAPE, np.float32),
        np.zeros(SHAPE, np.int16),
        np.zeros((10, 2, 32, 31), np.uint16),
        np.zeros((20, 32, 32), np.uint16),
    ],
)
def test_windows_of_another_form_are_refused(window):
    runtime = StandInRuntime(weights(), device="cpu")
    with pytest.raises(AnonymizerError, match=r"expected windows of uint16 \(10, 2, 32, 32\)"):
        runtime([windows(1)[0], window], ["0"] * 2, ends(2))


def failing(change):
    """Return a forward pass whose logits are changed."""
    forward = StandIn.forward
    return lambda self, x_BCHW: change(forward(self, x_BCHW))


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits * float("nan"),
        lambda logits: logits + float("inf"),
        lambda logits: logits[:, :-1],
        lambda logits: torch.cat([logits, logits], 1),
        lambda logits: logits[:-1],
    ],
)
def test_invalid_scores_give_no_word(monkeypatch, change):
    runtime = StandInRuntime(weights(), device="cpu")
    monkeypatch.setattr(StandIn, "forward", failing(change))
    with pytest.raises(AnonymizerError, match="no finite scores of 4 words"):
        runtime(windows(3), ["0"] * 3, ends(3))


def test_what_fails_is_reported_without_values(monkeypatch):
    def fail(logits):
        raise RuntimeError(f"CUDA error at {31_337}")

    runtime = StandInRuntime(weights(), device="cpu")
    monkeypatch.setattr(StandIn, "forward", failing(fail))
    with pytest.raises(AnonymizerCrashError, match=r"failed on cpu \(RuntimeError\)") as caught:
        runtime(windows(1), ["0"], ends(1))
    assert "31337" not in str(caught.value)


def test_neither_runtime_takes_the_others_weights():
    with pytest.raises(WeightsError, match="expected weights of a stand-in, got anonynoise"):
        StandInRuntime(anonymizer_weights(), device="cpu")
    with pytest.raises(WeightsError, match="got a stand-in"):
        Anonymizer(weights(), device="cpu")


def raw(seq, stream="0"):
    return RawWindow(origin(seq, stream, start_us=seq * 100, span_us=1_000), np.zeros(SHAPE, np.uint16))


def test_a_sealed_word_spans_the_last_step_of_its_window():
    seal = Seal(b"k" * 32)
    seen = [raw(0), raw(1), raw(0, "b")]
    transform = ChooseWordTransform(lambda counts, streams, ends_us: [2, 0, 1], seal, step_us=100)
    words = transform.process(seen)
    assert [seal.check_word(word).word for word in words] == [2, 0, 1]
    assert [(word.origin.t_start_us, word.origin.t_end_us) for word in words] == [
        (900, 1_000),
        (1_000, 1_100),
        (900, 1_000),
    ]
    assert [(word.origin.stream, word.origin.seq) for word in words] == [("0", 0), ("0", 1), ("b", 0)]
    with pytest.raises(BoundaryError):
        seal.check(words[0])


@pytest.mark.parametrize("words", [[], [1], [1, 2, 3]])
def test_another_number_of_words_than_windows_gives_none(words):
    transform = ChooseWordTransform(lambda *_: words, Seal(b"k" * 32), step_us=100)
    with pytest.raises(AnonymizerError, match=f"expected 2 words, got {len(words)}"):
        transform.process([raw(0), raw(1)])
