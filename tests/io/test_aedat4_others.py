"""AEDAT4 compared with dv-processing and faery, on real recordings and on files written here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from aedat4_files import SENSOR, read, some_events, write

from eventveil.events import Sensor
from eventveil.io.formats.compression import COMPRESSIONS

FACTS = {
    "aestream_davis": (Sensor(346, 260), 117_667, 0.13),
    "tonic_sample": (Sensor(320, 240), 111_954, 0.59),
    "tonic_sample_none": (Sensor(320, 240), 41_373, None),
    "tonic_sample_zstd": (Sensor(320, 240), 41_373, None),
}

DV_READS = """
import sys, numpy as np, dv_processing as dv
reader = dv.io.MonoCameraRecording(sys.argv[1])
batches = []
while True:
    batch = reader.getNextEventBatch()
    if batch is not None:
        batches.append(batch.numpy())
    elif not reader.isRunning("events"):
        break
events = np.concatenate(batches)
columns = [events[name].astype(np.int64) for name in ("timestamp", "x", "y", "polarity")]
np.save(sys.argv[2], np.stack([*columns, np.full(len(events), reader.getEventResolution()[0])]))
"""


def columns_of(packets):
    return np.stack([np.concatenate([getattr(packet, name) for packet in packets]).astype(np.int64) for name in "txyp"])


def as_dv_reads(path, tmp_path):
    """Run in a separate process, because dv-processing freezes the interpreter on a packet that it rejects."""
    pytest.importorskip("dv_processing")
    out = tmp_path / "dv.npy"
    subprocess.run([sys.executable, "-c", DV_READS, str(path), str(out)], check=True, timeout=60)
    return np.load(out)


def as_faery_reads(path):
    faery = pytest.importorskip("faery")
    events = np.concatenate(list(faery.events_stream_from_file(path)))
    return np.stack([events[name].astype(np.int64) for name in ("t", "x", "y", "on")])


@pytest.mark.parametrize("name", FACTS)
def test_real_recordings_are_read_as_others_read_them(real_data, tmp_path, name):
    path = real_data / "recordings" / f"{name}.aedat4"
    sensor, count, seconds = FACTS[name]
    packets, faults, source = read(path)
    events = columns_of(packets)
    assert (source.sensor, events.shape[1], faults) == (sensor, count, [])
    if seconds:
        assert round((events[0, -1] - events[0, 0]) / 1e6, 2) == seconds
    np.testing.assert_array_equal(events, as_dv_reads(path, tmp_path)[:4])
    np.testing.assert_array_equal(events, as_faery_reads(path))


def test_a_davis_recording_counts_what_it_holds_beside_events(real_data):
    _, _, source = read(real_data / "recordings" / "aestream_davis.aedat4")
    assert source.skipped == {"frame packet": 3, "IMU packet": 13, "trigger packet": 11}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_others_read_what_is_written(tmp_path, compression):
    events = some_events(3_000)
    path = write(tmp_path / "a.aedat4", [events[:1000], events[1000:]], compression)
    expected = columns_of([events])
    theirs = as_dv_reads(path, tmp_path)
    np.testing.assert_array_equal(theirs[:4], expected)
    assert set(theirs[4]) == {SENSOR.width}
    np.testing.assert_array_equal(as_faery_reads(path), expected)
