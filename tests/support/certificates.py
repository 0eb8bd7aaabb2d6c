"""Signed certificates for tests, made without the code under test: the envelope is written out here a second time."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PAYLOAD_TYPE = "application/vnd.eventveil.certificate.v4+json"


def content(*subjects, **changed):
    """Return the values of a certificate; subjects are (SHA-256 of tensors, exit status, further keys if any)."""
    audited = [
        {"name": f"w{n}", "weights": digest, "status": status, "verdict": "Pass." if status == 0 else "Fail: found."}
        | (more[0] if more else {"book": None, "bits_per_second": None})
        for n, (digest, status, *more) in enumerate(subjects)
    ]
    values = {
        "made": "2026-01-01T00:00:00+00:00", "not_after": "9999-12-31", "eventveil": "1.0", "evidence": True,
        "simulated": False, "look": 1, "threshold": 0.1, "config": "1" * 64, "data": "2" * 64, "report": "3" * 64,
        "subjects": audited,
    }  # fmt: skip
    return values | changed


def envelope(private, payload, payload_type=PAYLOAD_TYPE, signed_type=None):
    """Return the values of a DSSE envelope with a valid signature over any payload; the types may differ."""
    kind = (signed_type or payload_type).encode()
    signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = {"keyid": public.hex(), "sig": base64.b64encode(private.sign(signed)).decode()}
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [signature],
    }


def certificate(private, *subjects, **changed):
    """Return the text of a signed certificate."""
    return json.dumps(envelope(private, json.dumps(content(*subjects, **changed)).encode()))


def tampered(text, old, new):
    """Return a certificate whose payload has been changed and kept its signature."""
    values = json.loads(text)
    payload = base64.b64decode(values["payload"])
    assert old in payload
    return json.dumps(values | {"payload": base64.b64encode(payload.replace(old, new)).decode()})
