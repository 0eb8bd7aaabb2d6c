"""Faults: real processes are killed, halted and starved, and a canary must not leave.

docs/reliability.md lists for each fault what happens, how long it takes, what is lost and where that is counted.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pipeline_setup
import pytest
from canary import canary_events, canary_in, files_with_canary
from fault_injection import PATIENCE_S, Faults, Running, assert_counters_balance, running, subscribers
from pipeline_setup import BIN_US, PROGRAM, SENSOR, Kit

from eventveil.errors import LineError
from eventveil.host.addresses import free_port
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.wire import GESTURE, WINDOW, decode
from eventveil.stream.subscriber.client import NETWORK, Gaps

WINDOW_S = 5 * BIN_US / 1e6
OFTEN = {"line__restarts": 50, "line__max_age_ms": 2_000, "line__release_ms": 1_000, "sources__0__speed": 0.5}
CRASHES = {
    "raise": "(RuntimeError)",
    "cuda": "(AcceleratorError)",
    "memory": "(OutOfMemoryError)",
    "host memory": "(MemoryError)",
}
pytestmark = pytest.mark.timeout(600)  # real processes; the timeouts are in fault_injection


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = pipeline_setup.make_kit(tmp_path_factory.mktemp("faults"))
    pipeline_setup.write_recording(kit.recording, canary_events(), SENSOR)
    return kit


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: the path of a socket must not exceed about a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="ev-") as name:
        yield Path(name)


@pytest.fixture
def faults(tmp_path) -> Faults:
    return Faults(tmp_path)


def decoded(messages):
    """Messages, each with the windows missing before it."""
    gaps = Gaps()
    return [gaps.fill_in(decode(frames)) for frames in messages]


def assert_explained(messages):
    """Check that each subscriber accounts for every window, and attributes no loss to the network."""
    for topic in (WINDOW, GESTURE):
        of_topic = [message for message in messages if message.topic == topic]
        missing = sum((Counter(message.missing) for message in of_topic), Counter())
        assert not missing[NETWORK]
        first, last = of_topic[0].header, of_topic[-1].header
        assert last.seq - first.seq + 1 == len(of_topic) + missing.total()
        # No bin is published twice, whatever stage was restarted in between.
        if topic == WINDOW:
            ends = [message.header.t_end_us for message in of_topic]
            starts = [message.header.t_start_us for message in of_topic]
            assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))


def assert_the_canary_stayed_inside(pipeline: Running, folder: Path, received) -> None:
    assert not any(canary_in(frame) for messages in received for message in messages for frame in message)
    assert not canary_in("".join(pipeline.output).encode())
    assert files_with_canary(folder) == []


def test_whatever_breaks_the_pipeline_goes_on_and_tells_of_every_window(kit, folder, faults):
    """One pipeline and all faults: at the end all counters agree, and the canary stayed inside."""
    endpoint, port = f"ipc://{folder}/public", free_port()
    settings = OFTEN | {"watch__metrics": f"127.0.0.1:{port}"}
    with (
        subscribers(endpoint, readers=3, stalled=10) as received,
        running(kit, folder, endpoint, faults, **settings) as pipeline,
    ):
        pipeline.wait_for(lambda beat: beat["published_windows"] > 3)
        for stage in ("anonymize", "classify", "publish", "histogram:0"):
            pipeline.kill(stage)
            assert_counters_balance(pipeline.back(stage, "the stage was killed by SIGKILL"))
        for fault, reason in CRASHES.items():
            faults.set(fault)
            assert_counters_balance(pipeline.back("anonymize", reason))
        pipeline.kill("classify", signal.SIGSTOP)
        assert_counters_balance(pipeline.back("classify", "gave no sign of life for "))
        faults.set("clock")  # an hour back
        published = pipeline.beats[-1]["published_windows"]
        pipeline.wait_for(lambda beat: beat["published_windows"] > published + 3)
        pages = [get_page(port, path) for path in ("metrics", "status", "healthz")]
        summary = pipeline.stop()
        assert pipeline.process.returncode == 0, pipeline.errors
    for beat in pipeline.beats:
        assert_counters_balance(beat)
    assert summary["books"]["in_flight"] == 0
    assert summary["dropped"]["crash"] > 0
    assert faults.seen()
    for messages in received:
        decoded_messages = decoded(messages)
        assert_explained(decoded_messages)
        ages = [message.header.age_ms for message in decoded_messages if message.topic == WINDOW]
        assert max(ages) <= OFTEN["line__max_age_ms"]
        assert {message.header.life for message in decoded_messages if message.topic == WINDOW} >= {1, 2}
        ends = [message.header for message in decoded_messages if message.topic == "state"]
        assert [header.state for header in ends] == ["ended", "ended"]
        lost = {reason: count for reason, count in summary["dropped"].items() if count}
        assert ends[0].lost == lost
    assert not any(canary_in(page) for page in pages)
    assert_the_canary_stayed_inside(pipeline, folder, received)


def get_page(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as response:
        return response.read()


def test_values_that_are_not_finite_end_the_pipeline_at_once_and_none_comes_out(kit, folder, faults):
    endpoint = f"ipc://{folder}/public"
    with (
        subscribers(endpoint, readers=1, stalled=0) as received,
        running(kit, folder, endpoint, faults, **OFTEN) as pipeline,
    ):
        pipeline.wait_for(lambda beat: beat["published_windows"] > 1)
        faults.set("nan")
        summary = pipeline.end()
        assert pipeline.process.returncode == 2
    assert summary["failure"] == "anonymize: the anonymizer returned values that are not finite; use other weights"
    assert f"eventveil: the pipeline failed: {summary['failure']}" in pipeline.errors.replace("\n", " ")
    assert summary["incidents"] == []
    assert_counters_balance(summary)
    assert received[0][-1][0] == b"state"
    assert json.loads(received[0][-1][1])["state"] == "failed"
    windows = sum(message[0] == b"window" for message in received[0])
    assert windows == summary["books"]["stages"]["publish"]["sent"]
    assert_the_canary_stayed_inside(pipeline, folder, received)


def test_a_port_in_use_is_reported_before_anything_is_read(kit):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        pipeline = Pipeline(kit.settings(endpoint))
        with pytest.raises(LineError, match=rf"publish\.bind: cannot bind {endpoint}: Address already in use"):
            pipeline.run()
    assert pipeline.members == {}


def test_a_file_at_the_address_is_reported_before_anything_is_read_and_stays(kit, tmp_path):
    precious = tmp_path / "f"
    precious.write_text("precious")
    pipeline = Pipeline(kit.settings(f"ipc://{precious}"))
    with pytest.raises(LineError, match="is a file, which is not overwritten"):
        pipeline.run()
    assert precious.read_text() == "precious"
    assert pipeline.members == {}


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full, the disk that is always full")
def test_full_disks_end_the_log_and_the_recording_and_not_the_pipeline(kit, folder, small_disk):
    """The disk is full for the pipeline's standard output and error, and for the files of one of two subscribers."""
    endpoint = f"ipc://{folder}/public"
    weights = ["--weights", str(kit.anonymizer), "--weights", str(kit.classifier), "--allow-untrained"]
    options = ["--speed", "max", "--wait-for", "2", "--json", f"--set=publish.bind={endpoint}"]
    command = [*PROGRAM, "run", str(kit.recording), *options, *weights]
    with (
        pipeline_setup.subscriber(endpoint) as received,
        pipeline_setup.subscriber(endpoint, "--npz", str(small_disk)) as keeping,
        Path("/dev/full").open("w") as full,
    ):
        done = subprocess.run(command, stdout=full, stderr=full, timeout=PATIENCE_S, check=False)
        received.finish(PATIENCE_S)
        keeping.process.wait(PATIENCE_S)
        assert keeping.process.stderr is not None
        assert "cannot be written: No space left on device; free some space" in keeping.process.stderr.read()
        assert keeping.process.returncode == 2
    assert done.returncode == 2  # it failed, and there was no space to report why
    assert len(received.topic("window")) == 5
    assert received.messages[-1]["state"] == "ended"
    files = sorted(small_disk.glob("*.npz"))
    assert files
    for path in files:  # each file is complete
        with np.load(path) as arrays:
            assert set(arrays) == {"values", "header"}


@pytest.mark.nightly
def test_too_slow_an_anonymizer_publishes_young_windows_and_a_stage_that_dies_too_often_ends_the_pipeline(
    kit, folder, faults
):
    """The anonymizer takes ten times as long as the source allows."""
    endpoint = f"ipc://{folder}/public"
    settings = {"sources__0__speed": 2.0, "line__max_age_ms": 4_000, "line__queue": 2, "anonymize__batch": 1}
    settings |= {"line__restarts": 1, "line__release_ms": 4_000}
    faults.set("slow")
    with (
        subscribers(endpoint, readers=1, stalled=0) as received,
        running(kit, folder, endpoint, faults, **settings) as pipeline,
    ):
        pipeline.wait_for(lambda beat: beat["published_windows"] > 3 and sum(beat["dropped"].values()) > 3)
        pipeline.kill("classify")
        pipeline.wait_for(lambda beat: beat["incidents"] and beat["incidents"][0]["back_s"] is not None)
        pipeline.kill("classify")
        summary = pipeline.end()
    assert pipeline.process.returncode == 2
    assert summary["failure"] == (
        "classify: the stage was killed by SIGKILL; it had already been restarted 1 times within a minute"
    )
    assert_counters_balance(summary)
    windows = [message for message in decoded(received[0]) if message.topic == WINDOW]
    assert 0 < max(message.header.age_ms for message in windows) <= 4_000


@pytest.mark.nightly
@pytest.mark.parametrize("stage", ["histogram:0", "anonymize", "classify", "publish"])
def test_a_stage_that_is_halted_for_ten_seconds_is_replaced_meanwhile(kit, folder, stage):
    endpoint = f"ipc://{folder}/public"
    with subscribers(endpoint, readers=1, stalled=0) as received, running(kit, folder, endpoint, **OFTEN) as pipeline:
        halted = pipeline.wait_for(lambda beat: beat["published_windows"] > 3)["stages"][stage]["pid"]
        os.kill(halted, signal.SIGSTOP)
        stopped = time.monotonic()
        beat = pipeline.back(stage, "gave no sign of life for ")
        time.sleep(max(0.0, 10 - (time.monotonic() - stopped)))
        with pytest.raises(ProcessLookupError):
            os.kill(halted, signal.SIGCONT)
        assert beat["incidents"][0]["stage"] == stage
        summary = pipeline.stop()
        assert pipeline.process.returncode == 0, pipeline.errors
    assert_counters_balance(summary)
    assert_explained(decoded(received[0]))
    assert_the_canary_stayed_inside(pipeline, folder, received)


@pytest.mark.nightly
def test_a_hundred_subscribers_hear_everything_beside_ten_that_never_read(kit, folder):
    endpoint = f"ipc://{folder}/public"
    with (
        subscribers(endpoint, 100, 10) as received,
        running(kit, folder, endpoint, publish__wait_for=110, **OFTEN) as pipeline,
    ):
        pipeline.wait_for(lambda beat: beat["published_windows"] > 30)
        summary = pipeline.stop()
    published = summary["books"]["stages"]["publish"]["sent"]
    for messages in received:
        decoded_messages = decoded(messages)
        assert sum(message.topic == WINDOW for message in decoded_messages) == published
        assert_explained(decoded_messages)
