"""Weak public keys are recognised, and a fingerprint is the same for everyone who computes it."""

from __future__ import annotations

import base64
import hashlib
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eventveil.stream.protocol.public_keys import fingerprint, is_weak_curve25519, is_weak_ed25519

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the large group: ORDER times any point has a small order
D = -121665 * pow(121666, -1, P) % P


def added(one, other):
    """Add two points of edwards25519, by the formula of RFC 8032."""
    (x1, y1), (x2, y2) = one, other
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def multiplied(number, point):
    product = (0, 1)
    while number:
        product = added(product, point) if number & 1 else product
        point, number = added(point, point), number >> 1
    return product


def x_of(y):
    """Return an x coordinate of the points with this y, or None if there are none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    root = root if root * root % P == square else root * pow(2, (P - 1) // 4, P) % P
    return root if root * root % P == square else None


@pytest.fixture(scope="module")
def small_y():
    """The y coordinates of all points of small order, computed from the first points of the curve."""
    points = [(x_of(y), y) for y in range(2, 40) if x_of(y) is not None]
    small = {multiplied(ORDER, point)[1] for point in points}
    assert len(small) == 5
    return small


def encodings(numbers):
    """Every way to write these numbers modulo P as 32 bytes, with and without the highest bit."""
    for number in numbers:
        for same in (number, number + P):
            for bit in (0, 1 << 255):
                if same < 1 << 255:
                    yield (same | bit).to_bytes(32, "little")


def test_every_ed25519_key_of_small_order_is_weak_and_no_other(small_y):
    for key in encodings(small_y):
        assert is_weak_ed25519(key)
    for _ in range(50):
        key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        assert not is_weak_ed25519(key)


def test_a_signature_of_zeros_is_valid_for_the_weak_key_so_the_check_is_needed():
    identity = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"any message")
    assert is_weak_ed25519(identity)


def test_every_curve25519_key_that_openssl_refuses_to_agree_with_is_weak_and_no_other(small_y):
    private = X25519PrivateKey.generate()
    on_the_curve = {(1 + y) * pow(1 - y, -1, P) % P for y in small_y - {1}}
    for key in encodings({*on_the_curve, P - 1}):  # P - 1: of the twist
        with pytest.raises(ValueError, match="shared key"):
            private.exchange(X25519PublicKey.from_public_bytes(key))
        assert is_weak_curve25519(key)
    for number in (*range(2, 40), P - 2, P - 3):
        key = number.to_bytes(32, "little")
        private.exchange(X25519PublicKey.from_public_bytes(key))
        assert not is_weak_curve25519(key)


def test_a_fingerprint_can_be_computed_with_common_tools(tmp_path):
    key = bytes(range(32))
    (tmp_path / "key").write_bytes(key)
    digest = subprocess.run(["sha256sum", tmp_path / "key"], capture_output=True, text=True, check=True).stdout[:64]
    letters = base64.b32encode(bytes.fromhex(digest)).decode()
    assert fingerprint(key).replace("-", "") == letters[:20]
    assert [len(group) for group in fingerprint(key).split("-")] == [4] * 5
    assert fingerprint(key) != fingerprint(hashlib.sha256(key).digest())
