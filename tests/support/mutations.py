"""Damaged bytes made from valid ones, reproducible for the same random state."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutate(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return valid bytes with a few changes, of the kinds that damage or attackers cause."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 12))):
        _CHANGES[rng.randrange(len(_CHANGES))](data, rng, seeds)
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """Return any position, more often one near the beginning, where headers are."""
    reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
    return rng.randrange(reach + 1)


def _flip(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[_place(data, rng) % len(data)] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    bits = 8 * size
    value = rng.choice((0, 1, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1, rng.getrandbits(bits)))
    place = _place(data, rng)
    data[place : place + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _remove(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, rng)
    del data[place : place + rng.choice((1, 2, 7, 100, len(data)))]


def _insert(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, rng)
    data[place:place] = rng.randbytes(rng.choice((1, 2, 8, 300)))


def _repeat(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, rng)
    data[place:place] = data[place : place + rng.choice((1, 8, 64))] * rng.choice((1, 3, 50))


def _splice(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    place = _place(data, rng)
    data[place : place + 16] = other[start : start + rng.choice((4, 32, 400))]


def _replace_token(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Replace a digit, or a byte anywhere, by a token with a meaning in some format."""
    digits = [place for place, byte in enumerate(data[:2000]) if 48 <= byte <= 57]
    place = rng.choice(digits) if digits and rng.random() < 0.7 else _place(data, rng)
    data[place : place + 1] = rng.choice(_WORDS)


_CHANGES = (_flip, _overwrite, _remove, _insert, _repeat, _splice, _replace_token)
_WORDS = (
    b"-1", b"0", b"1e309", b"nan", b"inf", b"9" * 30, b"9" * 5000, b"1e-400", b"0x10", b"\xd9\xa3", b"4294967296",
    b"9223372036854775808", b"null", b"[]", b"{}", b"[" * 500, b"true", b'"', b"'", b",", b"\n", b"\r", b"\0",
    b"\xff\xfe", b"%", b"../", b"&a [*a]", b"!!python/object:os.system", b"{a: &x [1], <<: *x}", b"2024-13-45",
    b": ", b"- ", b"#", b"=",
)  # fmt: skip
