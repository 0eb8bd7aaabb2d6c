"""The stand-in's network: one score per word from one window alone, and a config that fits a book."""

from __future__ import annotations

import pydantic
import pytest
import torch

from eventveil.models.configs import StandInConfig
from eventveil.models.kinds import build, describe, initialise
from eventveil.models.metadata import Metadata
from eventveil.models.weights import load_weights, save_weights

BOOK = "0123456789abcdef" * 4
SMALL = {"channels": 4, "words": 5, "book": BOOK, "width": 4, "quiet": [4, 3]}


def test_it_scores_every_word_at_any_size_and_windows_do_not_touch_each_other():
    model = initialise("stand_in", SMALL, seed=1)
    x = torch.poisson(torch.full((3, 4, 40, 36), 0.5), generator=torch.Generator().manual_seed(0))
    logits = model(x)
    assert logits.shape == (3, 5)
    torch.testing.assert_close(torch.cat([model(x[k : k + 1]) for k in range(3)]), logits)
    torch.testing.assert_close(model(x), logits)  # no state
    with pytest.raises(ValueError, match=r"expected .*4, H, W"):
        model(x[:, :3])


def test_weights_keep_the_book_and_the_rule(tmp_path):
    rule = {"transition": 0.01, "evidence": 0.6, "threshold": 0.8, "changes_per_second": 1}
    rule |= {"epsilon": 2.0, "interval_s": 2.0}
    model = initialise("stand_in", SMALL | rule, seed=1)
    window = {"bins": 2, "bin_us": 100_000, "hop": 1, "size": (16, 16)}
    save_weights(tmp_path / "a", model, Metadata.of(model, role="anonymizer", trained=False, **window))
    weights = load_weights(tmp_path / "a")
    assert weights.model.config == StandInConfig(**SMALL, **rule)
    # Read and written again, as when an audit adds its certificate.
    assert save_weights(tmp_path / "b", weights.model, weights.metadata) == weights.digest
    assert describe(build(*describe(model))) == describe(model)


@pytest.mark.parametrize(
    "settings",
    [
        {"book": "abc"},
        {"words": 1},
        {"quiet": []},
        {"quiet": [4, 4]},
        {"quiet": [5]},
        {"quiet": [-1]},
        {"threshold": 1.0},
        {"transition": 0.0},
        {"transition": 1.1},
        {"evidence": 0.0},
        {"changes_per_second": 0},
        {"epsilon": 0.0},
        {"epsilon": float("nan")},
        {"epsilon": float("inf")},
        {"interval_s": 0.4, "epsilon": 1.0, "changes_per_second": 2},
        {"wdith": 4},
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(settings):
    with pytest.raises(pydantic.ValidationError, match=next(iter(settings))):
        StandInConfig(**SMALL | settings)


def test_a_config_without_a_book_is_refused():
    with pytest.raises(pydantic.ValidationError, match="book"):
        StandInConfig()
