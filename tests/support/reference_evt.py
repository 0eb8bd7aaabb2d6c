"""Slow twins of the decoders, and encoders for test files. Events are tuples (t, x, y, p).

The twins read one word at a time, bit by bit, without arrays, packets or cuts.
"""

from __future__ import annotations

import struct
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
from reference_clock import follow

from eventveil.events import EventPacket

Event = tuple[int, int, int, bool]


def field(word: int, low: int, bits: int) -> int:
    return (word // 2**low) % 2**bits


def set_bits(mask: int) -> list[int]:
    return [k for k in range(64) if field(mask, k, 1)]


def decode_evt3(data: bytes) -> tuple[list[Event], Counter]:
    """Return the events, and how many words of each type were left out ("timeless" counts events)."""
    events, skipped = [], Counter()
    words = [word for (word,) in struct.iter_unpack("<H", data)]
    highs = iter(follow([field(word, 0, 12) for word in words if field(word, 12, 4) == 8], 12, 4096, 1_000, 0))
    high, known, seen, low, row, base, on = None, False, False, 0, None, None, False
    for word in words:
        kind, payload, columns = field(word, 12, 4), field(word, 0, 12), []
        if kind == 0:
            row = field(word, 0, 11)
        elif kind == 1:
            row = None
            skipped[1] += 1
        elif kind == 2:
            columns, polarity = [field(word, 0, 11)], bool(field(word, 11, 1))
        elif kind == 3:
            base, on = field(word, 0, 11), bool(field(word, 11, 1))
        elif kind in (4, 5):
            size = 12 if kind == 4 else 8
            columns, polarity = [k if base is None else base + k for k in set_bits(field(word, 0, size))], on
            if base is None:
                skipped["timeless"] += len(columns)
                columns = []
            else:
                base += size
        elif kind == 6:
            low = payload
        elif kind == 8:
            new = next(highs)
            known = new is not None
            seen = True
            if known and new != high:
                high, low = new, 0
        else:
            skipped[kind] += 1
        if known and row is not None:
            events += [(high + low, column, row, polarity) for column in columns]
        else:
            skipped["timeless" if row is None or not seen else "outlying"] += len(columns)
    return events, +skipped


def decode_evt2(data: bytes) -> tuple[list[Event], Counter]:
    return _decode_clocked([(word, 1) for (word,) in struct.iter_unpack("<I", data)])


def decode_evt21(data: bytes, legacy: bool) -> tuple[list[Event], Counter]:
    pairs = list(struct.iter_unpack("<II", data))
    return _decode_clocked(pairs if legacy else [(head, mask) for mask, head in pairs])


def _decode_clocked(words: list[tuple[int, int]]) -> tuple[list[Event], Counter]:
    events, skipped = [], Counter()
    highs = iter(follow([field(head, 0, 28) for head, _ in words if field(head, 28, 4) == 8], 28, 64, 1_000, 0))
    high, seen = None, False
    for head, mask in words:
        kind = field(head, 28, 4)
        if kind in (0, 1):
            if high is None:
                skipped["outlying" if seen else "timeless"] += len(set_bits(mask))
                continue
            t = high + field(head, 22, 6)
            events += [(t, field(head, 11, 11) + k, field(head, 0, 11), kind == 1) for k in set_bits(mask)]
        elif kind == 8:
            high, seen = next(highs), True
        else:
            skipped[kind] += 1
    return events, +skipped


def encode_evt2(events: list[Event]) -> bytes:
    words, high = [], None
    for t, x, y, p in events:
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high % 2**28)
        words.append(int(p) << 28 | (t & 63) << 22 | x << 11 | y)
    return struct.pack(f"<{len(words)}I", *words)


def encode_evt21(events: list[Event], *, legacy: bool) -> bytes:
    """Encode consecutive events in one aligned group of 32 columns as one word."""
    words, high = [], None
    for (t, group, y, p), members in groupby(events, lambda e: (e[0], e[1] // 32, e[2], e[3])):
        if t >> 6 != high:
            high = t >> 6
            words.append((8 << 28 | high % 2**28, 0))
        mask = 0
        for member in members:
            bit = 1 << member[1] % 32
            if mask >= bit:  # a mask is read from its lowest bit up: an equal or lower column needs another word
                words.append((int(p) << 28 | (t & 63) << 22 | group * 32 << 11 | y, mask))
                mask = 0
            mask |= bit
        words.append((int(p) << 28 | (t & 63) << 22 | group * 32 << 11 | y, mask))
    return b"".join(struct.pack("<II", *(pair if legacy else pair[::-1])) for pair in words)


def encode_dat(events: list[Event]) -> bytes:
    return b"".join(struct.pack("<II", t % 2**32, x | y << 14 | int(p) << 28) for t, x, y, p in events)


def encode_es(events: list[Event], height: int) -> bytes:
    data, last = bytearray(), 0
    for t, x, y, p in events:
        overflows, rest = divmod(t - last, 127)
        data += b"\xff" * overflows + struct.pack("<BHH", rest * 2 + int(p), x, height - 1 - y)
        last = t
    return bytes(data)


def encode_ncaltech(events: list[Event]) -> bytes:
    return b"".join(bytes([x, y]) + (int(p) << 23 | t).to_bytes(3, "big") for t, x, y, p in events)


def tuples(packet: EventPacket) -> list[Event]:
    return list(zip(packet.t.tolist(), packet.x.tolist(), packet.y.tolist(), packet.p.tolist(), strict=True))


def decode_in_pieces(decoder, data: bytes, cuts: list[int]) -> list[Event]:
    """Return all events of a decoder when the data is cut at these places."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    packets = [decoder.decode(data[start:stop]) for start, stop in pairwise(edges)]
    return [event for packet in (*packets, decoder.finish()) for event in tuples(packet)]


def decode_whole(decoder, data: bytes) -> EventPacket:
    """Return the events of a decoder that gets no more data."""
    packets = decoder.decode(data), decoder.finish()
    return EventPacket(*(np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"))


def read_all(reader) -> list[Event]:
    """Return all events of a reader, up to its end or its first fault."""
    events = []
    while (packet := reader.read_packet()) is not None:
        events += tuples(packet)
    return events


def read_columns(reader) -> EventPacket:
    """Return all events of a reader in one packet."""
    packets = [EventPacket.empty()]
    while (packet := reader.read_packet()) is not None:
        packets.append(packet)
    return EventPacket(*(np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"))
