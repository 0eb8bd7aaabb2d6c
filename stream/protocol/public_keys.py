"""What public keys of both kinds share: a fingerprint that people can compare, and a check for points of small order.

Keys of publishers and subscribers are points of Curve25519 (RFC 7748), those of auditors of edwards25519 (RFC 8032).
Eight points of each curve (and four of Curve25519's twist) have an order of at most 8. They are no one's keys: a shared
secret with one is always the same, and anyone can make signatures that one of them verifies.
"""

from __future__ import annotations

import base64
import hashlib

_PRIME = 2**255 - 19
_LOW_255_BITS = 2**255 - 1
# Of the points of order 8: the x coordinates in Montgomery form, and the y coordinates in Edwards form.
_U8 = 325606250916557431795983626356110631294008115727848805560023387167927233504
_U8_TWIN = 39382357235489614581723060781553021112529911719440698176882885853963445705823
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_CURVE25519 = frozenset({0, 1, _PRIME - 1, _U8, _U8_TWIN})
_SMALL_ED25519 = frozenset({0, 1, _PRIME - 1, _Y8, _PRIME - _Y8})
_GROUPS, _LETTERS = 5, 4  # 20 letters of Base32: 100 bits, out of reach of a search for a key with the same letters


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key: five groups of four letters and digits, to compare over the telephone.

    These are the first 100 bits of the SHA-256 of the key's 32 bytes, in Base32 (RFC 4648).
    """
    text = base64.b32encode(hashlib.sha256(key).digest()).decode()
    return "-".join(text[_LETTERS * n : _LETTERS * (n + 1)] for n in range(_GROUPS))


def is_weak_curve25519(key: bytes) -> bool:
    """Return whether the 32 bytes are a point of small order of Curve25519 or of its twist, in any encoding."""
    return (int.from_bytes(key, "little") & _LOW_255_BITS) % _PRIME in _SMALL_CURVE25519


def is_weak_ed25519(key: bytes) -> bool:
    """Return whether the 32 bytes are a point of small order of edwards25519, or encoded in a way RFC 8032 forbids."""
    y = int.from_bytes(key, "little") & _LOW_255_BITS
    return y >= _PRIME or y in _SMALL_ED25519
