"""Wrong bytes made of good ones, always the same for the same draw."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Good bytes with something wrong: a few changes, of the kinds that files suffer and attackers think of."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 4, 12))):
        _CHANGES[chance.randrange(len(_CHANGES))](data, chance, seeds)
    return bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Anywhere, but more often near the beginning, where headers are."""
    reach = len(data) if chance.random() < 0.5 else min(len(data), 200)
    return chance.randrange(reach + 1)


def _flip(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[_place(data, chance) % len(data)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    size = chance.choice((1, 2, 4, 8))
    bits = 8 * size
    value = chance.choice((0, 1, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1, chance.getrandbits(bits)))
    place = _place(data, chance)
    data[place : place + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _remove(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, chance)
    del data[place : place + chance.choice((1, 2, 7, 100, len(data)))]


def _insert(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, chance)
    data[place:place] = chance.randbytes(chance.choice((1, 2, 8, 300)))


def _repeat(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, chance)
    data[place:place] = data[place : place + chance.choice((1, 8, 64))] * chance.choice((1, 3, 50))


def _splice(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> None:
    other = chance.choice(seeds)
    start = chance.randrange(len(other) + 1)
    place = _place(data, chance)
    data[place : place + 16] = other[start : start + chance.choice((4, 32, 400))]


def _say(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """In place of a number of a text, or anywhere, a word that means something to somebody."""
    digits = [place for place, byte in enumerate(data[:2000]) if 48 <= byte <= 57]
    place = chance.choice(digits) if digits and chance.random() < 0.7 else _place(data, chance)
    data[place : place + 1] = chance.choice(_WORDS)


_CHANGES = (_flip, _overwrite, _remove, _insert, _repeat, _splice, _say)
_WORDS = (
    b"-1", b"0", b"1e309", b"nan", b"inf", b"9" * 30, b"9" * 5000, b"1e-400", b"0x10", b"\xd9\xa3", b"4294967296",
    b"9223372036854775808", b"null", b"[]", b"{}", b"[" * 500, b"true", b'"', b"'", b",", b"\n", b"\r", b"\0",
    b"\xff\xfe", b"%", b"../", b"&a [*a]", b"!!python/object:os.system", b"{a: &x [1], <<: *x}", b"2024-13-45",
    b": ", b"- ", b"#", b"=",
)  # fmt: skip
