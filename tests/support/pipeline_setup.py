"""Support for tests of whole pipelines: a recording, weights, settings, and a subscriber in another process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from moving_disc import moving_disc

from eventveil.config import run_settings
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.writer import open_writer
from eventveil.models import save_weights
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.pipeline.status import Status
from eventveil.stream.settings.pipeline import PipelineSettings

SENSOR = Sensor(64, 64)
LABELS = ("clap", "wave", "rest")
BINS, BIN_US, SIZE = 5, 20_000, (32, 32)
PROGRAM = [sys.executable, "-m", "eventveil.cli"]


@dataclass(frozen=True)
class Kit:
    """Files that several tests share; a stand-in has no classifier."""

    recording: Path
    anonymizer: Path
    classifier: Path | None = None

    def settings(self, endpoint: str, **changes: Any) -> PipelineSettings:
        """Settings of a lossless pipeline at full speed that waits for one subscriber; `changes` as `a__b=value`."""
        values = {
            "sources": [{"uri": str(self.recording), "speed": "max"}],
            "anonymize": {"weights": str(self.anonymizer), "allow_untrained": True, "device": "cpu"},
            "classify": {"weights": self.classifier and str(self.classifier), "device": "cpu"},
            # At full speed, subscribers on a busy machine fall behind, and would lose messages with the default queue.
            "publish": {"bind": endpoint, "wait_for": 1, "queue": 10_000},
        }
        overrides = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in changes.items()]
        return run_settings(values, overrides, name="test")


def make_kit(folder: Path, *, seconds: float = 1.0) -> Kit:
    """Write the files. Windows are 100 ms of five bins, 32x32."""
    kit = Kit(folder / "disc.aedat4", folder / "anonymizer.safetensors", folder / "classifier.safetensors")
    write_recording(kit.recording, moving_disc(SENSOR, seconds))
    window = {"bins": BINS, "bin_us": BIN_US, "hop": BINS, "size": SIZE, "trained": False}
    model = initialise("anonynoise", {"channels": 2 * BINS, "noise_std": 32.0}, seed=1)
    save_weights(kit.anonymizer, model, Metadata.of(model, role="anonymizer", **window))
    config = {"channels": 2 * BINS, "depth": 18, "width": 4, "embedding": 8, "classes": len(LABELS)}
    model = initialise("resnet_classifier", config, seed=1)
    assert kit.classifier is not None
    save_weights(kit.classifier, model, Metadata.of(model, role="target", labels=LABELS, **window))
    return kit


def write_recording(path: Path, packets: Iterator[EventPacket], sensor: Sensor = SENSOR) -> None:
    """Write packets as a recording that holds its geometry."""
    with open_writer(path, sensor) as writer:
        for packet in packets:
            writer.write(packet)


@dataclass
class Subscriber:
    """`eventveil subscribe --json` in its own process."""

    process: subprocess.Popen[str]
    messages: list[dict[str, Any]] = field(default_factory=list)

    def finish(self, seconds: float = 60) -> list[dict[str, Any]]:
        """Wait for its end and return its messages."""
        self.process.wait(seconds)
        self._reader.join(seconds)
        return self.messages

    def topic(self, name: str) -> list[dict[str, Any]]:
        """The messages of a topic, in order."""
        return [message for message in self.messages if message["topic"] == name]

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.messages.extend(json.loads(line) for line in self.process.stdout)


@contextmanager
def subscriber(endpoint: str, *options: str, within: Sequence[str] = ()) -> Iterator[Subscriber]:
    """Start a subscriber and kill it afterwards, whatever happens. `within` goes before the command."""
    command = [*within, *PROGRAM, "subscribe", endpoint, "--json", "--timeout", "60", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield Subscriber(process)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def everything() -> Iterator[tuple[str, list[list[bytes]]]]:
    """Yield an endpoint for a pipeline, and all messages that any subscriber could have received there."""
    with tempfile.TemporaryDirectory(prefix="eventveil-") as folder, zmq.Context() as context:
        endpoint = f"ipc://{folder}/public"
        published: list[list[bytes]] = []
        done = threading.Event()

        def listen() -> None:
            with context.socket(zmq.SUB) as socket:
                socket.rcvhwm, socket.reconnect_ivl = 0, 1  # a pipeline may fail within a tenth of a second
                socket.subscribe(b"")
                socket.connect(endpoint)
                while socket.poll(200) or not done.is_set():
                    if socket.poll(0):
                        published.append(socket.recv_multipart())

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield endpoint, published
        finally:
            done.set()
            listener.join()


def run_and_listen(kit: Kit, **changes: Any) -> tuple[Status, list[list[bytes]]]:
    """Run a pipeline; return its status and every message that any subscriber could have received."""
    with everything() as (endpoint, published):
        status = Pipeline(kit.settings(endpoint, **changes)).run()
    return status, published
