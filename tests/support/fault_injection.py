"""Support for tests of faults: `eventveil run` as a user starts it, with faults planted in its processes, and a canary.

Faults are planted where Python itself starts (`sitecustomize`), so the program need not know them and every process of
the pipeline has them. A fault happens once a file of its name exists, and removes that file; only `clock` (an hour
back) and `slow` (half a second per window) last.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq
from canary import CANARY
from pipeline_setup import PROGRAM, Kit

PATIENCE_S = 240.0  # far longer than any test needs: it only keeps a broken test from hanging

PLANTED = """
import importlib.abc, importlib.util, os, pathlib, sys, time

HERE, CANARY = pathlib.Path(os.environ["FAULTS"]), int(os.environ["CANARY"])
real_time = time.time
time.time = lambda: real_time() - (3600 if (HERE / "clock").exists() else 0)

def due(name):
    try:
        (HERE / name).unlink()
    except FileNotFoundError:
        return False
    return True

def plant(runtime):
    import torch
    from eventveil.models import AnonyNoise
    anonymize = AnonyNoise.anonymize

    def faulty(self, x_BCHW, generator):
        if x_BCHW.max() == CANARY:
            (HERE / "seen").touch()
        if due("raise"):
            raise RuntimeError(f"unexpected value {CANARY} in {x_BCHW.max()}")
        if due("cuda"):
            raise torch.AcceleratorError(f"CUDA error: an illegal memory access was encountered at {CANARY}")
        if due("memory"):
            raise torch.cuda.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {CANARY} GiB")
        if due("host memory"):
            raise MemoryError(CANARY)
        if (HERE / "slow").exists():
            time.sleep(0.5 * len(x_BCHW))
        return anonymize(self, x_BCHW, generator) * (float("nan") if due("nan") else 1)

    AnonyNoise.anonymize = faulty

class Planter(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "eventveil.models.runtime":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), plant(module))[0]
        return spec

sys.meta_path.insert(0, Planter())
"""


class Faults:
    """Triggers the planted faults.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._here = folder / "faults"
        self._here.mkdir()
        (folder / "sitecustomize.py").write_text(PLANTED)
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        self.environment = {"PYTHONPATH": path, "FAULTS": str(self._here), "CANARY": str(CANARY)}

    def set(self, name: str) -> None:
        """Make a fault happen at the next opportunity."""
        (self._here / name).touch()

    def seen(self) -> bool:
        """Whether the canary has reached the anonymizer."""
        return (self._here / "seen").exists()


class Running:
    """`eventveil run --json` in its own process, in an empty folder.

    Attributes:
        beats: its reports, once a second and at the end.
        output: all lines of its standard output and error.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.beats: list[dict[str, Any]] = []
        self.output: list[str] = []
        self._errors: list[str] = []
        streams = ((process.stdout, self._beat), (process.stderr, self._errors.append))
        self._readers = [threading.Thread(target=self._read, args=each, daemon=True) for each in streams]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, take: Callable[[str], None]) -> None:
        for line in stream:
            self.output.append(line)
            take(line)

    def _beat(self, line: str) -> None:
        self.beats.append(json.loads(line))

    @property
    def errors(self) -> str:
        """Its standard error."""
        return "".join(self._errors)

    def wait_for(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait for a beat that fulfils a condition."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self.beats and condition(self.beats[-1]):
                return self.beats[-1]
            assert self.process.poll() is None, self.errors
            time.sleep(0.05)
        raise AssertionError(f"did not happen in {PATIENCE_S:.0f} s; last: {self.beats[-1:]} {self.errors}")

    def kill(self, stage: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process of a stage."""
        os.kill(self.wait_for(lambda beat: stage in beat["stages"])["stages"][stage]["pid"], number)

    def back(self, stage: str, reason: str) -> dict[str, Any]:
        """Wait until a stage was restarted for a reason, all are ready, and windows are published again."""
        beat = self.wait_for(
            lambda beat: (
                any(one["stage"] == stage and reason in one["reason"] for one in beat["incidents"])
                and all(one["back_s"] is not None for one in beat["incidents"])
            )
        )
        published = beat["books"]["stages"]["publish"]["sent"]
        return self.wait_for(lambda beat: beat["books"]["stages"]["publish"]["sent"] > published)

    def stop(self) -> dict[str, Any]:
        """Stop it, wait for its end, and return its summary."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> dict[str, Any]:
        """Wait for its end, and return its summary."""
        self.process.wait(PATIENCE_S)
        self.close()
        assert self.beats, self.errors
        return self.beats[-1]

    def close(self) -> None:
        """Wait for its last output."""
        self.process.wait(PATIENCE_S)
        for reader, stream in zip(self._readers, (self.process.stdout, self.process.stderr), strict=True):
            reader.join(PATIENCE_S)
            assert stream is not None
            stream.close()


@contextmanager
def pipeline_of(
    kit: Kit, source: Path, settings: dict[str, Any], *, within: Sequence[str] = (), **process: Any
) -> Iterator[Running]:
    """Run a pipeline of processes on a source or configuration, with untrained weights; `settings` as `a__b`.

    `within` goes before the command, and `process` is what `subprocess.Popen` takes.
    """
    settings = {"line__run_as": "processes"} | settings
    options = [f"--set={key.replace('__', '.')}={json.dumps(value)}" for key, value in settings.items()]
    files = [kit.anonymizer] if kit.classifier is None else [kit.anonymizer, kit.classifier]
    weights = [*(f"--weights={file}" for file in files), "--allow-untrained"]
    command = [*within, *PROGRAM, "run", str(source), "--json", *weights, *options]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **process)
    pipeline = Running(started)
    try:
        yield pipeline
    finally:
        started.kill()
        pipeline.close()


@contextmanager
def running(
    kit: Kit,
    folder: Path,
    endpoint: str,
    faults: Faults | None = None,
    *,
    within: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Running]:
    """Run a live pipeline on the kit's recording in a loop; `settings` and `within` as for `pipeline_of`.

    Its files go to `folder`: the folder of its sockets, its home, its temporary files, and its core dump, if any.
    """
    defaults = {
        "publish__bind": endpoint,
        "line__delivery": "live",
        "line__runtime_dir": str(folder / "run"),
        "sources__0__loop": True,
        "sources__0__gap_s": 0,
    }
    environment = os.environ | {"HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment |= {} if faults is None else faults.environment
    with pipeline_of(kit, kit.recording, defaults | settings, within=within, cwd=folder, env=environment) as pipeline:
        yield pipeline


@contextmanager
def subscribers(endpoint: str, readers: int, stalled: int) -> Iterator[list[list[list[bytes]]]]:
    """Subscribers to everything: some that read, whose messages are yielded, and some that never read."""
    received: list[list[list[bytes]]] = [[] for _ in range(readers)]
    done = threading.Event()

    def listen() -> None:
        with zmq.Context() as context:
            context.set(zmq.MAX_SOCKETS, readers + stalled + 10)
            sockets = [context.socket(zmq.SUB) for _ in range(readers + stalled)]
            poller = zmq.Poller()
            for number, each in enumerate(sockets):
                each.linger, each.rcvhwm = 0, 100_000 if number < readers else 1
                each.subscribe(b"")
                each.connect(endpoint)
                if number < readers:
                    poller.register(each, zmq.POLLIN)
            messages = dict(zip(sockets, received, strict=False))
            while not done.is_set():
                for ready, _ in poller.poll(50):
                    messages[ready].append(ready.recv_multipart())
            for each in sockets:
                each.close()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield received
    finally:
        done.set()
        listener.join()


def assert_counters_balance(beat):
    """At any moment, every window that was made is in exactly one place."""
    balance = beat["books"]
    assert balance["balanced"]
    made = sum(stage["received"] for name, stage in balance["stages"].items() if name.startswith("histogram"))
    lost = sum(beat["dropped"].values())
    assert made == balance["stages"]["publish"]["sent"] + lost + balance["in_flight"]
    for stage in balance["stages"].values():
        assert stage["received"] == stage["sent"] + sum(stage["dropped"].values()) + stage["in_flight"]
