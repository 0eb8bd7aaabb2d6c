"""Makes small datasets of each published layout, with synthetic events."""

from __future__ import annotations

import json

import numpy as np
import reference_io as reference
from PIL import Image

LABELS = "class,startTime_usec,endTime_usec"


def events_of(seed, count=50, span_us=1_000_000, width=128, height=128):
    """Return rows of t (microseconds, in order), x, y, p."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, span_us, count))
    return np.stack([t, random.integers(0, width, count), random.integers(0, height, count), t % 2], axis=1)


def tonic_trial(root, name, rows=None):
    """Write a trial as tonic does: a table of x, y, p, t, with times in milliseconds."""
    rows = events_of(0) if rows is None else rows
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.stack([rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 0] // 1_000], axis=1).astype(np.int32))
    return path


def tonic(root, people=(("ibmGestureTrain", (1, 2, 3)), ("ibmGestureTest", (24, 25))), classes=range(11)):
    """Write a dataset as tonic does: two lightings per person, every class in each."""
    for folder, numbers in people:
        for number in numbers:
            for lighting in ("natural", "fluorescent_led"):
                for target in classes:
                    tonic_trial(root, f"{folder}/user{number:02}_{lighting}/{target}.npy", events_of(number + target))
    return root


def aedat3(path, rows, packet=20):
    """Write an AEDAT 3.1 recording of a DVS128."""
    cut = [rows[at : at + packet] for at in range(0, len(rows), packet)]
    packets = [reference.aedat3_packet([reference.polarity(*map(int, row)) for row in part]) for part in cut]
    path.write_bytes(reference.aedat3_head() + b"".join(packets))


def recording(root, name, labels, rows):
    """Write a recording of the original release with its labels: (class from 1, start, stop)."""
    root.mkdir(parents=True, exist_ok=True)
    aedat3(root / f"{name}.aedat", rows)
    lines = [LABELS, *(f"{number},{start},{stop}" for number, start, stop in labels)]
    (root / f"{name}_labels.csv").write_text("\n".join(lines) + "\n")


def release(root):
    """Write the original release: two people for training, one for tests, each recording with classes 1, 2 and 11."""
    labels = [(1, 100_000, 300_000), (2, 300_000, 500_001), (11, 600_000, 900_000)]
    names = {"train": ("user01_natural", "user01_led", "user02_natural"), "test": ("user24_natural",)}
    for split, recordings in names.items():
        for number, name in enumerate(recordings):
            recording(root, name, labels, events_of(number, 200))
        (root / f"trials_to_{split}.txt").write_text("".join(f"{name}.aedat\n" for name in recordings) + "\n")
    return root


def sequence(root, name, frames):
    """Write a sequence of SEE: (H, W) arrays of 0, 128 and 255, in blocks of 8, which JPEG stores without loss."""
    emotion = name.split("_")[6]
    folder = root / "event" / emotion / name
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:05}.jpg", quality=95)
    return folder


def frame(on=(), off=(), shape=(16, 24)):
    """Return a grey frame; the 8x8 blocks at these columns and rows have fired."""
    picture = np.full(shape, 128, np.uint8)
    for blocks, value in ((on, 255), (off, 0)):
        for column, row in blocks:
            picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = value
    return picture


def see(root, people=("001", "002", "003"), emotions=("angry", "fear"), metadata=None):
    number = 0
    for person in people:
        for emotion in emotions:
            for take in range(2):
                number += 1
                name = f"{number}_{person}_man_24_Master_normal_{emotion}_3_take{take:03}"
                sequence(root, name, [frame(on=[(0, 0)]), frame(), frame(off=[(1, 1)])])
    if metadata is not None:
        (root / "see_metadata.json").write_text(json.dumps(metadata))
    return root


def text_lines(rows, unit_us, offset=0.0):
    return "".join(f"{offset + t / unit_us!r} {x} {y} {p}\n" for t, x, y, p in rows.tolist())


def reid_recording(root, person, camera, rows, unit_us=1_000, header="640 480\n"):
    """Write a recording of the full Event-ReId: width and height, then t x y p."""
    folder = root / person / camera
    folder.mkdir(parents=True)
    (folder / "events.txt").write_text(header + text_lines(rows, unit_us, offset=7_000.5))
    return folder / "events.txt"


def reid(root, people=("001", "002", "003", "005"), unit_us=1_000):
    for person in people:
        for camera in ("cam01", "cam02"):
            rows = events_of(int(person), 300, 3_000_000, 640, 480)
            reid_recording(root, person, camera, rows, unit_us)
    return root


def reid_windows(root, windows, unit_us=100):
    """Write windows in files, as in the published sample: name, such as `test/001_c1_035.txt`, and rows."""
    for name, rows in windows.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text_lines(rows, unit_us, offset=324_572_590.75))
    return root
