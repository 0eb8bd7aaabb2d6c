"""The audit certificate: what was audited, with what result, and until when it counts, signed with Ed25519 (RFC 8032).

The file is a DSSE envelope (`stream/protocol/dsse.py`) around JSON. The signature proves that the owner of the key made
the audit, not that the audit is sound: for that, read the report. A certificate is public and names no person. Every
header of a pipeline that runs the certified weights holds its digest, the SHA-256 of the file as stored.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from eventveil.errors import AuditError, ExpiredError
from eventveil.stream.protocol import dsse
from eventveil.stream.protocol.public_keys import fingerprint, is_weak_ed25519
from eventveil.stream.protocol.strict_json import StrictModel, parse

CERTIFICATE = "certificate.json"
PAYLOAD_TYPE = "application/vnd.eventveil.certificate.v4+json"
MAX_BYTES = 1 << 18  # of a certificate: far above any real one, and small enough for a header
PASSED = 0
VALID_DAYS = 365  # unless the auditor chooses another lifetime: attacks improve, and a key may get lost
WARN_DAYS = 30  # how long before its end users are warned


def _day(value: Any) -> Any:
    """Read YYYY-MM-DD; pydantic alone would also take a number of seconds, as text."""
    if isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return date.fromisoformat(value)
    return value


Day = Annotated[date, BeforeValidator(_day)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class CertifiedSubject(StrictModel):
    """One audited anonymizer.

    Attributes:
        name: name of its weights file.
        weights: their digest, as in headers; None for an anonymizer without weights.
        book: for a stand-in, SHA-256 of its book; None for another one.
        bits_per_second: for a stand-in, the most bits that the words of any second carry; None for another one.
        status: exit status.
        verdict: in words.
    """

    name: str
    weights: Sha256 | None
    book: Sha256 | None
    bits_per_second: Annotated[float, Field(ge=0)] | None
    status: Annotated[int, Field(ge=0, le=2)]
    verdict: str


class Certificate(StrictModel):
    """The signed content.

    Attributes:
        made: time of the audit.
        not_after: the last day, in UTC, on which the certificate counts.
        eventveil: version of eventveil that made the audit.
        evidence: False for a quick audit, which proves nothing.
        simulated: whether the evidence is about simulated people only, and so shows nothing about real ones.
        look: which audit of the same weights it was, of those begun with the signer's key; from 1.
        threshold: largest advantage over blind guessing that passes.
        config: SHA-256 of the settings.
        data: SHA-256 of the index of the dataset.
        report: SHA-256 of the file report.json.
        subjects: the audited anonymizers, with their verdicts.
    """

    made: str
    not_after: Day
    eventveil: str
    evidence: bool
    simulated: bool
    look: Annotated[int, Field(ge=1)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    config: Sha256
    data: Sha256
    report: Sha256
    subjects: tuple[CertifiedSubject, ...]

    @model_validator(mode="after")
    def _check_evidence(self) -> Self:
        if not self.evidence and any(subject.status == PASSED for subject in self.subjects):
            raise ValueError("without evidence, no weights pass")
        return self

    def about(self, weights: str) -> CertifiedSubject | None:
        """Return the verdict on weights, given their digest; None if they were not audited.

        Two weights files with the same digest are one anonymizer: the worse verdict counts.
        """
        subjects = [subject for subject in self.subjects if subject.weights == weights]
        return max(subjects, key=lambda subject: subject.status, default=None)


def today() -> date:
    """Return the date in UTC."""
    return datetime.now(UTC).date()


class Signed:
    """A certificate whose signature is valid, with the text that it was read from.

    Attributes:
        certificate: the parsed content.
        key: public key of the signer, 32 bytes in hexadecimal.
        text: the text of the file.
        digest: SHA-256 of the text in UTF-8, as headers hold it.
    """

    def __init__(self, certificate: Certificate, key: str, text: str) -> None:
        self.certificate = certificate
        self.key = key
        self.text = text
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def read(cls, path: Path, key: str | None = None) -> Self:
        """Read a certificate file, and check its signature and its last day.

        Args:
            path: the certificate.
            key: public key that must have signed it, as `read_key` returns it; by default, the one that it names.

        Raises:
            AuditError: it cannot be read, is not a certificate, or the signature is not valid.
            ExpiredError: it has expired.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise AuditError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        return cls.parse(content, str(path), key)

    @classmethod
    def parse(cls, content: bytes, name: str, key: str | None = None, on: date | None = None) -> Self:
        """Parse the bytes of a certificate, and check its signature and its last day.

        Args:
            content: the bytes.
            name: what messages call it.
            key: public key that must have signed it, as in `read`.
            on: the day on which it has to be valid, in UTC; by default, today.

        Raises:
            AuditError: it is not a certificate, or the signature is not valid.
            ExpiredError: it has expired.
        """
        if len(content) > MAX_BYTES:
            raise AuditError(f"{name}: expected an audit certificate, got more than {MAX_BYTES} bytes")
        try:
            payload, signer = dsse.verify(content, PAYLOAD_TYPE, key)
            certificate = parse(Certificate, payload)
        except AuditError as error:
            raise AuditError(f"{name}: {error}") from None
        except ValueError as error:
            raise AuditError(
                f"{name}: expected an audit certificate: {error}; get the file again, or repeat the audit's command "
                "with --resume, which signs its results again"
            ) from None
        signed = cls(certificate, signer, content.decode())
        signed.check_expiry(name, on)
        return signed

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the signer's public key."""
        return fingerprint(bytes.fromhex(self.key))

    def check_expiry(self, name: str, on: date | None = None) -> None:
        """Check that the certificate is valid on a day, by default today.

        Raises:
            ExpiredError: it has expired.
        """
        last = self.certificate.not_after
        if (on or today()) > last:
            raise ExpiredError(
                f"{name}: expired at the end of {last} (UTC): refused; audit the weights again with a current version "
                "of eventveil and use the new certificate"
            )

    def expiry_warning(self, on: date | None = None) -> str | None:
        """Return a warning if the certificate expires within a month of a day, by default today."""
        last = self.certificate.not_after
        left = (last - (on or today())).days
        if left > WARN_DAYS:
            return None
        return (
            f"the certificate expires at the end of {last} (UTC), in {left} days: audit the weights again before that"
        )


def read_key(path: Path) -> str:
    """Read an Ed25519 public key in PEM, or the public half of a private one, as 32 bytes in hexadecimal.

    Raises:
        AuditError: it cannot be read, is not an Ed25519 key, or is a weak one.
    """
    # Imported on use: most pipelines and subscribers read no certificate.
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
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    if is_weak_ed25519(raw):
        raise AuditError(
            f"{path}: is a weak key, whose signatures anyone can forge: refused; get the auditor's real key"
        )
    return raw.hex()


def canonical(content: Any) -> bytes:
    """Encode plain values as JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def printable(text: str) -> str:
    """Replace control characters, so that text from a certificate cannot affect the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
