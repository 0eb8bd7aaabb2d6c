"""Signed certificates for tests."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eventveil.stream.protocol.certificate import Certificate, CertifiedSubject


def certificate(private, *subjects, **changed):
    """Return the text of a signed certificate; subjects are pairs (SHA-256 of tensors, exit status)."""
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    audited = tuple(
        CertifiedSubject(
            name=f"w{n}", weights=digest, status=status, verdict="Pass." if status == 0 else "Fail: found."
        )
        for n, (digest, status) in enumerate(subjects)
    )
    unsigned = Certificate(
        made="2026-01-01T00:00:00+00:00", eventveil="1", evidence=True, threshold=0.1, config="1" * 64, data="2" * 64,
        report="3" * 64, subjects=audited, public_key=public, signature="",
    )  # fmt: skip
    signed = unsigned.model_copy(update={"signature": private.sign(unsigned.signed).hex()})
    return json.dumps(signed.model_dump(mode="json") | changed, indent=2) + "\n"
