"""Signed bytes: a DSSE envelope with one Ed25519 signature.

    {"payload": BASE64, "payloadType": TYPE, "signatures": [{"keyid": HEX, "sig": BASE64}]}

Source: "DSSE: Dead Simple Signing Envelope", version 1 (github.com/secure-systems-lab/dsse). What is signed are the
bytes of the payload and their type, so no payload is parsed before its signature has been checked, and no second
encoding of the same values is accepted. This profile is stricter than the specification: exactly one signature,
standard Base64 only, and as key id the signer's public key, 32 bytes in hexadecimal.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from eventveil.errors import AuditError
from eventveil.stream.protocol.public_keys import is_weak_ed25519
from eventveil.stream.protocol.strict_json import StrictModel, parse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Signature(StrictModel):
    """One signature: the signer's public key in hexadecimal, and 64 bytes in Base64."""

    keyid: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    sig: str


class Envelope(StrictModel):
    """The envelope, with the names of the specification."""

    payload: str
    payloadType: str
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=1)]


def sign(payload: bytes, payload_type: str, private: Ed25519PrivateKey) -> str:
    """Return the text of an envelope around a payload."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = private.sign(_pre_authentication(payload_type, payload))
    envelope = Envelope(
        payload=_encode(payload),
        payloadType=payload_type,
        signatures=(Signature(keyid=public.hex(), sig=_encode(signature)),),
    )
    return json.dumps(envelope.model_dump(mode="json"), indent=2) + "\n"


def verify(content: bytes, payload_type: str, trusted: str | None = None) -> tuple[bytes, str]:
    """Check an envelope and return its payload, and the public key that signed it, in hexadecimal.

    Args:
        content: the envelope.
        payload_type: the only accepted type of the payload.
        trusted: public key that must have signed, in hexadecimal; by default, any.

    Raises:
        AuditError: the signature is not valid, or not of this key.
        ValueError: it is not such an envelope.
    """
    envelope = parse(Envelope, content)
    if envelope.payloadType != payload_type:
        raise ValueError(f"payloadType: expected {payload_type!r}, got {envelope.payloadType!r}")
    payload = _decode("payload", envelope.payload)
    signature = _decode("signatures.0.sig", envelope.signatures[0].sig)
    key = envelope.signatures[0].keyid
    if trusted is not None and key != trusted:
        raise AuditError("was signed with a key other than the trusted one; do not trust it")
    if is_weak_ed25519(bytes.fromhex(key)):
        raise AuditError("was signed with a weak key, whose signatures anyone can forge; do not trust it")
    if not _is_valid(signature, _pre_authentication(payload_type, payload), key):
        raise AuditError("the signature does not match the content; it was changed, do not trust it")
    return payload, key


def _pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: the specification's PAE(type, body)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _is_valid(signature: bytes, message: bytes, key: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(name: str, text: str) -> bytes:
    """Decode standard Base64; text that encodes the same bytes in another way is refused."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or _encode(data) != text:
        raise ValueError(f"{name}: expected Base64 with padding and without spaces")
    return data
