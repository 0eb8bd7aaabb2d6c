"""The lengths of messages reveal nothing: one length for each topic, whatever gesture, numbers and losses are sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import (
    OTHER_DIGEST,
    PROVENANCE,
    RUN,
    SEAL,
    end,
    link,
    notice,
    origin,
    received,
    stage_counters,
    values,
)

from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.message import StageMessage

# 23 labels, of which the padding to whole kilobytes gave away the longest.
LABELS = (*(f"g{number:02d} " + "x" * (32 + number) for number in range(22)), '\u00fc\\"\u20ac' * 60)
PROVENANCES = [
    replace(PROVENANCE, labels=LABELS, trained=trained, certificate=certificate)
    for trained in (False, True)
    for certificate in (None, OTHER_DIGEST)
]
COUNTS = st.integers(0, (1 << 63) - 1)
TIMES = st.integers(-(1 << 63), (1 << 63) - 1)
LOST = st.dictionaries(st.sampled_from(["queue", "age", "overlap", "crash"]), COUNTS)
INCIDENTS = st.dictionaries(st.sampled_from(["overflow", "backlog", "away", "clock"]), COUNTS)


def lengths(*messages, provenance, life=1, now_ns=0):
    """Return the topic, and the lengths of all frames, of each published message."""
    counters = stage_counters("publish")
    counters.life = life
    with link(hwm=1000) as (push, pull):
        publisher = Publisher(push, SEAL, provenance, counters, run=RUN, max_age_ms=None, clock_ns=lambda: now_ns)
        for message in messages:
            publisher.take(message)
        publisher.announce("ended")
        publisher.announce("failed")
        return {(frames[0], *map(len, frames)) for frames in received(pull)}


def classified(best, *, share=0.5, lost=None, **where):
    scores = np.full(len(LABELS), (1 - share) / len(LABELS), np.float32)
    scores[best] = share
    window = SEAL.set(replace(origin(0), **where), values())
    return StageMessage(where.get("stream", "0"), window.with_scores(scores), Counter(lost))


@pytest.mark.parametrize("provenance", PROVENANCES)
def test_no_gesture_has_a_length_of_its_own(provenance):
    messages = [
        classified(best, seq=best, t_start_us=10 * best, t_end_us=10 * best + 10) for best in range(len(LABELS))
    ]
    ends = [end(made=len(LABELS)), notice("camera_lost", "cam"), notice("camera_back", "cam")]
    found = lengths(*messages, *ends, provenance=provenance)
    assert sorted(topic for topic, *_ in found) == [b"gesture", b"state", b"window"]


@given(
    best=st.integers(0, len(LABELS) - 1), share=st.floats(0.5, 1), seq=COUNTS, lost=LOST, incidents=INCIDENTS,
    t_start_us=TIMES, t_end_us=TIMES, stream=st.sampled_from(["0", "cam"]), life=COUNTS, now_ns=COUNTS,
)  # fmt: skip
def test_no_number_and_no_loss_has_a_length_of_its_own(best, share, lost, life, now_ns, **where):
    quiet = lengths(classified(0), provenance=PROVENANCES[0])
    message = classified(best, share=share, lost=lost, **where)
    assert lengths(message, provenance=PROVENANCES[0], life=life, now_ns=now_ns) == quiet
