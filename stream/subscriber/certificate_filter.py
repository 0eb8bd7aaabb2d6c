"""What a subscriber lets in who asks for a certificate: messages about weights that passed an audit, and nothing else.

Fail closed: a message whose certificate is not known yet is withheld and counted; one that cannot be covered by any, or
whose certificate does not come within seconds, ends the subscription with the cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from eventveil.errors import AuditError
from eventveil.stream.protocol.certificate import PASSED, Signed
from eventveil.stream.protocol.wire import CERTIFICATE_STATE, Message, StateHeader, StreamHeader

PATIENCE_S = 6.0  # for a certificate that a line repeats every other second


class CertificateFilter:
    """Tells for each message whether it may be handed out.

    Args:
        key: public key of whom the subscriber trusts, as `certificate.read_key` gives it.
        clock: seconds.
    """

    def __init__(self, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = key
        self._clock = clock
        self._known: Signed | None = None
        self._waiting_since: float | None = None
        self._withheld = 0

    def accepts(self, message: Message) -> bool:
        """Whether a message may be handed out now; words about the line may, for they are of no window.

        Raises:
            AuditError: it is not covered by a passing certificate of the trusted key, and never will be; or the line
                has ended before a certificate came.
        """
        header = message.header
        if isinstance(header, StateHeader):
            self._heard(header)
            return True
        assert isinstance(header, StreamHeader)
        if header.certificate is None:
            raise AuditError(
                f"refused: the weights of this line (tensors {header.anonymizer[:16]}) have no certificate: nobody has "
                "shown whom they hide"
            )
        if self._known is None or self._known.digest != header.certificate:
            self._withheld += 1
            self._waiting_since = self._waiting_since or self._clock()
            return False
        judged = self._known.certificate.about(header.anonymizer)
        if judged is None:
            raise AuditError(
                f"refused: the certificate {header.certificate[:16]} is not about the weights of this line (tensors "
                f"{header.anonymizer[:16]})"
            )
        if judged.status != PASSED:
            raise AuditError(f"refused: the weights of this line did not pass their audit: {_plain(judged.verdict)}")
        self._waiting_since = None
        return True

    def check(self) -> None:
        """Look at the clock.

        Raises:
            AuditError: the certificate that messages name has not come.
        """
        if self._waiting_since is not None and self._clock() - self._waiting_since > PATIENCE_S:
            raise self._never_came(f"within {PATIENCE_S:.0f} s")

    def _heard(self, header: StateHeader) -> None:
        if header.state == CERTIFICATE_STATE and header.certificate is not None:
            self._known = Signed.parse(header.certificate.encode(), "refused: the certificate of this line", self._key)
        elif header.stream is None and self._waiting_since is not None:
            raise self._never_came("before the line ended")

    def _never_came(self, when: str) -> AuditError:
        other = "" if self._known is None else f", only one with digest {self._known.digest[:16]}"
        return AuditError(
            f"refused: the certificate that the messages name did not come {when}{other}; {self._withheld} messages "
            "were withheld"
        )


def _plain(text: str) -> str:
    """Text of a file for a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
