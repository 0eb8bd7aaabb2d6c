"""Filters messages for a subscriber that requires a certificate: accepts only those of weights that passed an audit.

Fail closed: a message whose certificate has not arrived yet is withheld and counted. A message that no certificate can
cover, or whose certificate has expired or does not arrive within seconds, ends the subscription with the cause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import date

from eventveil.errors import AuditError
from eventveil.stream.protocol.certificate import PASSED, Signed, printable, today
from eventveil.stream.protocol.wire import CERTIFICATE_STATE, Message, StateHeader, StreamHeader

log = logging.getLogger("eventveil.subscribe")

NAME = "refused: the certificate of this pipeline"
PATIENCE_S = 6.0  # how long to wait for a certificate, which a publisher repeats every two seconds


class CertificateFilter:
    """Decides for each message whether the caller may receive it.

    Args:
        key: public key of the auditor that the subscriber trusts, as `certificate.read_key` returns it.
        clock: monotonic time in seconds.
        calendar: the date in UTC.
    """

    def __init__(
        self, key: str, clock: Callable[[], float] = time.monotonic, calendar: Callable[[], date] = today
    ) -> None:
        self._key = key
        self._clock = clock
        self._calendar = calendar
        self._warning: str | None = None
        self._signed: Signed | None = None
        self._waiting_since: float | None = None
        self._awaited: StreamHeader | None = None  # of the last message that was withheld
        self._withheld = 0

    def accepts(self, message: Message) -> bool:
        """Return whether the caller may receive a message now. State messages always pass: they hold no window.

        Raises:
            AuditError: no passing certificate of the trusted key covers the message or ever will, it has expired, or
                the pipeline ended before a certificate arrived.
        """
        header = message.header
        if isinstance(header, StateHeader):
            self._read_state(header)
            return True
        assert isinstance(header, StreamHeader)
        if header.certificate is None:
            raise AuditError(
                f"refused: the weights of this pipeline (digest {header.anonymizer[:16]}) have no certificate: no "
                "audit shows how well they hide people"
            )
        if self._signed is None or self._signed.digest != header.certificate:
            self._withheld += 1
            self._waiting_since = self._clock() if self._waiting_since is None else self._waiting_since
            self._awaited = header
            return False
        self._check_covered(self._signed, header)
        self._waiting_since = None
        return True

    def _check_covered(self, signed: Signed, header: StreamHeader) -> None:
        """Check that a certificate is valid today, and that it covers the weights of a message that names it.

        Raises:
            AuditError: it does not.
        """
        signed.check_expiry(NAME, self._calendar())
        subject = signed.certificate.about(header.anonymizer)
        if subject is None:
            raise AuditError(
                f"refused: the certificate {signed.digest[:16]} does not cover the weights of this pipeline (digest "
                f"{header.anonymizer[:16]})"
            )
        if header.book != subject.book or (header.bits_per_second or 0) > (subject.bits_per_second or 0):
            raise AuditError(
                f"refused: the certificate {signed.digest[:16]} covers the weights of this pipeline with the book "
                f"{subject.book} and {subject.bits_per_second} bits per second; the pipeline has {header.book} and "
                f"{header.bits_per_second}"
            )
        if subject.status != PASSED:
            raise AuditError(
                f"refused: the weights of this pipeline did not pass their audit: {printable(subject.verdict)}"
            )

    def check(self) -> None:
        """Check how long the certificate has been awaited.

        Raises:
            AuditError: the certificate that the messages name has not arrived in time.
        """
        if self._waiting_since is not None and self._clock() - self._waiting_since > PATIENCE_S:
            raise self._missing(f"within {PATIENCE_S:.0f} s")

    def _read_state(self, header: StateHeader) -> None:
        if header.state == CERTIFICATE_STATE and header.certificate is not None:
            self._signed = Signed.parse(header.certificate.encode(), NAME, self._key, self._calendar())
            self._warn(self._signed.expiry_warning(self._calendar()))
            if self._awaited is not None and self._awaited.certificate == self._signed.digest:
                self._check_covered(self._signed, self._awaited)
                self._waiting_since = None  # it has arrived, however long the next message takes
        elif header.stream is None and self._waiting_since is not None:
            raise self._missing("before the pipeline ended")

    def _warn(self, warning: str | None) -> None:
        """Log a warning, and not again until it changes: a certificate is repeated every two seconds."""
        if warning is not None and warning != self._warning:
            log.warning("%s", warning)
        self._warning = warning

    def _missing(self, when: str) -> AuditError:
        other = "" if self._signed is None else f", only one with digest {self._signed.digest[:16]}"
        return AuditError(
            f"refused: the certificate that the messages name did not arrive {when}{other}; {self._withheld} messages "
            "were withheld"
        )
