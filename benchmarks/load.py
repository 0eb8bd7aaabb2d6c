"""Test the pipeline at its design load: many cameras, many subscribers, much to encrypt, many events.

    python benchmarks/load.py [--seconds 60] [--only cameras|subscribers|encryption|events]

cameras      8 recordings of 2 Mev/s each, as live cameras, into one shipped noisy channel: the whole pipeline, in
             processes.
subscribers  100, each with its own key, 10 windows a second: the delay of windows, without and with ten more
             subscribers that never read.
encryption   1,000 windows a second of 128x128 to one subscriber, encrypted (float32, four times the bytes of uint8).
events       50 Mev/s through reader, player and histogrammer, with every event accounted for.

Delays are those of one machine that runs everything, subscribers included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from os import getloadavg
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import zmq
from machine import processor
from recordings_made import DVS128, moving_discs, write
from rich.console import Console
from rich.table import Table
from source_stage import Sink, play

from eventveil import EventPacket
from eventveil.host.processes import module_command
from eventveil.models.shipped import NOISY_CHANNEL
from eventveil.stream import subscribe
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.protocol.keys import AllowList, new_keys, read_public
from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.publisher.listener import listening
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.publisher.subscriptions import SubscriptionTracker
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.windows import Origin, Seal
from eventveil.stream.settings.pipeline import PublishSettings

CAMERAS, CAMERA_RATE = 8, 2e6
SUBSCRIBERS, STALLED, THREADS = 100, 10, 25
EVENTS_RATE = 50e6
WARM_UP_S = 5.0  # a source's events are counted when a window closes, and the first one closes after a second
SEAL = Seal(b"benchmark" * 4)
Row = tuple[str, str, str]


def recording(path: Path, rate: float, seconds: float) -> int:
    """Write a recording with this rate of events per second; return its number of events."""
    discs = moving_discs(round(rate * seconds), DVS128)
    stretched = (discs.t * (seconds * 1e6 / float(discs.t[-1] + 1))).astype(np.int64)
    write(path, EventPacket(stretched, discs.x, discs.y, discs.p))
    return len(discs)


def cameras(seconds: float, folder: Path) -> list[Row]:
    for k in range(CAMERAS):  # each with another number of events, for the same events in two streams are refused
        recording(folder / f"camera{k}.npy", CAMERA_RATE + k, 5.0)
    config = {
        "sources": [
            {"uri": str(folder / f"camera{k}.npy"), "stream": str(k), "sensor": "128x128", "loop": True, "gap_s": 0.0}
            for k in range(CAMERAS)
        ],
        "anonymize": {"weights": str(NOISY_CHANNEL), "batch": CAMERAS},
        "publish": {"bind": f"ipc://{folder}/public"},
        "line": {"delivery": "live", "run_as": "processes"},
    }
    path = folder / "pipeline.yaml"
    path.write_text(json.dumps(config))  # JSON is valid YAML
    command = module_command("eventveil.cli", "run", str(path), "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as pipeline:
        assert pipeline.stdout is not None
        beats: list[dict[str, Any]] = []
        for text in pipeline.stdout:
            beats.append(json.loads(text))
            if beats[-1]["seconds"] >= WARM_UP_S + seconds:
                pipeline.terminate()
                break
        balanced = json.loads(pipeline.stdout.readlines()[-1])["books"]["balanced"]
    first = next(beat for beat in beats if beat["seconds"] >= WARM_UP_S)
    last = beats[-1]
    taken_s = last["seconds"] - first["seconds"]
    rate = (last["events"] - first["events"]) / taken_s / 1e6
    published = last["published_windows"] - first["published_windows"]
    dropped = sum(last["dropped"].values()) - sum(first["dropped"].values())
    passed = rate >= 0.97 * CAMERAS * CAMERA_RATE / 1e6 and not dropped and balanced
    figures = f"{rate:.1f} Mev/s, {published} windows published and {dropped} dropped, "
    figures += f"p99 {last['latency_p99_ms']:.0f} ms, {accounted('windows', balanced)}"
    return [(f"{CAMERAS} cameras of 2 Mev/s", figures, verdict(passed))]


@contextmanager
def publisher(folder: Path, clients: int) -> Iterator[tuple[Publisher, SubscriptionTracker, str, list[Path]]]:
    """Open a publisher with keys on a free port; yield it, its subscriptions, its endpoint, and its clients' keys."""
    server, allow_list = folder / "keys", AllowList(folder / "keys")
    new_keys(server)
    keys = []
    for number in range(clients):
        public_key = new_keys(folder / f"client{number}")
        allow_list.allow(read_public(public_key))
        keys.append(public_key.with_name("secret.key"))
    settings = PublishSettings(bind="tcp://127.0.0.1:*", keys=server)
    with listening(settings.bind, keyed=True) as listener, zmq.Context() as context:
        public = PublicEndpoint(listener, settings, context)
        try:
            provenance = Provenance("ab" * 32, trained=True)
            counters = PipelineCounters(("publish",), ("0",))["publish"]
            publish = Publisher(public.socket, SEAL, provenance, counters, run="0" * 16, max_age_ms=None)
            yield publish, SubscriptionTracker(public.socket, public.connections), listener.endpoint, keys
        finally:
            public.close()


def window_message(seq: int, values: np.ndarray) -> StageMessage:
    """Return a window whose start is the time of its publication."""
    now_ns = time.monotonic_ns()
    origin = Origin("0", DVS128, seq, now_ns // 1000, now_ns // 1000 + 1, now_ns)
    return StageMessage("0", SEAL.set(origin, values))


def listen(endpoint: str, server_key: Path, keys: list[Path], seconds: float, results: Any) -> None:
    """Run a process of subscribers, one thread each; put the delay of each window, in milliseconds, into `results`."""

    def subscriber(key: Path) -> None:
        delays_ms, missing, until = [], 0, None
        for message in subscribe(endpoint, ["window"], server_key=server_key, key=key, timeout_s=20):
            if message.topic != "window":
                break
            now_us = time.monotonic_ns() / 1e3
            if until is None:
                until = now_us + seconds * 1e6
            delays_ms.append((now_us - message.header.t_start_us) / 1e3)
            missing += sum(message.missing.values())
            if now_us > until:
                break
        results.put((delays_ms, missing))

    threads = [threading.Thread(target=subscriber, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def stall(endpoint: str, server_key: Path, keys: list[Path], done: Any) -> None:
    """Run a process of subscribers that read one message each and never another."""
    with ExitStack() as stack:
        for key in keys:
            messages = subscribe(endpoint, ["window"], server_key=server_key, key=key, queue=1, timeout_s=20)
            stack.callback(messages.close)
            next(messages)
        done.wait()


def delays(
    publish: Publisher,
    subscriptions: SubscriptionTracker,
    endpoint: str,
    keys: list[Path],
    rate: float,
    values: np.ndarray,
    seconds: float,
    stalled: list[Path],
) -> tuple[np.ndarray, int]:
    """Publish at a rate until all subscribers are done; return all delays (ms) and the number of missing windows."""
    spawn = multiprocessing.get_context("spawn")
    results, done = spawn.Queue(), spawn.Event()
    server = keys[0].parent.parent / "keys" / "keys.pub"
    groups = [keys[k : k + THREADS] for k in range(0, len(keys), THREADS)]
    processes = [spawn.Process(target=listen, args=(endpoint, server, group, seconds, results)) for group in groups]
    if stalled:
        processes.append(spawn.Process(target=stall, args=(endpoint, server, stalled, done)))
    for process in processes:
        process.start()
    received: list[tuple[list[float], int]] = []
    seq, next_s = 0, time.monotonic()
    while len(received) < len(keys):
        publish.take(window_message(seq, values))
        subscriptions.count()  # few handshakes succeed between two calls
        seq, next_s = seq + 1, next_s + 1 / rate
        time.sleep(max(0.0, next_s - time.monotonic()))
        with suppress(Empty):
            received.append(results.get_nowait())
    done.set()
    for process in processes:
        process.join()
    # The first seconds are left out, because connections are established in them.
    delays_ms = np.concatenate([subscriber_ms[round(3 * rate) :] for subscriber_ms, _ in received])
    return delays_ms, sum(missing for _, missing in received)


def subscribers(seconds: float, folder: Path) -> list[Row]:
    values = np.random.default_rng(0).random((20, 32, 32), np.float32)
    rows: list[Row] = []
    p99: list[float] = []
    for name, stalled in (("alone", 0), (f"with {STALLED} that never read", STALLED)):
        (folder / name).mkdir()
        with publisher(folder / name, SUBSCRIBERS + stalled) as (publish, subscriptions, endpoint, keys):
            listening_keys, stalled_keys = keys[:SUBSCRIBERS], keys[SUBSCRIBERS:]
            delays_ms, missing = delays(
                publish, subscriptions, endpoint, listening_keys, 10, values, seconds, stalled_keys
            )
        p50 = np.percentile(delays_ms, 50)
        p99.append(float(np.percentile(delays_ms, 99)))
        figures = f"p50 {p50:.1f} ms, p99 {p99[-1]:.1f} ms, {len(delays_ms)} messages, {missing} missing"
        rows.append((f"{SUBSCRIBERS} subscribers, {name}", figures, verdict(missing == 0)))
    ratio = p99[1] / p99[0]
    rows.append(("p99 with stalled subscribers, relative to alone", f"{ratio:.2f}", verdict(ratio < 1.25)))
    return rows


def encryption(seconds: float, folder: Path) -> list[Row]:
    values = np.random.default_rng(0).random((1, 128, 128), np.float32)
    with publisher(folder, 1) as (publish, subscriptions, endpoint, keys):
        delays_ms, missing = delays(publish, subscriptions, endpoint, keys, 1000, values, seconds, [])
    rate = len(delays_ms) / (seconds - 3)
    p50, p99 = np.percentile(delays_ms, (50, 99))
    figures = f"{rate:.0f} windows/s, p50 {p50:.2f} ms, p99 {p99:.1f} ms, {missing} missing"
    return [("1,000 windows/s of 128x128, encrypted", figures, verdict(rate >= 980 and missing == 0))]


class CountingSink(Sink):
    """Replaces the plan, wraps the histogrammer, and counts the events of its windows."""

    def __init__(self) -> None:
        super().__init__()
        self.received = self.binned = self.windows = 0

    def histogrammer(self, view: Any, start_us: int | None) -> CountingSink:  # noqa: ARG002, D102 - the signature of the class that it replaces
        self.inner = WindowedHistogrammer(DVS128, size=(128, 128), bins=5, bin_us=20_000)
        self.stats = self.inner.stats
        return self

    def push(self, packet: EventPacket) -> tuple[()]:  # noqa: D102
        self.received += len(packet)
        return self.count(self.inner.push(packet))

    def finish(self) -> tuple[()]:  # noqa: D102
        return self.count(self.inner.finish())

    def count(self, windows: Any) -> tuple[()]:  # noqa: D102
        for window in windows:
            self.windows += 1
            self.binned += window.events
        return ()


def events(seconds: float, folder: Path) -> list[Row]:
    in_file = recording(folder / "events.npy", EVENTS_RATE, 4.0)
    sink = CountingSink()
    began = time.monotonic()
    rounds = max(1, round(seconds / 4))
    cpu_s = 0.0
    for _ in range(rounds):
        cpu_s += play(sink, uri=str(folder / "events.npy"), sensor="128x128", speed=1.0)
    taken_s = time.monotonic() - began
    stats = sink.inner.stats
    exact = sink.received == in_file * rounds and stats.received == in_file == stats.binned + stats.late + stats.outside
    rate = sink.received / taken_s / 1e6
    figures = f"{rate:.1f} Mev/s for {taken_s:.0f} s, {sink.received:,} events in {sink.windows} windows, "
    figures += f"{cpu_s / taken_s:.0%} of a core, {accounted('events', exact)}"
    return [("50 Mev/s into the histogrammer", figures, verdict(exact and rate >= 0.98 * EVENTS_RATE / 1e6))]


def accounted(what: str, complete: bool) -> str:
    return f"all {what} accounted for" if complete else f"NOT ALL {what.upper()} ACCOUNTED FOR"


def verdict(passed: bool) -> str:
    return "pass" if passed else "FAIL"


LOADS = {"cameras": cameras, "subscribers": subscribers, "encryption": encryption, "events": events}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of each load")
    parser.add_argument("--only", choices=LOADS, help="run one load only")
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    console.print(f"{processor()}, load {getloadavg()[0]:.1f}")
    table = Table("load", "result", "")
    for name, run in LOADS.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                for row in run(options.seconds, Path(folder)):
                    table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
