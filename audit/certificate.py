"""certificate.json: what was audited, with what result, signed with Ed25519 (RFC 8032).

The signature is over all other keys, as JSON with sorted keys and no spaces. It says that whoever has the key made this
audit, not that the audit was made well: for that there is the report.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from eventveil.audit.figures import Part
from eventveil.audit.report import REPORT, Report, canonical, digest
from eventveil.errors import AuditError
from eventveil.models.metadata import first_finding
from eventveil.training.run_folder import write_json

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )
except ImportError:
    raise AuditError("certificates need cryptography; pip install 'eventveil[audit]'") from None

CERTIFICATE = "certificate.json"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Judged(Part):
    """One anonymizer of the audit: name of its weights file, SHA-256 of its tensors, exit status and words."""

    name: str
    weights: Sha256 | None
    status: Literal[0, 1, 2]
    verdict: str


class Certificate(Part):
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
    subjects: tuple[Judged, ...]
    public_key: Sha256
    signature: Annotated[str, Field(pattern="^([0-9a-f]{128})?$")]

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))


def certify(folder: Path, report: Report, key: Path) -> Certificate:
    """Sign the report that lies in a folder, and write certificate.json beside it.

    Args:
        folder: where report.json is.
        report: the same.
        key: Ed25519 private key in PEM; made, for its owner only, where there is no such file.

    Raises:
        AuditError: the key cannot be read or made.
        TrainingError: the certificate cannot be written.
    """
    private = _key(key)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    unsigned = Certificate(
        made=report.made.at,
        eventveil=report.made.eventveil,
        evidence=report.evidence,
        threshold=report.threshold,
        config=digest(report.settings),
        data=report.data.index,
        report=_digest_of_file(folder / REPORT),
        subjects=tuple(
            Judged(name=one.name, weights=one.weights, status=one.verdict.status, verdict=one.verdict.text)
            for one in report.audited
            if one.verdict is not None
        ),
        public_key=public.hex(),
        signature="",
    )
    certificate = unsigned.model_copy(update={"signature": private.sign(unsigned.signed).hex()})
    write_json(folder / CERTIFICATE, certificate.model_dump(mode="json"))
    return certificate


def verify(
    path: Path, *, key: Path | None = None, report: Path | None = None, weights: str | None = None
) -> Certificate:
    """Read a certificate and hold it to its signature, and to what it is about.

    Args:
        path: the certificate.
        key: Ed25519 public key in PEM that must have signed it; without one, the key that it names itself.
        report: that it must be of.
        weights: SHA-256 of tensors that it must be about.

    Raises:
        AuditError: it cannot be read, or one of these does not hold.
    """
    certificate = _read(path)
    if key is not None and _public(key) != certificate.public_key:
        raise AuditError(f"{path}: was signed with another key than {key}; do not trust it")
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(certificate.public_key))
    try:
        public.verify(bytes.fromhex(certificate.signature), certificate.signed)
    except InvalidSignature:
        raise AuditError(f"{path}: the signature is not of this content; it was changed, do not trust it") from None
    if report is not None and _digest_of_file(report) != certificate.report:
        raise AuditError(f"{report}: is not the report that {path} was signed with; one of the two was changed")
    if weights is not None and weights not in {one.weights for one in certificate.subjects}:
        raise AuditError(f"{path}: is not about these weights (tensors {weights[:16]}); they were not audited with it")
    return certificate


def _read(path: Path) -> Certificate:
    try:
        return Certificate.model_validate_json(path.read_text("utf-8"))
    except OSError as error:
        raise AuditError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValidationError as error:
        raise AuditError(f"{path}: expected a certificate of an audit: {first_finding(error)}") from None
    except UnicodeDecodeError:
        raise AuditError(f"{path}: expected a certificate of an audit, got something that is no text") from None


def _key(path: Path) -> Ed25519PrivateKey:
    try:
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            text = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text)
            return made
        held = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise AuditError(f"{path}: the key cannot be read or made ({error.strerror}); check --key") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuditError(f"{path}: expected an Ed25519 private key in PEM, without a password") from None
    if not isinstance(held, Ed25519PrivateKey):
        raise AuditError(f"{path}: expected an Ed25519 private key, got one of another kind")
    return held


def _public(path: Path) -> str:
    """Read a public key, or the public half of a private one, as hexadecimal."""
    try:
        text = path.read_bytes()
        held: Any = _key(path).public_key() if b"PRIVATE KEY" in text else load_pem_public_key(text)
    except OSError as error:
        raise AuditError(f"{path}: the key cannot be read ({error.strerror}); check --key") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuditError(f"{path}: expected an Ed25519 public key in PEM") from None
    if not isinstance(held, Ed25519PublicKey):
        raise AuditError(f"{path}: expected an Ed25519 public key, got one of another kind")
    return held.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _digest_of_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise AuditError(f"{path}: cannot be read ({error.strerror}); check the path") from error
