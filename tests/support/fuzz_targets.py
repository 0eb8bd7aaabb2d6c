"""All code that reads untrusted bytes, as one list: each target has valid seeds and a function that feeds it any bytes.

Whatever the bytes, a target may raise only eventveil's own errors, in bounded time and memory. The tests feed
each of them 300 inputs, scripts/fuzz-nightly a hundred thousand.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

import book_helpers
import dataset_makers
import pipeline_helpers
import torch
import yaml
from all_formats import FORMATS
from certificates import certificate, content, envelope
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from recordings import make_events

from eventveil import Sensor
from eventveil.audit.settings import AuditSettings
from eventveil.config import checked, read_yaml, run_settings
from eventveil.errors import EventFileError, EventVeilError
from eventveil.io import open_events
from eventveil.io.formats.hdf5_process import messages
from eventveil.models.book import Book
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.published import read_state_dict
from eventveil.models.weights import load_weights, save_weights
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.retrieval import read_retrieval
from eventveil.replay.datasets.trials import Dataset
from eventveil.replay.player.sources import SourceUri
from eventveil.stream.monitoring.http import StatusServer
from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile
from eventveil.stream.protocol.certificate import Signed, read_key
from eventveil.stream.protocol.keys import AllowList, new_keys, read_public, read_secret
from eventveil.stream.protocol.wire import decode, encode
from eventveil.stream.runtime.message import StageMessage, pack, unpack
from eventveil.stream.settings.pipeline import PipelineSettings
from eventveil.training.settings import TrainSettings

SENSOR = Sensor(128, 128)
MOST_EVENTS = 2_000_000  # a reader that returns more from a few kilobytes has passed
_AUDITOR = Ed25519PrivateKey.generate()
_BETWEEN = b"\x00--frame--\x00"  # between the frames of a message


@dataclass(frozen=True)
class Target:
    """Code that reads untrusted bytes.

    Attributes:
        name: as `--only` of scripts/fuzz-nightly takes it.
        seeds: returns valid bytes; called with a folder to make them in.
        feed: takes bytes, and a folder that no other target uses.
        apart: runs in its own process, because a third-party library may crash it or loop forever.
    """

    name: str
    seeds: Callable[[Path], Sequence[bytes]]
    feed: Callable[[bytes, Path], object]
    apart: bool = False


def _write(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# Recordings


def _recordings(name: str, folder: Path) -> list[bytes]:
    path = folder / f"seed{FORMATS[name].suffix}"
    seeds = []
    for count in (1, 40):
        FORMATS[name].write(path, make_events(count, sensor=SENSOR, start_us=100), SENSOR)
        seeds.append(path.read_bytes())
    path.unlink()
    return seeds


def _read(name: str, data: bytes, folder: Path) -> None:
    path = _write(data, folder, f"recording{FORMATS[name].suffix}")
    order = ("raise", "sort", "clip")[len(data) % 3]
    damage = ("stop", "skip")[len(data) // 3 % 2]
    events, reading = 0, True
    with open_events(path, sensor=SENSOR, on_disorder=order, on_damage=damage) as source:
        while reading and events < MOST_EVENTS:
            try:
                packet = next(source, None)
            except EventFileError as fault:
                reading = fault.recoverable
            else:
                reading = packet is not None
                events += 0 if packet is None else len(packet)


def _read_hdf5(data: bytes, folder: Path) -> None:
    """Do what the process of `Hdf5Reader` does; starting it a thousand times would take minutes."""
    path = _write(data, folder, "recording.h5")
    events = 0
    for kind, header, packet in messages(path, {}):
        events += header["events"] if kind == "fault" or packet is not None else 0
        if events >= MOST_EVENTS:
            break


# Messages


def _messages(_: Path) -> list[bytes]:
    messages = [
        encode(pipeline_helpers.window_header(), pipeline_helpers.values()),
        encode(pipeline_helpers.gesture_header()),
        encode(pipeline_helpers.word_gesture_header()),
        encode(pipeline_helpers.events_header(shape=(0,)), payload_size=40),
        encode(pipeline_helpers.pipeline_ended(lost={"queue": 3})),
    ]
    return [_BETWEEN.join(bytes(frame) for frame in frames) for frames in messages]


def _stage_messages(_: Path) -> list[bytes]:
    messages = (
        pipeline_helpers.raw_message(3),
        pipeline_helpers.sealed_message(4, lost={"queue": 2}),
        StageMessage("0", pipeline_helpers.SEAL.set_word(pipeline_helpers.origin(5), 3)),
        pipeline_helpers.end(),
    )
    return [_BETWEEN.join(bytes(frame) for frame in pack(message)) for message in messages]


# Settings


def _ready(*names: str) -> list[bytes]:
    """Return the shipped files without their comments, which slow PyYAML down."""
    texts = [(files("eventveil.configs") / name).read_text() for name in names]
    return [yaml.safe_dump(yaml.safe_load(text), sort_keys=False).encode() for text in texts]


def _configure(model: type, data: bytes, folder: Path) -> None:
    path = _write(data, folder, "settings.yaml")
    checked(model, read_yaml(path, model), name="settings.yaml")


def _override(data: bytes, _: Path) -> None:
    overrides = data.decode("utf-8", "replace").split("\n")
    run_settings({"sources": [{"uri": "a.npy"}]}, overrides, name="command line")


# Datasets


def _dataset(make: Callable[[Path], object], name: str, folder: Path) -> list[bytes]:
    shutil.rmtree(folder / "set", ignore_errors=True)
    make(folder / "set")
    return [(folder / "set" / name).read_bytes()]


def _index(name: str, data: bytes, folder: Path) -> None:
    _write(data, folder / "set", name)
    open_dataset(folder / "set")


def _see(root: Path) -> None:
    names = [f"{n}_{n:02}_F_20_frontal_normal_happiness_90_take001" for n in (1, 2)]
    for name in names:
        dataset_makers.sequence(root, name, [dataset_makers.frame()] * 2)
    rows = [{"filename": name} for name in names]
    (root / "see_metadata.json").write_text(json.dumps({"train": rows[:1], "query": rows[1:], "gallery": []}))


def _reid(root: Path) -> None:
    (root / "001" / "cam01").mkdir(parents=True)
    rows = "".join(f"{1000 * n} {n} {n} {n % 2}\n" for n in range(100))
    (root / "001" / "cam01" / "events.txt").write_text(rows)


def _retrieval(name: str, data: bytes, folder: Path) -> None:
    read_retrieval(_people(folder), _write(data, folder, name), split="train")


@cache
def _people(folder: Path) -> Dataset:
    dataset_makers.release(folder / "people")
    return open_dataset(folder / "people")


# Keys, certificates, weights


def _key_files(folder: Path) -> list[bytes]:
    shutil.rmtree(folder / "keys", ignore_errors=True)
    public = new_keys(folder / "keys")
    return [public.read_bytes(), (public.parent / "secret.key").read_bytes()]


def _keys(data: bytes, folder: Path) -> None:
    path = folder / "keys" / "allowed" / "alice.pub"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    for read in (lambda: AllowList(folder / "keys").read(), lambda: read_public(path), lambda: read_secret(path)):
        with contextlib.suppress(EventVeilError):
            read()


def _certificates(_: Path) -> list[bytes]:
    return [certificate(Ed25519PrivateKey.generate(), ("ab" * 32, 0)).encode()]


def _certificate_payloads(_: Path) -> list[bytes]:
    return [json.dumps(content(("ab" * 32, 0))).encode()]


def _signed(data: bytes) -> bytes:
    """Sign any payload, so that the fuzzer gets past the signature."""
    return json.dumps(envelope(_AUDITOR, data)).encode()


def _pems(_: Path) -> list[bytes]:
    key = Ed25519PrivateKey.generate()
    form, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return [
        key.private_bytes(form, serialization.PrivateFormat.PKCS8, plain),
        key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo),
    ]


def _books(folder: Path) -> list[bytes]:
    book_helpers.small_book().write(folder / "seed")
    return [(folder / "seed").read_bytes()]


def _weights(folder: Path) -> list[bytes]:
    model = initialise("event_autoencoder", {}, seed=1)
    window = {"bins": 5, "bin_us": 1000, "hop": 5, "size": (16, 12), "representation": "voxel"}
    save_weights(folder / "seed", model, Metadata.of(model, role="anonymizer", trained=True, **window))
    return [(folder / "seed").read_bytes()]


def _pickles(_: Path) -> list[bytes]:
    file = io.BytesIO()
    torch.save({"convs1.0.weight": torch.zeros(2, 2), "convs1.0.bias": torch.zeros(2)}, file)
    return [file.getvalue()]


def _hot_pixels(_: Path) -> list[bytes]:
    return [json.dumps({"serial": "a", "sensor": str(SENSOR), "pixels": [[1, 2], [127, 0]]}).encode()]


def _remembered(data: bytes, folder: Path) -> None:
    file = HotPixelFile("a", SENSOR, folder)
    _write(data, folder, file.path.name)
    file.load()


# The status server


def _requests(_: Path) -> list[bytes]:
    headers = b"Host: localhost:9464\r\nAccept: text/plain;version=1.0.0;escaping=values;q=0.5\r\nContent-Length: 3\r\n"
    return [
        b"GET /metrics HTTP/1.1\r\n" + headers + b"Authorization: Bearer abc\r\n\r\nabc",
        b"HEAD /status?a=b\r\n\r\n",
    ]


@cache
def _status_server(token: str | None) -> StatusServer:
    return StatusServer(("127.0.0.1", 0), pipeline_helpers.PROVENANCE, tuple, token)


def _request(data: bytes, _: Path) -> None:
    for token in (None, "abc"):
        client, served = socket.socketpair()
        with client, served, contextlib.suppress(HTTPException):  # a request that is too long
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            server = _status_server(token)._server
            server.RequestHandlerClass(served, None, server)


TONIC = partial(dataset_makers.tonic, people=(("ibmGestureTrain", (1,)),), classes=(0,))
RELEASE = dataset_makers.release

TARGETS = {
    target.name: target
    for target in (
        *(
            Target(f"recording {name}", partial(_recordings, name), partial(_read, name))
            for name in FORMATS
            if name != "HDF5"
        ),
        Target("recording HDF5", partial(_recordings, "HDF5"), _read_hdf5, apart=True),
        Target("message", _messages, lambda data, _: decode(data.split(_BETWEEN))),
        Target("stage message", _stage_messages, lambda data, _: unpack(data.split(_BETWEEN))),
        Target("line settings", lambda _: _ready("live.yaml", "replay.yaml"), partial(_configure, PipelineSettings)),
        Target("training settings", lambda _: _ready("train/simulated_small.yaml"), partial(_configure, TrainSettings)),
        Target("audit settings", lambda _: _ready("audit/quick.yaml"), partial(_configure, AuditSettings)),
        Target("override", lambda _: [b"line.delivery=live", b"sources.0.speed=max\nwindow.size=[64, 48]"], _override),
        Target(
            "source",
            lambda _: [b"dvs-gesture:a?split=test", b"simulate:?seed=1&distance=1.2", b"file:///a.npy?unit=ms"],
            lambda data, _: SourceUri.parse(data.decode("utf-8", "surrogateescape")),
        ),
        *(
            Target(f"index of {what}", partial(_dataset, make, name), partial(_index, name))
            for what, make, name in (
                ("trials", TONIC, "ibmGestureTrain/user01_natural/0.npy"),
                ("recordings", RELEASE, "trials_to_train.txt"),
                ("labels", RELEASE, "user01_natural_labels.csv"),
                ("sequences", _see, "see_metadata.json"),
                ("people", _reid, "001/cam01/events.txt"),
            )
        ),
        Target("queries", lambda _: [b"user01_natural.aedat#1\nuser01_led.aedat#2\n"], partial(_retrieval, "list.txt")),
        Target(
            "queries of SEE",
            lambda _: [b'{"query": [{"filename": "user01_natural.aedat#1"}]}'],
            partial(_retrieval, "list.json"),
        ),
        Target("keys", _key_files, _keys),
        Target("certificate", _certificates, lambda data, _: Signed.parse(data, "certificate.json")),
        Target(
            "content of a certificate",
            _certificate_payloads,
            lambda data, _: Signed.parse(_signed(data), "certificate.json"),
        ),
        Target("key of a certificate", _pems, lambda data, folder: read_key(_write(data, folder, "key.pem"))),
        Target("weights", _weights, lambda data, folder: load_weights(_write(data, folder, "weights"))),
        Target("book", _books, lambda data, folder: Book.read(_write(data, folder, "book")).window(0, 480)),
        Target("published weights", _pickles, lambda data, folder: read_state_dict(_write(data, folder, "a.pth"))),
        Target("hot pixels", _hot_pixels, _remembered),
        Target("HTTP request", _requests, _request),
    )
}
