"""Every row of the table in docs/formats.md is a test: what it calls understood is read, and the rest is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import reference_evt
import reference_io
from all_formats import FORMATS
from recordings import SENSOR, assert_same, join, make_events

from eventveil import EventPacket, Sensor
from eventveil.errors import EventFileError
from eventveil.io import open_events

TABLE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
DVS128 = Sensor(128, 128)
EVENTS = make_events(300)
SMALL = make_events(300, sensor=DVS128)
ROWS = list(zip(*(getattr(EVENTS, field).tolist() for field in "txyp"), strict=True))
Make = Callable[[Path], str | Path]


def text(*lines: str, name: str = "a.csv", end: str = "\n") -> Make:
    return lambda folder: _written(folder / name, (end.join(lines) + end).encode())


def data(content: bytes, name: str) -> Make:
    return lambda folder: _written(folder / name, content)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def rows(template: str, *, on: str = "1", off: str = "0") -> list[str]:
    return [template.format(t=t, s=t / 1e6, ns=t * 1000, x=x, y=y, p=on if p else off) for t, x, y, p in ROWS]


def option(make: Make, query: str) -> Make:
    return lambda folder: f"{make(folder)}?{query}"


def hdf5(place: str, shift: int = 0, **others: object) -> Make:
    def make(folder: Path) -> Path:
        with h5py.File(folder / "a.h5", "w") as file:
            for field in "txyp":
                file[f"{place}/{field}"] = getattr(EVENTS, field)
            for name, value in others.items():
                file[name] = value
        return folder / "a.h5"

    return make


def mvsec(*sides: str) -> Make:
    def make(folder: Path) -> Path:
        columns = EVENTS.x, EVENTS.y, EVENTS.t / 1e6, np.where(EVENTS.p, 1.0, -1.0)
        with h5py.File(folder / "a.h5", "w") as file:
            for side in sides:
                file[f"davis/{side}/events"] = np.stack(columns, axis=1)
        return folder / "a.h5"

    return make


def e2vid(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for field in "txyp":
            column = getattr(EVENTS, field)
            file[f"events/{field}s"] = column / 1e6 if field == "t" else column
        file.attrs["sensor_resolution"] = (260, 346)
    return folder / "a.h5"


def npy(array: np.ndarray) -> Make:
    def make(folder: Path) -> Path:
        np.save(folder / "a.npy", array)
        return folder / "a.npy"

    return make


def records(kind: str = "i8", events: EventPacket = EVENTS, times: np.ndarray | None = None) -> np.ndarray:
    array = np.zeros(len(events), [("t", kind), ("x", "u2"), ("y", "u2"), ("p", "?")])
    for field in "txyp":
        array[field] = times if field == "t" and times is not None else getattr(events, field)
    return array


def written(name: str, events: EventPacket, sensor: Sensor) -> Make:
    def make(folder: Path) -> Path:
        path = folder / f"a{FORMATS[name].suffix}"
        FORMATS[name].write(path, events, sensor)
        return path

    return make


def outlier(events: EventPacket) -> EventPacket:
    t = events.t.copy()
    t[150] = 3_000_000_000
    return EventPacket(t, events.x, events.y, events.p)


def without(events: EventPacket, place: int) -> EventPacket:
    return join([events[:place], events[place + 1 :]])


def words_of(events: EventPacket, address: Callable[..., int]) -> list[tuple[int, int]]:
    columns = (getattr(events, field).tolist() for field in "txyp")
    return [(address(x, y, int(p)), t) for t, x, y, p in zip(*columns, strict=True)]


RAW = b"% evt 2.0\n% operator J\xc3\xb6rg\n% \xe6\x93\x8d me\n% geometry 346x260\n% end\n" + reference_evt.encode_evt2(
    ROWS
)
LEGACY = b"% format EVT21;endianness=legacy;width=346;height=260\n% end\n" + reference_evt.encode_evt21(
    ROWS, legacy=True
)
DVS = words_of(SMALL, reference_io.dvs128_address)
SHIFT = 1_600_000_000_000_000
SHIFTED = EventPacket(EVENTS.t + SHIFT, EVENTS.x, EVENTS.y, EVENTS.p)
TABLE_OF_FOUR = np.stack([EVENTS.t, EVENTS.x, EVENTS.y, EVENTS.p], axis=1)

# The key is the first cell of a row: what is read and what comes of it; what is refused, and with which words.
CASES: dict[str, tuple[Make, EventPacket, Make, str]] = {
    "CSV, names": (
        text('"time (us)","x","y","polarity","label"', *rows("{t},{x},{y},{p},hand")), EVENTS,
        text("t,x,y,p,label", *rows("{t},{x},{y},{p}")), "4 columns, but the line of column names has 5",
    ),
    "CSV, comment": (
        text("# x,y,p,t", *rows("{x},{y},{p},{t}")), EVENTS,
        text("# columns x y p t and more", *rows("{x},{y},{p},{t}")), "a comment that names t, x, y and p",
    ),
    "CSV, Metavision": (
        text("%geometry:346,260", *rows("{x},{y},{p},{t}")), EVENTS,
        text(*rows("{x},{y},{p},{t}")), "polarities in the third column, and no stated order",
    ),
    "TXT, Event-Camera Dataset": (
        option(text("346 260", *rows("{s:.6f} {x} {y} {p}"), name="events.txt"), "unit=s"), EVENTS,
        text("346 260", *rows("{s:.6f} {x} {y} {p}"), name="events.txt"), "fractions, and no unit; state the unit",
    ),
    "CSV, pandas": (
        text("\ufefft,x,y,p", *rows("{t},{x},{y},{p}", on="True", off="False"), end="\r\n"), EVENTS,
        data("t,x,y,p\n1,2,3,0\n".encode("utf-16"), "a.csv"), "UTF-16; save it as UTF-8",
    ),
    "CSV, MATLAB": (
        text(*rows("{t},{x},{y},{p}", on="2", off="1"), end="\r"), EVENTS,
        text(*rows("{t},{x},{y},{p}", on="7", off="3")), "p that is not a polarity",
    ),
    "CSV, ROS": (
        option(text("t,x,y,p", *rows("{ns},{x},{y},{p}")), "unit=ns"), EVENTS,
        text(*(f"{1_700_000_000_000_000_000 + 1_000 * k} 1 2 1" for k in range(9))), "beyond the year 2100",
    ),
    "NPY, float32": (
        npy(records("f4")), EVENTS,
        npy(records("f4", times=1_234_000_000 + EVENTS.t)), "too large to be exact in float32",
    ),
    "NPY, (N, 4)": (
        option(npy(TABLE_OF_FOUR), "columns=t,x,y,p"), EVENTS,
        npy(TABLE_OF_FOUR), "a table without a stated order",
    ),
    "HDF5, DSEC": (
        hdf5("events", t_offset=np.int64(SHIFT), ms_to_idx=np.arange(3)), SHIFTED,
        option(hdf5("events"), "place=other"), "nothing at the stated place",
    ),
    "HDF5, MVSEC": (
        mvsec("left"), EVENTS,
        mvsec("left", "right"), "several: davis/left/events, davis/right/events; state one",
    ),
    "HDF5, M3ED": (
        hdf5("prophesee/left", ms_map_idx=np.arange(3)), EVENTS,
        hdf5("camera"), "state theirs, as in .place=camera/events",
    ),
    "HDF5, e2vid": (
        option(e2vid, "unit=s"), EVENTS,
        e2vid, "fractions, and no unit; state the unit",
    ),
    "RAW, names in the header": (
        data(RAW, "a.raw"), EVENTS,
        data(reference_evt.encode_evt2(ROWS), "a.raw"), "expected a header that names EVT2, EVT2.1 or EVT3",
    ),
    "RAW, IMX636": (
        data(LEGACY, "a.raw"), EVENTS,
        data(b"% format EVT4;width=346;height=260\n% end\n" + bytes(64), "a.raw"), "found EVT4",
    ),
    "DAT, a damaged time": (
        written("DAT", outlier(EVENTS), SENSOR), without(EVENTS, 150),
        data(b"% Version 1\n\x0c\x08", "a.dat"), "version 1",
    ),
    "AEDAT 2.0, jAER": (
        data(reference_io.aedat2("DVS128", [*DVS[:150], (DVS[150][0], 3_000_000_000), *DVS[151:]]), "a.aedat"),
        without(SMALL, 150),
        data(reference_io.aedat2("", DVS), "a.aedat"), "addresses are not those of a DAVIS",
    ),
    "AEDAT 1.0, 2.1, 3.0": (
        written("AEDAT3.1", SMALL, DVS128), SMALL,
        data(b"#!AER-DAT3.0\r\n", "a.aedat"), "AEDAT 3.0 is not supported; convert it",
    ),
    "BIN, N-Caltech101": (
        written("N-Caltech101", SMALL, DVS128), SMALL,
        data(struct.pack("<4000I", *((k * 2654435761) % 2**32 for k in range(4_000))), "a.bin"), "time goes back",
    ),
}  # fmt: skip


def documented() -> list[list[str]]:
    """Return the cells of the table's rows."""
    section = TABLE.read_text().split("## As others write them")[1].split("\n## ")[0]
    lines = [line for line in section.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_row_is_a_case_and_every_case_a_row():
    assert [row[0] for row in documented()] == list(CASES)
    assert all(len(row) == 4 and all(row) for row in documented())


@pytest.mark.parametrize("case", CASES)
def test_a_row_of_the_table(tmp_path, case):
    good, expected, bad, message = CASES[case]
    with open_events(good(tmp_path), sensor=_sensor(case)) as source:
        assert_same(join(source), expected)
    (tmp_path / "bad").mkdir()
    with pytest.raises(EventFileError, match=message), open_events(bad(tmp_path / "bad"), sensor=SENSOR) as source:
        join(source)


def _sensor(case: str) -> Sensor:
    return DVS128 if case.startswith(("AEDAT", "BIN")) else SENSOR
