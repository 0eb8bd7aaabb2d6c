"""The log of all audits that one key has signed or will sign, so that repeating an audit until it passes is useless.

    KEY.looks     one line for each audit when it begins, and one when it ends; beside the key, private

The k-th audit of the same weights is held to a stricter level than the one before (see `evaluation.betting`), even if
that one was stopped. What an earlier audit showed stays: an attack that worked once works. A key signs only audits that
its log has counted from their beginning.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eventveil.audit.figures import Outcome
from eventveil.errors import AuditError
from eventveil.host.files import append_private

SUFFIX = ".looks"


class AuditLog:
    """All audits that were begun with a key.

    Args:
        key: path of the private key; the log is next to it.
    """

    def __init__(self, key: Path) -> None:
        self.path = key.with_name(key.name + SUFFIX)

    def begin(self, weights: Sequence[str]) -> str:
        """Log the beginning of an audit of weights, given their digest, and return its name.

        Raises:
            AuditError: the log cannot be written.
        """
        name = secrets.token_hex(8)
        self._append({"begun": name, "at": _now(), "weights": sorted(weights)})
        return name

    def number(self, name: str) -> int:
        """Return the number of an audit among those of the same weights, from 1; for several weights, the highest.

        Raises:
            AuditError: the log cannot be read, or does not hold this audit.
        """
        begun = [line for line in self._lines() if "begun" in line]
        names = [line["begun"] for line in begun]
        if name not in names:
            raise AuditError(
                f"{self.path}: does not hold this audit, which was begun with another key: a key signs only audits "
                "that it has counted from the beginning; give --key as before, or audit again in another --out"
            )
        earlier = begun[: names.index(name) + 1]
        return max((sum(one in line["weights"] for line in earlier) for one in earlier[-1]["weights"]), default=1)

    def end(self, name: str, outcomes: dict[str, Outcome]) -> str:
        """Log what an audit has shown about weights, given their digest, and return when it ended for the first time.

        An audit that is resumed after its end has shown all this before, and is not younger for it.

        Raises:
            AuditError: the log cannot be written or read.
        """
        for weights, outcome in outcomes.items():
            if not any(line["weights"] == weights for line in self._ends(name)):
                self._append({"ended": name, "at": _now(), "weights": weights, **outcome.model_dump(mode="json")})
        return min((str(line["at"]) for line in self._ends(name)), default=_now())

    def _ends(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self._lines() if line.get("ended") == name]

    def earlier(self, name: str, weights: str | None) -> tuple[Outcome, ...]:
        """Return what all other audits with this key have shown about weights.

        Raises:
            AuditError: the log cannot be read.
        """
        return tuple(
            Outcome.model_validate({key: line[key] for key in Outcome.model_fields})
            for line in self._lines()
            if line.get("ended", name) != name and line["weights"] == weights
        )

    def _lines(self) -> list[dict[str, Any]]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise AuditError(f"{self.path}: cannot be read ({error.strerror}); check --key") from error
        try:
            lines = [json.loads(line) for line in content.decode().split("\n") if line]
        except (ValueError, RecursionError):
            lines = [None]
        if not all(isinstance(line, dict) and "weights" in line for line in lines):
            raise AuditError(f"{self.path}: is damaged: expected a line of JSON for each audit; restore it")
        return lines

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            append_private(self.path, json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise AuditError(f"{self.path}: cannot be written ({error.strerror}); check --key") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
