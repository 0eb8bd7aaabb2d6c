"""Pass, Fail, Inconclusive: what decides, and the text of the verdict."""

from __future__ import annotations

import pytest

from eventveil.audit.auditor import with_dominated
from eventveil.audit.figures import Advantage, Attack, Figure, Outcome, PersonLinked, SubjectReport, Utility
from eventveil.audit.report.verdict import below_chance, decide, outcome_of


def attack(value, low, high, *, people=40, by="rank-1", seed=0, way="linked", linked=(), knowledge="informed"):
    none = Figure(value=0.1, low=0.1, high=0.1, chance=0.1)
    return Attack(
        knowledge=knowledge, architecture="plain", seed=seed, way=way, windows=1, seconds=1.0,
        people=people, queries=100, gallery=100, rank1=none, rank5=none, rank10=none, mean_average_precision=none,
        equal_error_rate=None, linked_people=linked,
        advantages=(Advantage(by=by, value=value, low=low, high=high, ceiling=high),),
    )  # fmt: skip


def person(number, luck):
    return PersonLinked(person=number, hits=8, queries=8, chance=1 / 40, luck=luck)


RAW = (attack(0.8, 0.6, 0.9),)


def decided(*attacks, on_raw=RAW, **changes):
    return decide(attacks, on_raw, **{"threshold": 0.1, "precision": 0.05} | changes)


@pytest.mark.parametrize(
    ("attacks", "status", "words"),
    [
        ([attack(0.02, -0.01, 0.06)], 0, "Pass"),
        ([attack(0.3, 0.2, 0.4)], 1, "Fail: an attacker gained 30.0%"),
        ([attack(0.02, -0.01, 0.06), attack(0.3, 0.2, 0.4, seed=1)], 1, "gained 30.0%"),
        ([attack(0.09, 0.06, 0.12)], 1, "may gain up to 12.0%"),
        ([attack(0.1, 0.0, 0.1 + 0.04)], 1, "may gain up to 14.0%"),
        ([attack(0.05, -0.05, 0.15)], 2, "about 160 test people"),
        ([attack(0.02, -0.01, 0.06, people=5)], 2, "from 5 test people"),
        ([attack(0.5, 0.3, 0.7, people=5)], 2, "from 5 test people"),
    ],
)
def test_the_highest_upper_end_is_held_against_the_threshold(attacks, status, words):
    verdict = decided(*attacks)
    assert verdict.status == status
    assert words in verdict.text


def test_one_person_who_is_always_found_fails_whatever_the_average():
    verdict = decided(attack(0.02, -0.01, 0.06, linked=(person(3, 1e-12),)))
    assert verdict.status == 1
    assert "1 of 40 test people is linked with certainty, where 0 may be" in verdict.text
    assert "correctly 8 of 8 times (blind guessing: 2.5%)" in verdict.text
    assert [one.person for one in verdict.surely_linked] == [3]


def test_two_attackers_on_one_person_count_once_and_a_share_may_be_allowed():
    attacks = [attack(0.02, -0.01, 0.06, seed=seed, linked=(person(3, 1e-12),)) for seed in range(2)]
    assert decided(*attacks, people_linked=0.025).status == 0
    assert decided(*attacks, people_linked=0.024).status == 1
    assert "1 of 40 test people is linked with certainty" in decided(*attacks, people_linked=0.5).text


def test_luck_is_corrected_for_people_and_attackers():
    """0.05 / (40 people x 2 attackers) is 0.000625."""
    for luck, status in ((0.0006, 1), (0.0007, 0)):
        attacks = (attack(0.02, -0.01, 0.06, linked=(person(3, luck),)), attack(0.02, -0.01, 0.06, seed=1))
        assert decided(*attacks).status == status


def test_the_headline_is_linked_although_a_search_seems_to_find_more():
    verdict = decided(attack(0.01, -0.02, 0.05), attack(0.04, -0.02, 0.09, seed=1, way="search"))
    assert verdict.strongest.attack.way == "linked"
    assert verdict.decisive.attack.way == "search"


def test_an_interval_above_the_threshold_is_the_deciding_figure():
    verdict = decided(attack(0.3, 0.2, 0.4), attack(0.3, 0.05, 0.5, seed=1))
    assert verdict.status == 1
    assert (verdict.decisive.advantage.low, verdict.decisive.advantage.high) == (0.2, 0.4)


def test_attackers_who_find_no_one_in_raw_windows_prove_nothing():
    verdict = decided(attack(0.02, -0.01, 0.06), on_raw=(attack(0.2, 0.05, 0.4),))
    assert verdict.status == 2
    assert "even in raw windows" in verdict.text


def test_trained_attackers_that_lose_to_nearest_neighbours_on_raw_windows_prove_nothing():
    learned = attack(0.3, 0.2, 0.4)
    for low, status in ((0.35, 2), (0.25, 0)):
        # Statistics are no network: that they find people does not show that the networks were trained enough.
        statistics = attack(0.9, 0.85, 0.95).model_copy(update={"architecture": "statistics"})
        on_raw = (learned, statistics, attack(0.5, low, 0.6, knowledge="untrained"))
        verdict = decided(attack(0.02, -0.01, 0.06), on_raw=on_raw)
        assert verdict.status == status
        assert ("nearest neighbours" in verdict.text) == (status == 2)


def test_noise_that_was_predicted_protects_no_one_however_few_were_found():
    verdict = decided(attack(0.02, -0.01, 0.06), predicted=True)
    assert verdict.status == 1
    assert "predicted" in verdict.text


def test_a_quick_audit_never_passes():
    assert decided(attack(0.02, -0.01, 0.06), evidence=False).status == 2
    assert decided(attack(0.3, 0.2, 0.4), evidence=False).status == 1


def test_the_strongest_is_quoted_and_the_widest_decides():
    verdict = decided(attack(0.04, 0.02, 0.06), attack(0.03, -0.02, 0.09, seed=1))
    assert verdict.strongest.advantage.value == 0.04
    assert verdict.decisive.advantage.high == 0.09
    assert verdict.status == 0


def test_worse_than_guessing_is_noticed():
    assert below_chance((attack(-0.2, -0.3, -0.1),))
    assert not below_chance((attack(-0.02, -0.1, 0.1),))


def test_dominated_points_are_marked():
    def report(name, use, leak):
        figure = Figure(value=use, low=use, high=use, chance=0.1)
        return SubjectReport(
            name=name, audited=False, weights=None, about=None, attacks=(attack(leak, leak, leak),),
            utility=Utility(retrained=figure, as_it_is=figure, classes=()),
        )  # fmt: skip

    marked = with_dominated(
        [report("raw", 0.95, 0.9), report("a", 0.9, 0.2), report("b", 0.8, 0.3), report("c", 0.7, 0.1)]
    )
    assert {subject.name: subject.dominated_by for subject in marked} == {"raw": (), "a": (), "b": ("a",), "c": ()}


def shown(**changes):
    return Outcome(**{"low": 0.0, "linked": 0.0, "predicted": False} | changes)


@pytest.mark.parametrize("outcome", [shown(low=0.2), shown(linked=0.01), shown(predicted=True)])
def test_an_attack_that_worked_once_is_not_undone_by_another_audit(outcome):
    held = attack(0.02, -0.01, 0.06)
    verdict = decided(held, earlier=(outcome,))
    assert verdict.status == 1
    assert "an earlier audit of these weights showed an attack" in verdict.text
    assert decided(held, earlier=(shown(low=0.05),)).status == 0


def test_what_a_verdict_leaves_behind_is_what_was_certain():
    found = (attack(0.3, 0.2, 0.4, linked=(person(3, 1e-12),)),)
    assert outcome_of(decided(*found)) == shown(low=0.2, linked=1 / 40)
    assert outcome_of(decided(attack(0.3, 0.2, 0.4, people=5))) == shown()
    assert outcome_of(decided(attack(0.0, 0.0, 0.0), predicted=True)).predicted


def test_the_ceiling_decides_and_not_the_interval():
    held = attack(0.02, -0.01, 0.06)
    advantage = held.advantages[0].model_copy(update={"ceiling": 0.11})
    verdict = decided(held.model_copy(update={"advantages": (advantage,)}), precision=0.2, audit_number=3)
    assert verdict.status == 1
    assert "up to 11.0% over blind guessing (audit 3 of these weights" in verdict.text
