"""The seal of the privacy boundary: only unchanged output of the anonymizer passes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import SCORES, SEAL, origin, raw, sealed_message, values

from eventveil import Sensor
from eventveil.errors import BoundaryError
from eventveil.stream.runtime.message import StageMessage, pack, unpack
from eventveil.stream.runtime.windows import AnonymizedWindow, RawWindow, Seal

CANARY = 31_337  # occurs in raw counts, and must not occur in any text


def anonymized():
    return SEAL.set(origin(seq=3), values())


def refusal(window, seal=SEAL):
    with pytest.raises(BoundaryError, match="refused") as caught:
        seal.check(window)
    return str(caught.value)


def test_what_the_anonymizer_made_passes_as_it_is():
    window = anonymized()
    assert SEAL.check(window) is window
    classified = window.with_scores(SCORES)
    assert SEAL.check(classified) is classified


def test_it_passes_after_transport_and_in_any_layout():
    window = unpack([bytes(frame) for frame in pack(sealed_message(seq=3))]).window
    assert SEAL.check(window) is window
    strided = replace(window, values=np.asfortranarray(window.values))
    assert SEAL.check(strided) is strided


@pytest.mark.parametrize("thing", [raw(), None, b"window", values(), StageMessage("0", None), Counter()])
def test_nothing_else_passes(thing):
    assert f"got {type(thing).__name__}" in refusal(thing)


def test_raw_counts_in_the_coat_of_an_anonymized_window_are_refused():
    sealed = anonymized()
    counts = raw().counts
    refusal(AnonymizedWindow(sealed.origin, counts, sealed.seal))
    refusal(AnonymizedWindow(sealed.origin, counts.astype(np.float32), sealed.seal))
    refusal(AnonymizedWindow(sealed.origin, sealed.values, b""))
    refusal(AnonymizedWindow(sealed.origin, sealed.values, bytes(32)))


def test_a_window_posing_as_anonymized_on_the_private_wire_is_refused():
    header, _, scores = pack(sealed_message(seq=3))
    counts = np.full((2, 3, 4), CANARY, np.float32)
    refusal(unpack([header, counts.tobytes(), bytes(scores)]).window)


def test_the_seal_of_another_run_is_refused():
    refusal(anonymized(), seal=Seal(Seal.new_key()))
    assert len(Seal.new_key()) == 32
    assert Seal.new_key() != Seal.new_key()


@pytest.mark.parametrize(
    "changed",
    [
        {"stream": "1"},
        {"sensor": Sensor(3, 4)},
        {"seq": 4},
        {"t_start_us": 31},
        {"t_end_us": 41},
        {"ended_ns": 1},
    ],
)
def test_a_changed_origin_is_refused(changed):
    window = anonymized()
    refusal(replace(window, origin=replace(window.origin, **changed)))


def refused_word(chosen, seal=SEAL):
    with pytest.raises(BoundaryError, match="refused") as caught:
        seal.check_word(chosen)
    assert str(CANARY) not in str(caught.value)


def test_a_word_passes_as_it_was_chosen_and_not_otherwise():
    chosen = SEAL.set_word(origin(seq=3), CANARY)
    assert SEAL.check_word(chosen) is chosen
    assert str(CANARY) not in repr(chosen)
    for changed in (
        {"word": CANARY + 1},
        {"word": float(CANARY)},
        {"word": np.int64(CANARY)},
        {"word": str(CANARY)},
        {"origin": origin(seq=4)},
        {"seal": bytes(32)},
        {"seal": b""},
    ):
        refused_word(replace(chosen, **changed))
    refused_word(chosen, seal=Seal(b"of another run"))
    refused_word(SEAL.set_word(origin(), True))


def test_neither_a_window_nor_its_seal_passes_for_a_word_or_the_other_way_round():
    window, chosen = anonymized(), SEAL.set_word(origin(seq=3), 0)
    refusal(chosen)
    refusal(replace(window, seal=chosen.seal))
    refused_word(replace(chosen, seal=window.seal))
    for thing in (raw(), window, window.with_scores(SCORES), None, 0):
        refused_word(thing)


@given(st.integers(0, 23), st.integers(0, 31))
def test_a_single_changed_bit_is_refused(place, bit):
    window = anonymized()
    bits = window.values.copy()
    bits.reshape(-1).view(np.uint32)[place] ^= np.uint32(1 << bit)
    refusal(replace(window, values=bits))


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.reshape(2, 4, 3),
        lambda array: array.reshape(-1),
        lambda array: array.view(np.int32),
        lambda array: array.view(">f4"),
        lambda array: array[:1],
        lambda array: array[:0],
        lambda array: np.zeros_like(array),
    ],
)
def test_the_same_bytes_in_another_form_are_refused(change):
    window = anonymized()
    refusal(replace(window, values=change(window.values)))


def test_whether_a_window_is_quiet_is_sealed_and_travels():
    quiet = SEAL.set(origin(seq=3), values(), quiet=True)
    assert SEAL.check(quiet).quiet
    refusal(replace(quiet, quiet=False))
    refusal(replace(anonymized(), quiet=True))
    sent = unpack([bytes(frame) for frame in pack(StageMessage("0", quiet.with_scores(SCORES)))]).window
    assert SEAL.check(sent).quiet


def test_another_windows_seal_is_refused():
    one, other = anonymized(), SEAL.set(origin(seq=4), values(4))
    refusal(replace(one, seal=other.seal))
    refusal(replace(one, values=other.values))


@pytest.mark.parametrize("kind", ["raw", "anonymized", "scored", "message"])
def test_no_text_holds_values(kind):
    counts = np.full((1, 2, 3, 4), CANARY, np.uint16)
    sealed = SEAL.set(origin(), counts.astype(np.float32))
    scored = sealed.with_scores(np.array([CANARY], np.float32))
    thing = {"raw": RawWindow(origin(), counts), "anonymized": sealed, "scored": scored}.get(kind)
    thing = StageMessage("0", RawWindow(origin(), counts)) if thing is None else thing
    texts = [repr(thing), str(thing), f"{thing}", refusal(thing, seal=Seal(b"another"))]
    assert not any(str(CANARY) in text for text in texts)
