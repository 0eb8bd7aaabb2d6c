"""The certificate of an audit: what was audited, with what result, signed with Ed25519 (RFC 8032).

The signature is over all other keys, as JSON with sorted keys and no spaces. It says that whoever has the key made this
audit, not that the audit was made well: for that there is the report. A certificate is public and names no person. Its
digest, SHA-256 of the file as it stands, is in every header of a line that runs the weights that it is about.
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
MAX_BYTES = 1 << 18  # of a certificate: far above any, and a header holds it
PASSED = 0

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class SignedModel(BaseModel):
    """Base of what is signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CertifiedSubject(SignedModel):
    """One anonymizer of the audit: name of its weights file, SHA-256 of its tensors, exit status and words."""

    name: str
    weights: Sha256 | None
    status: Literal[0, 1, 2]
    verdict: str


class Certificate(SignedModel):
    """What is signed, and the signature.

    Attributes:
        version: of this list of keys.
        made: when the audit was.
        eventveil: which version made it.
        evidence: False for a quick look.
        threshold: of the advantage over blind guessing.
        config: SHA-256 of the settings.
        data: SHA-256 of the index of the dataset.
        report: SHA-256 of the file report.json.
        subjects: the verdicts.
        public_key: of the signer, 32 bytes in hexadecimal.
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
        """What the signature is over."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))

    def about(self, weights: str) -> CertifiedSubject | None:
        """The verdict on weights, by the SHA-256 of their tensors; None where it is not about them.

        Two weights files with the same tensors are one anonymizer: then the worse verdict counts.
        """
        own = [subject for subject in self.subjects if subject.weights == weights]
        return max(own, key=lambda subject: subject.status, default=None)


class Signed:
    """A certificate whose signature holds, with the text that it was read from.

    Attributes:
        certificate: what it says.
        text: the file.
        digest: SHA-256 of the text in UTF-8: its name in headers.
    """

    def __init__(self, certificate: Certificate, text: str) -> None:
        self.certificate = certificate
        self.text = text
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def read(cls, path: Path, key: str | None = None) -> Self:
        """Read a file.

        Args:
            path: the certificate.
            key: public key that must have signed it, as `read_key` gives it; without one, the key that it names itself.

        Raises:
            AuditError: it cannot be read, is no certificate, or the signature does not hold.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise AuditError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        return cls.parse(content, str(path), key)

    @classmethod
    def parse(cls, content: bytes, name: str, key: str | None = None) -> Self:
        """Check the bytes of a certificate; `name` is for messages.

        Raises:
            AuditError: it is no certificate, or the signature does not hold.
        """
        if len(content) > MAX_BYTES:
            raise AuditError(f"{name}: expected a certificate of an audit, got more than {MAX_BYTES} bytes")
        try:
            text = content.decode()
            certificate = Certificate.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "JSON"
            raise AuditError(f"{name}: expected a certificate of an audit: {place}: {first['msg']}") from None
        except UnicodeDecodeError:
            raise AuditError(f"{name}: expected a certificate of an audit, got something that is no text") from None
        if key is not None and key != certificate.public_key:
            raise AuditError(f"{name}: was signed with another key than the one that is trusted; do not trust it")
        if not _holds(certificate):
            raise AuditError(f"{name}: the signature is not of this content; it was changed, do not trust it")
        return cls(certificate, text)


def read_key(path: Path) -> str:
    """Read an Ed25519 public key in PEM, or the public half of a private one, as 32 bytes in hexadecimal.

    Raises:
        AuditError: it cannot be read, or is no such key.
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
        held: Any = load_pem_private_key(text, None) if b"PRIVATE KEY" in text else load_pem_public_key(text)
    except OSError as error:
        raise AuditError(f"{path}: the key cannot be read ({error.strerror}); check the path") from error
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # the last one of an X448 key that is cut off
        raise AuditError(f"{path}: expected an Ed25519 public key in PEM") from None
    if isinstance(held, Ed25519PrivateKey):
        held = held.public_key()
    if not isinstance(held, Ed25519PublicKey):
        raise AuditError(f"{path}: expected an Ed25519 public key, got one of another kind")
    return held.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def canonical(content: Any) -> bytes:
    """Plain values as bytes: JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _holds(certificate: Certificate) -> bool:
    with require("cryptography", extra="certificate", error=AuditError):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(certificate.public_key))
        public.verify(bytes.fromhex(certificate.signature), certificate.signed)
    except (InvalidSignature, ValueError):
        return False
    return True
