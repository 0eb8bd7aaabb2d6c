"""Event-ReId: 33 people walk past four cameras of 640x480; as published, or prepared by the published scripts.

The full set holds a recording per person and camera, `008/cam03/events.txt`, which is used in windows of 33.3 ms.
Sets prepared with the scripts of its authors or of AnonyNoise, and the published sample, hold a file per window,
`test/008_c3_096.txt`, and lists of them.

It has two quirks. No file states the unit of its times: one edition counts milliseconds, the sample tenths of them.
A recording lasts 3 to 5 s and a window 33.3 ms, so a factor of ten is easy to detect. And the sample restarts its
numbering of people in `test/`, so in prepared sets a person's name begins with the folder.

Source: Ahmad et al., Person Re-Identification without Identification via Event Anonymization, ICCV 2023, and
`data/README.md` of its code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from math import log
from pathlib import Path
from statistics import median

from eventveil.errors import DatasetError
from eventveil.events import Sensor
from eventveil.replay.datasets.clip_source import open_recording
from eventveil.replay.datasets.listing import files_in, folders_in
from eventveil.replay.datasets.text_spans import TextSpan, open_span, read_span
from eventveil.replay.datasets.trials import Dataset, Trial

KIND = "event-reid"
SENSOR = Sensor(640, 480)
WINDOW_US = 33_300
MAX_WINDOWS = 100_000  # in a recording: an hour; recordings of the dataset last seconds
TEST_PEOPLE = frozenset(range(2, 33, 3))  # the dataset's own list: 002, 005 ... 032
TEST_STEP = 5  # every fifth window of test people is used
UNITS_US = (1_000, 100)
TYPICAL_RECORDING_US = 4_000_000
FOLDERS = ("train", "test")
LOOKS_FOR = "Event-ReId: NNN/camNN/events.txt (full set), train/ or test/ with NNN_cN_NNN.txt (prepared, or sample)"
PERSON = re.compile(r"\d{3}")
CAMERA = re.compile(r"cam0?(\d)")
WINDOW = re.compile(r"(\d{3})_c(\d)_\d{3,}")


def recognises(root: Path) -> bool:
    """Return whether a folder is Event-ReId, in full or prepared."""
    return any(_people(root)) or any(
        WINDOW.fullmatch(path.stem) for folder in FOLDERS for path in (root / folder).glob("*.txt")
    )


def index(root: Path) -> Dataset:
    """List the windows.

    Raises:
        DatasetError: a file is missing or does not follow the layout.
    """
    if any(_people(root)):
        return Dataset(KIND, "Event-ReId, full set", root, (), tuple(_full_trials(root)))
    return Dataset(KIND, "Event-ReId, windows in files", root, (), tuple(_prepared_trials(root)))


def _people(root: Path) -> Iterator[Path]:
    return (path for path in root.iterdir() if path.is_dir() and PERSON.fullmatch(path.name))


def _full_trials(root: Path) -> Iterator[Trial]:
    spans = []
    for person in sorted(_people(root)):
        for camera in folders_in(person, "folders named cam01 to cam04"):
            path = camera / "events.txt"
            if not path.is_file():
                raise DatasetError(f"{camera}: looked for events.txt, but it is not there; fetch the dataset again")
            spans.append(read_span(path, SENSOR))
    unit_us = _unit_us(spans, TYPICAL_RECORDING_US)
    for span in spans:
        yield from _windows(span, unit_us)


def _windows(span: TextSpan, unit_us: int) -> Iterator[Trial]:
    """Divide a recording into windows of 33.3 ms, numbered from 001 as the authors' script does."""
    person, folder = span.path.parts[-3], span.path.parent.name
    camera = CAMERA.fullmatch(folder)
    if camera is None:
        raise DatasetError(f"{span.path.parent}: expected a camera as cam01 to cam04; remove other folders")
    split = "test" if int(person) in TEST_PEOPLE else "train"
    length = WINDOW_US / unit_us  # in the unit of the file
    if span.last - span.first > MAX_WINDOWS * length:
        raise DatasetError(
            f"{span.path}: lasts longer than {MAX_WINDOWS} windows; correct its times, or fetch it again"
        )
    for number in count(0, TEST_STEP if split == "test" else 1):
        start, stop = span.first + number * length, span.first + (number + 1) * length
        if start > span.last:
            return
        yield Trial(
            name=f"{person}_c{camera[1]}_{number + 1:03}.txt",
            path=span.path,
            subject=person,
            target=None,
            label=None,
            session=f"c{camera[1]}",
            lighting=None,
            duration_us=WINDOW_US,
            split=split,
            opener=partial(open_span, span, start, stop, unit_us),
        )


def _prepared_trials(root: Path) -> Iterator[Trial]:
    paths = [
        path
        for folder in FOLDERS
        if (root / folder).is_dir()
        for path in files_in(root / folder, ".txt", "windows named NNN_cN_NNN.txt")
        if path.stat().st_size > 0  # the authors' script leaves an empty file where nothing moved
    ]
    if not paths:
        raise DatasetError(f"{root}: looked for windows named NNN_cN_NNN.txt, found only empty ones; fetch them again")
    unit_us = _unit_us([read_span(path, SENSOR) for path in paths], WINDOW_US)
    for path in paths:
        match = WINDOW.fullmatch(path.stem)
        if match is None:
            raise DatasetError(f"{path}: expected a window named like 008_c3_096.txt; remove other files")
        split = path.parent.name
        yield Trial(
            name=path.relative_to(root).as_posix(),
            path=path,
            subject=f"{split}/{match[1]}",
            target=None,
            label=None,
            session=f"c{match[2]}",
            lighting=None,
            duration_us=WINDOW_US,
            split=split,
            opener=partial(open_recording, path, f"columns=t,x,y,p&unit={unit_us}us", SENSOR),
        )


def _unit_us(spans: Sequence[TextSpan], typical_us: int) -> int:
    """Return the unit in which the median span lasts closest to `typical_us`; a few odd ones do not matter."""
    length = max(1.0, median([span.last - span.first for span in spans]))
    return min(UNITS_US, key=lambda unit_us: abs(log(length * unit_us / typical_us)))
