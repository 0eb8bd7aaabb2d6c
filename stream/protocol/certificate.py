"""The audit certificate: what was audited, with what result, signed with Ed25519 (RFC 8032).

The signature covers all other keys, as JSON with sorted keys and no spaces. It proves that the owner of the key made
the audit, not that the audit is sound: for that, read the report. A certificate is public and names no person. Every
header of a pipeline that runs the certified weights holds its digest, the SHA-256 of the file as stored.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventveil.errors import AuditError
from eventveil.extras import require

CERTIFICATE = "certificate.json"
MAX_BYTES = 1 << 18  # of a certificate: far above any real one, and small enough for a header
PASSED = 0

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class SignedModel(BaseModel):
    """Base of the signed models: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CertifiedSubject(SignedModel):
    """One audited anonymizer: name of its weights file, SHA-256 of its tensors, exit status and verdict."""

    name: str
    weights: Sha256 | None
    status: Literal[0, 1, 2]
    verdict: str


class Certificate(SignedModel):
    """The signed content, and the signature.

    Attributes:
        version: version of this format.
        made: time of the audit.
        eventveil: version of eventveil that made the audit.
        evidence: False for a quick audit, which proves nothing.
        threshold: largest advantage over blind guessing that passes.
        config: SHA-256 of the settings.
        data: SHA-256 of the index of the dataset.
        report: SHA-256 of the file report.json.
        subjects: the audited anonymizers, with their verdicts.
        public_key: key of the signer, 32 bytes in hexadecimal.
        signature: 64 bytes in hexadecimal.
    """

    version: Literal[1] = 1
    made: str
    eventveil: str
    evidence: bool
    threshold: float
    config: Sha256
    data: Sha256
    report: Sha256
    subjects: tuple[CertifiedSubject, ...]
    public_key: Sha256
    signature: Annotated[str, Field(pattern="^([0-9a-f]{128})?$")]

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))

    def about(self, weights: str) -> CertifiedSubject | None:
        """Return the verdict on weights, given the SHA-256 of their tensors; None if they were not audited.

        Two weights files with the same tensors are one anonymizer: the worse verdict counts.
        """
        subjects = [subject for subject in self.subjects if subject.weights == weights]
        return max(subjects, key=lambda subject: subject.status, default=None)


class Signed:
    """A certificate whose signature is valid, with the text that it was read from.

    Attributes:
        certificate: the parsed content.
        text: the text of the file.
        digest: SHA-256 of the text in UTF-8, as headers hold it.
    """

    def __init__(self, certificate: Certificate, text: str) -> None:
        self.certificate = certificate
        self.text = text
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def read(cls, path: Path, key: str | None = None) -> Self:
        """Read a certificate file and check its signature.

        Args:
            path: the certificate.
            key: public key that must have signed it, as `read_key` returns it; by default, the key that it contains.

        Raises:
            AuditError: it cannot be read, is not a certificate, or the signature is not valid.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise AuditError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        return cls.parse(content, str(path), key)

    @classmethod
    def parse(cls, content: bytes, name: str, key: str | None = None) -> Self:
        """Parse the bytes of a certificate and check its signature; `name` is used in messages.

        Raises:
            AuditError: it is not a certificate, or the signature is not valid.
        """
        if len(content) > MAX_BYTES:
            raise AuditError(f"{name}: expected an audit certificate, got more than {MAX_BYTES} bytes")
        try:
            text = content.decode()
            certificate = Certificate.model_validate_json(text)
        except ValidationError as error:
            finding = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in finding["loc"]) or "JSON"
            raise AuditError(f"{name}: expected an audit certificate: {place}: {finding['msg']}") from None
        except UnicodeDecodeError:
            raise AuditError(f"{name}: expected an audit certificate, got bytes that are not UTF-8 text") from None
        if key is not None and key != certificate.public_key:
            raise AuditError(f"{name}: was signed with another key than the trusted one; do not trust it")
        if not _is_valid(certificate):
            raise AuditError(f"{name}: the signature does not match the content; it was changed, do not trust it")
        return cls(certificate, text)


def read_key(path: Path) -> str:
    """Read an Ed25519 public key in PEM, or the public half of a private one, as 32 bytes in hexadecimal.

    Raises:
        AuditError: it cannot be read, or is not an Ed25519 key.
    """
    with require("cryptography", extra="certificate", error=AuditError):
        from cryptography.exceptions import InternalError, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            load_pem_private_key,
            load_pem_public_key,
        )

    try:
        text = path.read_bytes()
        key: Any = load_pem_private_key(text, None) if b"PRIVATE KEY" in text else load_pem_public_key(text)
    except OSError as error:
        raise AuditError(f"{path}: the key cannot be read ({error.strerror}); check the path") from error
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # InternalError: a truncated X448 key
        raise AuditError(f"{path}: expected an Ed25519 public key in PEM") from None
    if isinstance(key, Ed25519PrivateKey):
        key = key.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise AuditError(f"{path}: expected an Ed25519 public key, got one of another kind")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def canonical(content: Any) -> bytes:
    """Encode plain values as JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _is_valid(certificate: Certificate) -> bool:
    with require("cryptography", extra="certificate", error=AuditError):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(certificate.public_key))
        public.verify(bytes.fromhex(certificate.signature), certificate.signed)
    except (InvalidSignature, ValueError):
        return False
    return True
