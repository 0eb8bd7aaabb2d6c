"""Rules that anonymize events before they are binned, as baselines: for voxel grids, which hold no counts to change.

Nothing here imports torch: child processes that bin trials use it.

Source: event discarding and event scrambling, Du et al., Event Encryption for Neuromorphic Vision Sensors, 2021; with
75 % in the comparison of Ahmad et al., ICCV 2023.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket

RULES = ("discard", "scramble")


def changes_events(rule: str) -> bool:
    """Return whether this is the name of such a rule, as in `discard:0.75`."""
    return rule.partition(":")[0] in RULES and ":" in rule


def changed(packets: Sequence[EventPacket], rule: str, trial: str) -> list[EventPacket]:
    """Apply a rule to all events of a trial.

    `discard:S` leaves out each event with probability S. `scramble:S` moves each event with probability S to the place
    that a permutation of the pixels in the box around the events gives it, and draws a new polarity for it.

    Args:
        packets: the trial.
        rule: name and share.
        trial: the name of the trial, which determines what is drawn.
    """
    kind, _, share = rule.partition(":")
    digest = hashlib.sha256(f"{rule}/{trial}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    if kind == "discard":
        kept = [generator.random(len(packet)) >= float(share) for packet in packets]
        return [_with(p, p.x[k], p.y[k], p.p[k], k) for p, k in zip(packets, kept, strict=True)]
    filled = [packet for packet in packets if len(packet)]
    if not filled:
        return list(packets)
    left, top = (min(int(getattr(packet, axis).min()) for packet in filled) for axis in "xy")
    width = max(int(packet.x.max()) for packet in filled) + 1 - left
    height = max(int(packet.y.max()) for packet in filled) + 1 - top
    permutation = generator.permutation(width * height)
    return [_scrambled(packet, float(share), (left, top, width), permutation, generator) for packet in packets]


def _scrambled(
    packet: EventPacket,
    share: float,
    box: tuple[int, int, int],
    permutation: npt.NDArray[np.int64],
    generator: np.random.Generator,
) -> EventPacket:
    left, top, width = box
    moved = generator.random(len(packet)) < share
    coin = generator.random(len(packet)) < 0.5
    place = permutation[(packet.y.astype(np.int64) - top) * width + packet.x - left]
    x = np.where(moved, place % width + left, packet.x).astype(np.uint16)
    y = np.where(moved, place // width + top, packet.y).astype(np.uint16)
    return _with(packet, x, y, np.where(moved, coin, packet.p), slice(None))


def _with(packet: EventPacket, x, y, p, which) -> EventPacket:  # type: ignore[no-untyped-def]
    return EventPacket(packet.t[which], x, y, p, until_us=packet.until_us)
