"""Every error that eventveil raises on purpose, as one tree.

EventVeilError
+-- EventError       events violate the rules of `EventPacket`, or the settings cannot bin them
+-- EventFileError   a recording cannot be read, or cannot be written as requested
+-- DatasetError     a folder is not a dataset, parts of it are missing, or a split or list does not match it
+-- ConfigError      a setting is unknown, missing or out of range
+-- WeightsError     a weights file is invalid, or does not match the pipeline that loads it
+-- BookError        a book of the stand-in is damaged or malformed, or a word or time is not in it
+-- AnonymizerError  the anonymizer failed: nothing was published
+-- BoundaryError    data that was not anonymized was about to be published
+-- WireError        a message does not follow the wire format: another version or another program sent it
+-- AccessError      a key file is invalid or readable by others, or publisher and subscriber reject each other's keys
+-- LineError        a stage failed and the pipeline has ended
+-- CrashError       a network or its device failed (also an AnonymizerError or a LineError); a new instance may work
+-- TrainingError    training cannot continue: a non-finite loss, or a run folder of another run or not writable
+-- AuditError       an audit cannot be made as requested, or a certificate is not valid
+-- CameraError      a live camera is missing, cannot be opened as requested, or was lost

The command line prints each of these as one line and exits with status 2; any other exception is a bug in eventveil and
keeps its traceback. No message of this tree may carry event data: coordinates and counts of a recording stay inside.
"""

from __future__ import annotations

from pathlib import Path


class EventVeilError(Exception):
    """Base class of everything that eventveil raises on purpose."""


class EventError(EventVeilError):
    """Events violate the rules of `EventPacket`, or cannot be binned as requested."""


class EventFileError(EventVeilError):
    """A recording cannot be read, or cannot be written as requested.

    Attributes:
        path: the file.
        format: the detected format, or None if none was recognised.
        where: the place in the file, such as "byte 4096" or "packet 12"; None for the whole file.
        expected: what was expected there, and what was found.
        remedy: what to do about it.
        recoverable: True if only one packet is lost: iteration continues after it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        format: str | None,  # noqa: A002 - the usual name for it
        expected: str,
        remedy: str,
        where: str | None = None,
        recoverable: bool = False,
    ) -> None:
        self.path = Path(path)
        self.format = format
        self.where = where
        self.expected = expected
        self.remedy = remedy
        self.recoverable = recoverable
        place = f"{path} ({format})" if format else f"{path}"
        place = f"{place}, {where}" if where else place
        super().__init__(f"{place}: {expected}; {remedy}")


class DatasetError(EventVeilError):
    """A folder is not the requested dataset, parts are missing, or a split or a list does not match it."""


class ConfigError(EventVeilError):
    """A setting is unknown, missing or out of range."""


class WeightsError(EventVeilError):
    """A weights file is invalid, or does not match the pipeline that loads it."""


class BookError(EventVeilError):
    """A book of the stand-in is damaged or malformed, or has no such word or time."""


class AnonymizerError(EventVeilError):
    """The anonymizer failed. Fail closed: nothing was published."""


class BoundaryError(EventVeilError):
    """Data that was not anonymized was about to cross the privacy boundary."""


class WireError(EventVeilError):
    """A message does not follow docs/wire-format.md."""


class AccessError(EventVeilError):
    """A key is missing, malformed or readable by others, or two peers do not accept each other's keys."""


class LineError(EventVeilError):
    """A stage failed, and the pipeline has ended."""


class CrashError(EventVeilError):
    """A network raised or its device failed; its earlier output is correct. A new instance may continue."""


class AnonymizerCrashError(AnonymizerError, CrashError):
    """The anonymizer crashed. Fail closed: no window of the batch was published."""


class ClassifierCrashError(LineError, CrashError):
    """The classifier crashed."""


class TrainingError(EventVeilError):
    """Training cannot continue: a loss is not finite, or a run folder belongs to another run or is not writable."""


class AuditError(EventVeilError):
    """An audit cannot be made as requested, or a certificate is not valid."""


class ExpiredError(AuditError):
    """A certificate has expired."""


class CameraError(EventVeilError):
    """A live camera is missing, cannot be opened as requested, or was lost.

    Attributes:
        camera: its URI.
        found: what is wrong.
        remedy: what to do about it.
        passing: True if the problem may go away by itself, so that retrying makes sense.
    """

    def __init__(self, camera: str, *, found: str, remedy: str, passing: bool) -> None:
        self.camera = camera
        self.found = found
        self.remedy = remedy
        self.passing = passing
        super().__init__(f"{camera}: {found}; {remedy}")
