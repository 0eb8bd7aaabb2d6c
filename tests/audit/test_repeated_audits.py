"""Audits repeated until the result is good: ceilings that hold together, and a log of what was begun with a key."""

from __future__ import annotations

import json
import math
import resource
from itertools import pairwise

import numpy as np
import pytest

from eventveil.audit.audit_log import AuditLog
from eventveil.audit.evaluation.betting import LEVEL, by_person, ceiling, level_of, log_stake
from eventveil.audit.figures import Outcome
from eventveil.errors import AuditError

THRESHOLD = 0.55  # of a mean whose chance is a half: an advantage of 10 %
LEAKS = {
    "everybody a little": lambda random, people: np.clip(random.normal(THRESHOLD, 0.1, people), 0, 1),
    "one in ten fully": lambda random, people: np.where(random.random(people) < 0.1, 1.0, 0.5),
    "by luck of a coin": lambda random, people: (random.random(people) < THRESHOLD).astype(float),
    "a few hits": lambda random, people: random.binomial(11, THRESHOLD, people) / 11,
}


def passes(value_P, audit):
    """Return whether the bet refuses that the mean is the threshold or more."""
    level = level_of(audit)
    return log_stake(value_P, THRESHOLD, level) >= -math.log(level)


@pytest.mark.parametrize("people", [12, 60])
@pytest.mark.parametrize("leak", LEAKS)
def test_who_audits_thirty_times_does_not_pass_what_leaks_as_much_as_the_threshold(leak, people):
    """Of 300 auditors, each with 30 audits, at most 2.5 % may ever pass, which is 7.5.

    More than 15 would happen with probability 0.0041 if the rate were exactly that; the seed is fixed.
    """
    random = np.random.default_rng(0)
    ever = sum(any(passes(LEAKS[leak](random, people), audit) for audit in range(1, 31)) for _ in range(300))
    assert ever <= 15


def test_an_interval_of_95_percent_would_pass_most_of_them():
    """Prove that the test above can fail: with the upper end of an ordinary interval, half of the auditors pass."""
    random, ever = np.random.default_rng(0), 0
    for _ in range(100):
        value_LP = np.clip(random.normal(THRESHOLD, 0.1, (30, 60)), 0, 1)
        upper_L = value_LP.mean(1) + 1.96 * value_LP.std(1) / math.sqrt(60)
        ever += bool((upper_L < THRESHOLD).any())
    assert ever > 40


def test_an_anonymizer_that_leaks_nothing_passes_and_later_audits_ask_for_more():
    value_P = np.clip(np.random.default_rng(0).normal(0.5, 0.1, 180), 0, 1)
    ceilings = [ceiling(value_P, level_of(audit)) for audit in range(1, 6)]
    assert value_P.mean() < ceilings[0] < THRESHOLD
    assert all(one < other for one, other in pairwise(ceilings))
    assert sum(level_of(audit) for audit in range(1, 10_000)) == pytest.approx(LEVEL, rel=1e-3)


def test_a_ceiling_is_what_the_bet_written_out_refuses():
    value_P = np.random.default_rng(1).random(40)
    top = ceiling(value_P, 0.01)
    for mean, refused in ((top - 0.001, False), (top + 0.001, True)):
        money = [1.0, 1.0, 1.0]
        for value in value_P:
            for number, factor in enumerate((1.2, 2.4, 4.8)):
                share = min(0.96, factor * math.sqrt(2 * math.log(100) / 40))
                money[number] *= 1 + share * (mean - value) / (1 - mean)
        assert (sum(money) / 3 >= 100) == refused


def test_of_people_who_are_always_found_nothing_is_refused_and_nobody_counts_twice():
    assert ceiling(np.ones(50), 0.01) == 1
    assert by_person(np.array([1.0, 0.0, 1.0]), np.array(["a", "a", "b"])).tolist() == [0.5, 1.0]


def test_a_key_counts_the_audits_of_the_same_weights(tmp_path):
    log = AuditLog(tmp_path / "key.pem")
    names = [log.begin(weights) for weights in (["a"], ["b"], ["a", "b"], [])]
    assert [log.number(name) for name in names] == [1, 1, 2, 1]
    assert (tmp_path / "key.pem.looks").stat().st_mode & 0o077 == 0
    with pytest.raises(AuditError, match="begun with another key"):
        AuditLog(tmp_path / "other.pem").number(names[0])


def test_what_was_shown_is_remembered_once_and_for_the_other_audits_alone(tmp_path):
    log, shown = AuditLog(tmp_path / "key.pem"), Outcome(low=0.2, linked=0.0, predicted=False)
    first, second = log.begin(["a"]), log.begin(["a"])
    ended = {log.end(first, {"a": shown}) for _ in range(2)}  # as a resumed audit does
    assert len(ended) == 1
    assert log.earlier(second, "a") == (shown,)
    assert log.earlier(first, "a") == log.earlier(second, "b") == ()
    assert len(log.path.read_text().splitlines()) == 3


def test_an_audit_that_is_resumed_keeps_the_time_of_its_end(tmp_path):
    log, shown = AuditLog(tmp_path / "key.pem"), Outcome(low=0.2, linked=0.0, predicted=False)
    name = log.begin(["a", "b"])
    log.end(name, {"a": shown})
    then = "2020-02-02T02:02:02+00:00"
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    lines[-1]["at"] = then
    log.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert log.end(name, {"a": shown, "b": shown}) == then


@pytest.mark.parametrize("rest", [b"{half", b"\xff\n", b"7\n", b"{}\n", b"[" * 100_000])
def test_a_damaged_log_is_refused_and_not_begun_again(tmp_path, rest):
    log = AuditLog(tmp_path / "key.pem")
    log.path.write_bytes(json.dumps({"begun": "x", "weights": ["a"]}).encode() + b"\n" + rest)
    with pytest.raises(AuditError, match="is damaged"):
        log.number("x")


def test_a_full_disk_does_not_damage_the_log(tmp_path):
    log = AuditLog(tmp_path / "key.pem")
    name = log.begin(["a"])
    before, limit = log.path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limit[1]))
    try:
        with pytest.raises(AuditError, match="cannot be written"):
            log.begin(["a"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert log.path.read_bytes() == before
    assert log.number(name) == 1
    assert log.number(log.begin(["a"])) == 2
