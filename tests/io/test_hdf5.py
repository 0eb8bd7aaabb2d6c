from __future__ import annotations

import json
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from recordings import SENSOR, assert_same, make_events, read_all, read_with_faults

from eventveil import EventPacket, Sensor
from eventveil.errors import EventFileError
from eventveil.io import open_events
from eventveil.io.formats import hdf5_process
from eventveil.io.formats.columns import ColumnError
from eventveil.io.formats.hdf5 import Hdf5Reader

EVENTS = make_events(150_000)
RECORD = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])


def write_columns(path, names="txyp", group="events", events=EVENTS, **options):
    with h5py.File(path, "w") as file:
        for name, column in zip(names, (events.t, events.x, events.y, events.p), strict=True):
            file.create_dataset(f"{group}/{name}", data=column, **options)
    return path


def write_records(path, **options):
    records = np.zeros(len(EVENTS), RECORD)
    for field in "txyp":
        records[field] = getattr(EVENTS, field)
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", data=records, **options)
    return path


@pytest.mark.parametrize("names", ["txyp", ("ts", "xs", "ys", "ps"), ("timestamps", "x", "y", "polarity")])
@pytest.mark.parametrize("options", [{}, {"chunks": (10_000,), "compression": "gzip", "shuffle": True}])
def test_columns(tmp_path, names, options):
    path = write_columns(tmp_path / "a.h5", names, **options)
    assert_same(read_all(Hdf5Reader(path)), EVENTS)


def test_records_of_metavision(tmp_path):
    path = write_records(tmp_path / "a.hdf5", chunks=(16_384,), compression="gzip", compression_opts=1)
    with h5py.File(path, "a") as file:
        file.attrs["geometry"] = "346x260"
    with open_events(path) as source:
        assert source.sensor == SENSOR
        assert source.format == "HDF5"
        assert sum(map(len, source)) == len(EVENTS)
    assert_same(read_all(Hdf5Reader(path)), EVENTS)


@pytest.mark.parametrize("place", ["/", "events"])
@pytest.mark.parametrize("attributes", [{"geometry": np.bytes_("640x480")}, {"width": 640, "height": np.int32(480)}])
def test_geometry_from_attributes(tmp_path, place, attributes):
    path = write_columns(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file[place].attrs.update(attributes)
    reader = Hdf5Reader(path)
    reader.close()
    assert reader.sensor == Sensor(640, 480)


def test_a_damaged_heap_of_strings_holds_nobody_up(tmp_path):
    path = write_columns(tmp_path / "a.h5", events=EVENTS[:5])
    with h5py.File(path, "a") as file:
        file.attrs["geometry"] = "128x128"
    data = bytearray(path.read_bytes())
    size = data.index(b"GCOL") + 24  # of the string: after it nothing, of length 0, without an end
    data[size] = 0xFF
    path.write_bytes(data)
    with pytest.raises(EventFileError, match="damaged"):
        Hdf5Reader(path)


def test_a_chunk_that_ends_the_library_is_a_damaged_one(tmp_path):
    path = write_columns(tmp_path / "a.h5", events=EVENTS[:65_586], chunks=(65_536,), fletcher32=True)
    data = bytearray(path.read_bytes())
    size = data.index(b"TREE\1") + 24 + 32  # of the second chunk, as stored: too few for the checksum
    data[size : size + 4] = bytes(4)
    path.write_bytes(data)
    reader = Hdf5Reader(path)
    assert len(reader.read_packet()) == 65_536
    with pytest.raises(EventFileError, match="events 65536 to 65585: expected events, found damaged bytes"):
        reader.read_packet()
    assert reader.skipped.total() == 50
    assert reader._process.wait() == -signal.SIGSEGV


def test_a_first_chunk_that_ends_the_library_refuses_the_file(tmp_path):
    path = write_columns(tmp_path / "a.h5", events=EVENTS[:50], chunks=(50,), fletcher32=True)
    data = bytearray(path.read_bytes())
    size = data.index(b"TREE\1") + 24
    data[size : size + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(EventFileError, match="expected an HDF5 file, found damaged bytes"):
        Hdf5Reader(path)


def test_a_string_of_any_kind_may_be_the_geometry(tmp_path):
    path = write_columns(tmp_path / "a 'b'.h5", group="CD/events", events=EVENTS[:5])
    with h5py.File(path, "a") as file:
        file["CD"].attrs.create("geometry", "640x480", dtype=h5py.string_dtype("ascii"))
    reader = Hdf5Reader(path)
    assert reader.sensor == Sensor(640, 480)
    assert_same(read_all(reader), EVENTS[:5])
    for wrong in (["640x480"] * 2, "w\u00efde"):
        with h5py.File(path, "a") as file:
            file["CD"].attrs.create("geometry", wrong, dtype=h5py.string_dtype())
        with pytest.raises(EventFileError, match="WIDTHxHEIGHT"):
            Hdf5Reader(path)


def test_no_geometry_and_a_wrong_one(tmp_path):
    path = write_columns(tmp_path / "a.h5")
    reader = Hdf5Reader(path)
    reader.close()
    assert reader.sensor is None
    with h5py.File(path, "a") as file:
        file.attrs["geometry"] = "wide"
    with pytest.raises(EventFileError, match="WIDTHxHEIGHT"):
        Hdf5Reader(path)


def test_times_in_seconds(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["events/t"] = EVENTS.t / 1e6
        for name in "xyp":
            file[f"events/{name}"] = getattr(EVENTS, name)
    assert_same(read_all(Hdf5Reader(path, unit="s")), EVENTS)
    with pytest.raises(EventFileError, match="unit=ms"):
        Hdf5Reader(path)


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    path = write_records(tmp_path / "a.hdf5", chunks=(50_000,))
    with h5py.File(path, "a") as file:
        events = file["CD/events"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1_000,))
        plist.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((1_000,))
        h5py.h5d.create(file["CD"].id, b"packed", events.id.get_type(), space, plist)
        del file["CD/events"]
        file.move("CD/packed", "CD/events")
    with pytest.raises(EventFileError, match=r"ECF \(Prophesee\), number 36559, .*hdf5_ecf.*HDF5_PLUGIN_PATH"):
        Hdf5Reader(path)


def test_items_and_attributes_too_large_to_be_meant_are_refused(tmp_path):
    path = write_columns(tmp_path / "a.h5", events=EVENTS[:5])
    with h5py.File(path, "a") as file:
        file.attrs["geometry"] = np.zeros(2_000, np.uint8)
    with pytest.raises(EventFileError, match="an attribute geometry"):
        Hdf5Reader(path)


def external_link(file, secret):
    file["events"] = h5py.ExternalLink(secret.name, "events")


def external_link_to_a_column(file, secret):
    file.create_group("events").update({field: np.zeros(4, np.uint16) for field in "xyp"})
    file["events/t"] = h5py.ExternalLink(secret.name, "events/t")


def soft_link_through_an_external_one(file, secret):
    file["out"] = h5py.ExternalLink(secret.name, "/")
    file["events"] = h5py.SoftLink("/out/events")


def soft_link_to_itself(file, _):
    file["events"] = h5py.SoftLink("/events")


def virtual_dataset(file, secret):
    file.create_group("events").update({field: np.zeros(4, np.uint16) for field in "xyp"})
    layout = h5py.VirtualLayout(shape=(4,), dtype=np.int64)
    layout[:] = h5py.VirtualSource(secret.name, "events/t", shape=(4,))[:]
    file.create_virtual_dataset("events/t", layout)


def external_storage(file, secret):
    file.create_group("events").update({field: np.zeros(4, np.uint16) for field in "xyp"})
    file.create_dataset("events/t", shape=(4,), dtype=np.int64, external=[(str(secret), 0, 32)])


@pytest.mark.parametrize(
    "make",
    [
        external_link,
        external_link_to_a_column,
        soft_link_through_an_external_one,
        soft_link_to_itself,
        virtual_dataset,
        external_storage,
    ],
)
def test_no_other_file_is_read(tmp_path, make):
    """A file can name any other file of the machine as the place of its data; converted, it would publish that file."""
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file.create_group("events").update({field: np.arange(4, dtype=np.int64) for field in "txyp"})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file, secret)
    with pytest.raises(EventFileError, match="other file"):
        Hdf5Reader(tmp_path / "a.h5")


def test_chunks_too_large_to_hold_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, kind in zip("txyp", ("i8", "u2", "u2", "?"), strict=True):
            file.create_dataset(f"events/{name}", shape=(1 << 22,), chunks=(1 << 22,), dtype=kind)
    with pytest.raises(EventFileError, match="chunks of more than"):
        Hdf5Reader(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.create_dataset("data", data=[1]), "none of CD/events, events"),
        (lambda file: file.create_dataset("events", data=np.zeros((3, 4))), "a table of 4 columns without names"),
        (lambda file: file.create_dataset("events", data=np.zeros((3, 4, 2))), "no column for t, x, y, p"),
        (lambda file: file.create_dataset("davis/left/events", data=np.zeros((3, 5))), "5 columns, and 4 names"),
        (lambda file: file.create_dataset("events/t", data=[1]), "no column for x, y, p"),
        (lambda file: [file.create_group(f"events/{name}") for name in "txyp"], "other than datasets"),
        (lambda file: [file.create_dataset(f"events/{name}", data=[1] * ord(name)) for name in "txyp"], "lengths"),
    ],
    ids=["none", "table", "cube", "wide", "missing", "groups", "lengths"],
)
def test_what_holds_no_events_is_reported_at_once(tmp_path, make, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(EventFileError, match=message):
        Hdf5Reader(tmp_path / "a.h5")


SMALL = EVENTS[:500]
COLUMNS = {name: getattr(SMALL, name) for name in "txyp"}


def write_all(file, place, names="txyp"):
    for name, field in zip(names, "txyp", strict=True):
        file[f"{place}/{name}"] = COLUMNS[field]


def mvsec(file, *sides):
    t = 1_500_000_000 + SMALL.t / 1e6
    for side in sides:
        file[f"davis/{side}/events"] = np.stack([SMALL.x, SMALL.y, t, np.where(SMALL.p, 1.0, -1.0)], axis=1)


def m3ed(file):
    write_all(file, "prophesee/left")
    file["prophesee/left/ms_map_idx"] = np.arange(9)
    file["prophesee/left/calib/resolution"] = np.array([346, 260])
    file["ouster/data"] = np.zeros(3)


def dsec(file):
    write_all(file, "events")
    file["ms_to_idx"] = np.arange(9)
    file["t_offset"] = np.int64(1_500_000_000_000_000)


def with_resolution(file):
    write_all(file, "events", ("ts", "xs", "ys", "ps"))
    file.attrs["sensor_resolution"] = np.array([260, 346])


SHIFT = 1_500_000_000_000_000
LAYOUTS = {  # what makes the file, the options, what is added to the times, the geometry
    "MVSEC": (lambda file: mvsec(file, "left"), {}, SHIFT, None),
    "MVSEC of both sides": (
        lambda file: mvsec(file, "left", "right"), {"place": "davis/right/events"}, SHIFT, None
    ),
    "M3ED": (m3ed, {}, 0, SENSOR),
    "DSEC": (dsec, {}, SHIFT, None),
    "raw_events": (lambda file: write_all(file, "raw_events", ("timestamp", "x", "y", "polarity")), {}, 0, None),
    "the root": (lambda file: write_all(file, ""), {}, 0, None),
    "the stated root": (lambda file: write_all(file, ""), {"place": "/"}, 0, None),
    "a resolution": (with_resolution, {}, 0, SENSOR),
    "a table": (
        lambda file: file.create_dataset("events", data=np.stack(list(COLUMNS.values()), axis=1)),
        {"columns": "t,x,y,p"}, 0, None
    ),
    "another place": (lambda file: write_all(file, "a/b"), {"place": "a/b"}, 0, None),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_data_sets(tmp_path, name):
    make, options, shift_us, sensor = LAYOUTS[name]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    reader = Hdf5Reader(tmp_path / "a.h5", **options)
    assert reader.sensor == sensor
    assert_same(read_all(reader), EventPacket(SMALL.t + shift_us, SMALL.x, SMALL.y, SMALL.p))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda file: mvsec(file, "left", "right"), {}, "several: davis/left/events, davis/right/events; state one"),
        (lambda file: write_all(file, "a"), {}, "none of CD/events.*state theirs, as in .place=camera/events"),
        (lambda file: write_all(file, "events"), {"place": "b"}, "nothing at the stated place"),
    ],
    ids=["several", "unknown", "missing"],
)
def test_a_layout_that_is_not_known_asks_for_the_place(tmp_path, make, options, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(EventFileError, match=message):
        Hdf5Reader(tmp_path / "a.h5", **options)


def test_blosc_is_read_with_hdf5plugin_and_named_without(tmp_path):
    plugin = pytest.importorskip("hdf5plugin")
    path = write_columns(tmp_path / "a.h5", events=SMALL, chunks=(100,), compression=plugin.Blosc())
    assert_same(read_all(Hdf5Reader(path)), SMALL)


@pytest.mark.parametrize(("code", "name"), [(32001, "Blosc"), (32015, "Zstandard"), (61_234, "unknown")])
def test_a_filter_names_the_package_that_has_it(monkeypatch, code, name):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda _: False)
    with pytest.raises(ColumnError, match=f"{name}, number {code}.*pip install hdf5plugin.*HDF5_PLUGIN_PATH"):
        hdf5_process._check_filter(code)


def test_a_damaged_chunk_costs_its_packets(tmp_path):
    path = write_columns(tmp_path / "a.h5", chunks=(65_536,), compression="gzip", fletcher32=True)
    with h5py.File(path) as file:
        chunk = file["events/x"].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 0x10
    path.write_bytes(data)
    reader = Hdf5Reader(path)
    got, faults = read_with_faults(reader)
    assert [fault.where for fault in faults] == ["events 65536 to 131071"]
    assert reader.skipped.total() == 65_536
    np.testing.assert_array_equal(got.t, np.concatenate([EVENTS.t[:65_536], EVENTS.t[131_072:]]))


def test_a_file_cut_off_is_reported(tmp_path):
    path = write_columns(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(EventFileError, match="damaged"):
        Hdf5Reader(path)


@pytest.mark.parametrize("events", [0, 1, 65_536])
def test_any_number_of_events(tmp_path, events):
    path = write_columns(tmp_path / "a.h5", events=EVENTS[:events])
    assert_same(read_all(Hdf5Reader(path)), EVENTS[:events])


def test_a_process_that_is_gone_is_reported_with_what_is_lost(tmp_path):
    """As if the library stopped on damaged bytes."""
    reader = Hdf5Reader(write_columns(tmp_path / "a.h5"))
    assert len(reader.read_packet()) == 65_536
    reader._process.kill()  # in mid-stream: its messages are more than a pipe holds
    got, faults = read_with_faults(reader)
    assert [fault.recoverable for fault in faults] == [False]
    assert len(got) + reader.skipped["events of a damaged packet"] == 150_000 - 65_536
    assert reader.read_packet() is None


@pytest.mark.parametrize("events", [0, -1, 65_537, 1 << 60])
def test_a_process_that_says_what_cannot_be_is_not_believed(tmp_path, monkeypatch, events):
    file = {"kind": "file", "place": "events", "sensor": None, "events": 1 << 61}
    liar = tmp_path / "python"
    messages = "".join(json.dumps(line) + "\n" for line in (file, {"kind": "packet", "events": events}))
    liar.write_text(f"#!/bin/sh\ncat <<'END'\n{messages}END\n")
    liar.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(liar))
    reader = Hdf5Reader(tmp_path / "a.h5")
    with pytest.raises(EventFileError, match="damaged bytes"):
        reader.read_packet()
    assert reader.skipped == {"events of a damaged packet": 1 << 61}


def test_nobody_is_left_behind_a_reader(tmp_path):
    readers = [Hdf5Reader(write_columns(tmp_path / f"{number}.h5")) for number in range(3)]
    processes = [reader._process for reader in readers]
    readers.pop().close()
    with pytest.raises(EventFileError):
        Hdf5Reader(write_columns(tmp_path / "a.h5"), unit="hour")
    readers.clear()
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 3


def test_h5py_is_loaded_nowhere_but_there(tmp_path):
    path = write_columns(tmp_path / "a.h5", events=EVENTS[:5])
    code = (
        "import sys; from eventveil import Sensor; from eventveil.io import open_events; "
        "list(open_events(sys.argv[1], sensor=Sensor(346, 260))); sys.exit('h5py' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False, timeout=60).returncode == 0
