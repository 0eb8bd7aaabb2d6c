"""What can go wrong, as one tree.

EventVeilError
+-- EventError       events that break the rules of `EventPacket`, or settings that cannot bin them
+-- EventFileError   a recording that cannot be read or written as asked
+-- DatasetError     a folder that is no dataset, or one with parts missing, or a split or list that does not fit it
+-- ConfigError      a setting that is unknown, missing or out of range
+-- WeightsError     a weights file that is wrong, or does not fit the line it is put into
+-- AnonymizerError  the anonymizer failed: nothing comes out
+-- BoundaryError    something that was not anonymized was about to be published
+-- WireError        a message that another version or another program sent
+-- AccessError      a key file that is wrong or open to others, or a publisher that is not, or refuses, whom it should
+-- LineError        a stage of the line failed and the line has ended
+-- CrashError       a network or its device failed (also an AnonymizerError or a LineError): a fresh one may go on
+-- TrainingError    training cannot go on: a loss is not finite, or a run folder is of another run or cannot be written
+-- AuditError       an audit that cannot be made as asked, or a certificate that does not hold
+-- CameraError      a live camera that is not there, cannot be opened as asked, or was lost

The command line turns each of these into one line and exit status 2; any other exception is a defect of ours and
keeps its traceback. No message of this tree may carry event data: coordinates and counts of a recording stay inside.
"""

from __future__ import annotations

from pathlib import Path


class EventVeilError(Exception):
    """Root of everything that eventveil raises on purpose."""


class EventError(EventVeilError):
    """Events break the rules of `EventPacket`, or cannot be binned as asked."""


class EventFileError(EventVeilError):
    """A recording cannot be read or written as asked.

    Attributes:
        path: the file.
        format: the format it was taken for, or None where none was recognised.
        where: where in it, as "byte 4096" or "packet 12"; None where the whole file is meant.
        expected: what was expected there, and what came.
        remedy: what to do about it.
        recoverable: True where only one packet is lost: iterating on continues behind it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        format: str | None,  # noqa: A002 - the word of the field
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
    """A folder is not the dataset that was asked for, parts are missing, or a split or a list does not fit it."""


class ConfigError(EventVeilError):
    """A setting is unknown, missing or out of range."""


class WeightsError(EventVeilError):
    """A weights file is wrong, or does not fit the line it is put into."""


class AnonymizerError(EventVeilError):
    """The anonymizer failed. Fail closed: nothing was published."""


class BoundaryError(EventVeilError):
    """Something that was not anonymized was about to cross the privacy boundary."""


class WireError(EventVeilError):
    """A message does not follow docs/wire-format.md."""


class AccessError(EventVeilError):
    """A key is missing, malformed or open to others, or two ends of a connection do not accept each other's keys."""


class LineError(EventVeilError):
    """A stage of the line failed, and the line has ended."""


class CrashError(EventVeilError):
    """A network failed with its device, or by an exception inside; nothing it made is wrong. A fresh one may go on."""


class AnonymizerCrashError(AnonymizerError, CrashError):
    """The anonymizer crashed. Fail closed: nothing of the batch was published."""


class ClassifierCrashError(LineError, CrashError):
    """The classifier crashed."""


class TrainingError(EventVeilError):
    """Training cannot go on: a loss is not finite, or a run folder is of another run or cannot be written."""


class AuditError(EventVeilError):
    """An audit cannot be made as asked, or a certificate does not hold."""


class CameraError(EventVeilError):
    """A live camera is not there, cannot be opened as asked, or was lost.

    Attributes:
        camera: its URI.
        found: what is the matter.
        remedy: what to do about it.
        passing: True where it may be there again by itself: trying again makes sense.
    """

    def __init__(self, camera: str, *, found: str, remedy: str, passing: bool) -> None:
        self.camera = camera
        self.found = found
        self.remedy = remedy
        self.passing = passing
        super().__init__(f"{camera}: {found}; {remedy}")
