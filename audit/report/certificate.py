"""Makes certificate.json: digests and verdicts of an audit, signed; see `stream/protocol/certificate.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from eventveil.audit.report.report import PUBLIC_KEY, REPORT, AuditReport, digest
from eventveil.errors import AuditError
from eventveil.host.files import write_atomic
from eventveil.models.rate_limit import bits_per_second, steps_per_second
from eventveil.stream.protocol import dsse
from eventveil.stream.protocol.certificate import (
    CERTIFICATE,
    PAYLOAD_TYPE,
    VALID_DAYS,
    Certificate,
    CertifiedSubject,
    Signed,
    canonical,
    read_key,
    today,
)
from eventveil.training.whole_file import write_whole


def certify(folder: Path, report: AuditReport, key: Path, valid_days: int = VALID_DAYS) -> Signed:
    """Sign the report in a folder, and write certificate.json and the signer's public key next to it.

    Args:
        folder: with report.json.
        report: the same report.
        key: Ed25519 private key in PEM, see `signing_key`.
        valid_days: how many days the certificate counts, from the day on which the audit first ended.

    Raises:
        AuditError: the key cannot be read or made, or the certificate would have expired already.
        TrainingError: the certificate cannot be written.
    """
    private = signing_key(key)
    certificate = Certificate(
        made=report.made.at,
        not_after=_day(report.made.at) + timedelta(days=valid_days),
        eventveil=report.made.eventveil,
        evidence=report.evidence,
        simulated=report.data.simulated,
        look=report.look,
        threshold=report.threshold,
        config=digest(report.settings),
        data=report.data.index,
        report=_digest_of_file(folder / REPORT),
        subjects=tuple(
            CertifiedSubject(
                name=one.name,
                weights=one.weights,
                **_book_of(one.about),
                status=one.verdict.status,
                verdict=one.verdict.text,
            )
            for one in report.audited
            if one.verdict is not None
        ),
    )
    if certificate.not_after < today():
        raise AuditError(
            f"{folder}: this audit ended on {_day(report.made.at)}, more than {valid_days} days ago: its certificate "
            "would have expired; audit the weights again, in another --out"
        )
    text = dsse.sign(canonical(certificate.model_dump(mode="json")), PAYLOAD_TYPE, private)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_whole(folder / PUBLIC_KEY, lambda file: file.write(public))
    write_whole(folder / CERTIFICATE, lambda file: file.write(text.encode()))
    return Signed.parse(text.encode(), str(folder / CERTIFICATE))


def _day(at: str) -> date:
    """Return the day, in UTC, of a time with its zone."""
    return datetime.fromisoformat(at).astimezone(UTC).date()


def verify(path: Path, *, key: Path | None = None, report: Path | None = None, weights: str | None = None) -> Signed:
    """Read a certificate, and verify its signature, its last day, its report and its weights.

    Args:
        path: the certificate.
        key: Ed25519 public key in PEM that must have signed it; without one, the key that it names.
        report: the report that must have been signed.
        weights: digest of the weights that must have been audited (`Metadata.identity`).

    Raises:
        AuditError: the certificate cannot be read, has expired, or one of these does not match.
    """
    signed = Signed.read(path, None if key is None else read_key(key))
    certificate = signed.certificate
    if report is not None and _digest_of_file(report) != certificate.report:
        raise AuditError(
            f"{report}: is not the report that {path} was made for; one of the two was changed, get both again"
        )
    if weights is not None and weights not in {one.weights for one in certificate.subjects}:
        raise AuditError(
            f"{path}: is not about these weights (digest {weights[:16]}), which were not part of its audit; give the "
            "certificate of these weights"
        )
    return signed


def _book_of(about: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the book of a stand-in, and the bits per second of its words, from the metadata of its weights.

    Both are None for another anonymizer.
    """
    if about is None or about.get("kind") != "stand_in":
        return {"book": None, "bits_per_second": None}
    config, step_us = about["config"], about["bin_us"] * about["hop"]
    bits = bits_per_second(config["words"], config["changes_per_second"], steps_per_second(step_us))
    return {"book": config["book"], "bits_per_second": bits}


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key in PEM; create it, readable by its owner only, if there is no such file.

    Raises:
        AuditError: it cannot be read or made, or is another kind of key.
    """
    try:
        if not path.exists():
            generated = Ed25519PrivateKey.generate()
            text = generated.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_atomic(path, text, replace=False)
            return generated
        loaded = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise AuditError(f"{path}: the key cannot be read or generated ({error.strerror}); check --key") from error
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # InternalError: a truncated X448 key
        raise AuditError(f"{path}: expected an Ed25519 private key in PEM, without a password") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise AuditError(f"{path}: expected an Ed25519 private key, got one of another kind")
    return loaded


def _digest_of_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise AuditError(f"{path}: cannot be read ({error.strerror}); check the path") from error
