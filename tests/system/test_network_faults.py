"""A pipeline and a subscriber, each in its own network namespace: the network is slow, lossy, or cut."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lossy_link
import numpy as np
import pipeline_setup
import pytest
from canary import CANARY, canary_events, canary_in, files_with_canary
from fault_injection import PATIENCE_S, Faults, Running, assert_counters_balance, running
from lossy_link import PUBLISHER, Link
from pipeline_setup import BIN_US, BINS, SENSOR, Kit, Subscriber, subscriber

from eventveil.events import EventPacket
from eventveil.stream.protocol.keys import AllowList, new_keys, read_public
from eventveil.stream.subscriber.client import NETWORK

ENDPOINT = f"tcp://{PUBLISHER}:5556"
MAX_AGE_MS = 2_000
SPEED = 0.5  # five windows of 40 KB a second: about what TCP carries over a link that loses one packet in twenty
WINDOWS = 40
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def link() -> Iterator[Link]:
    with lossy_link.link() as new:
        yield new


def canary_and_more() -> Iterator[EventPacket]:
    """Half a second with the canary, then events that keep windows coming."""
    yield from canary_events()
    for start in range(500_000, WINDOWS * BINS * BIN_US + 1, BIN_US):
        t = np.arange(start, start + BIN_US, 200)
        yield EventPacket.of(t, t // 200 % SENSOR.width, t // 1000 % SENSOR.height, t // 400 % 2)


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Kit:
    """A recording that begins with the canary."""
    kit = pipeline_setup.make_kit(tmp_path_factory.mktemp("network"))
    pipeline_setup.write_recording(kit.recording, canary_and_more(), SENSOR)
    return kit


@pytest.fixture
def keys(tmp_path_factory) -> Path:
    """A folder with a short name: paths of sockets in it must not exceed 107 bytes."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("line", "alice"):
        new_keys(folder / name)
    AllowList(folder / "line").allow(read_public(folder / "alice" / "alice.pub"))
    return folder


@contextmanager
def pipeline_and_subscriber(
    link: Link, kit: Kit, keys: Path, faults: Faults, *options: str, **settings: object
) -> Iterator[tuple[Running, Subscriber]]:
    """A pipeline at one end of the link, which begins once the subscriber at the other end is there."""
    key_options = ("--server-key", str(keys / "line" / "line.pub"), "--key", str(keys / "alice" / "secret.key"))
    patience = ("--timeout", str(PATIENCE_S))
    ages = {"line__max_age_ms": MAX_AGE_MS, "line__release_ms": 1_000}
    settings |= ages | {"sources__0__speed": SPEED, "publish__keys": str(keys / "line")}
    folder = keys / "of the pipeline"
    folder.mkdir()
    with (
        running(
            kit, folder, ENDPOINT, faults, within=link.publisher.within, publish__wait_for=1, **settings
        ) as pipeline,
        subscriber(ENDPOINT, *key_options, *patience, *options, within=link.subscriber.within) as received,
    ):
        yield pipeline, received
    assert faults.seen()
    assert files_with_canary(folder) == []


def assert_in_order_and_explained(received: Subscriber, beat: dict) -> Counter[str]:
    """Check that windows arrived in order and fresh; return the counts of missing ones by reason."""
    assert_counters_balance(beat)
    for topic in ("window", "gesture"):
        messages = received.topic(topic)
        numbers = [message["seq"] for message in messages]
        missing = sum((Counter(message["missing"]) for message in messages), Counter())
        assert numbers == sorted(set(numbers))
        assert numbers[-1] - numbers[0] + 1 == len(numbers) + missing.total()
        assert max(message["age_ms"] for message in messages) <= MAX_AGE_MS
    missing = sum((Counter(message["missing"]) for message in received.topic("window")), Counter())
    # The pipeline counted the windows that it dropped; it has sent all others that did not arrive.
    dropped = Counter({reason: missing[reason] for reason in missing if reason != NETWORK})
    assert dropped <= Counter(beat["dropped"])
    assert beat["published_windows"] >= len(received.topic("window")) + missing[NETWORK]
    return missing


def assert_nothing_to_be_read(packets: bytes, windows: list[np.ndarray]) -> None:
    """All packets are encrypted: they show neither the canary, nor published values, nor that these are windows."""
    assert not canary_in(packets)
    assert b"anonymizer" not in packets  # by chance in 16 MiB of ciphertext: 2^24 * 2^-80 = 1e-17
    assert windows
    assert not any(values.tobytes()[:64] in packets for values in windows)  # 2^24 * 2^-512


def test_the_link_shows_what_passes_and_loses_and_delays_and_can_be_cut(link):
    """Otherwise the tests below would prove nothing."""
    serve = (
        f"import socket; s = socket.create_server(({PUBLISHER!r}, 5000)); print(flush=True); c = s.accept()[0]; "
        "c.sendall(c.recv(100))"
    )
    ask = f"import socket; c = socket.create_connection(({PUBLISHER!r}, 5000)); c.sendall(b'it is {CANARY}'); c.recv(9)"
    link.delay_s = (0.05, 0.06)
    with subprocess.Popen([*link.publisher.within, sys.executable, "-c", serve], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()  # wait until it listens
        began = time.monotonic()
        subprocess.run([*link.subscriber.within, sys.executable, "-c", ask], check=True)
        assert time.monotonic() - began > 4 * 0.05
        server.wait(60)
    assert canary_in(link.payloads())
    assert link.lost == 0
    link.cut = True
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([*link.subscriber.within, sys.executable, "-c", ask], check=True, timeout=1)
    assert link.lost > 0


@pytest.mark.nightly
def test_over_a_link_that_delays_reorders_and_loses_packets_all_windows_arrive_in_order(link, kit, keys, tmp_path):
    link.delay_s, link.loss = (0.05, 0.15), 0.05
    queue = 10 * WINDOWS  # never full, whatever the network does
    settings = {"sources__0__loop": False, "publish__queue": queue}
    kept, faults = tmp_path / "kept", Faults(tmp_path)
    with pipeline_and_subscriber(link, kit, keys, faults, "--npz", str(kept), **settings) as (pipeline, received):
        summary = pipeline.end()
        assert pipeline.process.returncode == 0, pipeline.errors
        received.finish()
        assert received.process.returncode == 0
    assert link.lost > 20
    missing = assert_in_order_and_explained(received, summary)
    assert not missing[NETWORK]
    assert len(received.topic("window")) == summary["published_windows"]
    assert received.messages[-1]["state"] == "ended"
    assert_nothing_to_be_read(link.payloads(), [np.load(path)["values"] for path in kept.glob("window-*.npz")])


@pytest.mark.nightly
def test_a_link_that_is_cut_and_mended_is_noticed_and_the_gap_is_put_down_to_the_network(link, kit, keys, tmp_path):
    link.delay_s = (0.05, 0.15)
    with pipeline_and_subscriber(link, kit, keys, Faults(tmp_path), publish__queue=8) as (pipeline, received):
        wait_for_more(received, 10)
        assert received.process.stderr is not None
        link.cut = True
        assert "the connection to the publisher was lost; trying again" in received.process.stderr.readline()
        before = len(received.topic("window"))
        published = pipeline.beats[-1]["published_windows"]
        beat = pipeline.wait_for(lambda beat: beat["published_windows"] > published + 3)  # the pipeline is unaffected
        assert_counters_balance(beat)
        assert len(received.topic("window")) == before
        link.cut = False
        wait_for_more(received, 10)
        summary = pipeline.stop()
        assert summary["stages"]["publish"]["counts"]["handshakes"] >= 2
    missing = assert_in_order_and_explained(received, summary)
    assert missing[NETWORK] > 3
    assert {message["life"] for message in received.topic("window")} == {1}
    assert not canary_in(link.payloads())


def wait_for_more(received: Subscriber, windows: int) -> None:
    """Wait until a live subscriber has received this many more windows."""
    wanted = len(received.topic("window")) + windows
    while len(received.topic("window")) < wanted:
        assert received.process.poll() is None
        time.sleep(0.05)
