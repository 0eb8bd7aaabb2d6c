"""The whole pipeline: a recording in, anonymized windows and gestures out, to a subscriber in another process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pipeline_setup
import pytest
from moving_disc import moving_disc
from pipeline_setup import BIN_US, BINS, LABELS, PROGRAM, SENSOR, SIZE, Kit, subscriber, write_recording

from eventveil.errors import ConfigError, LineError
from eventveil.events import Sensor
from eventveil.host.addresses import free_port
from eventveil.host.processes import ProcessHandle
from eventveil.io import open_events
from eventveil.models.runtime import Anonymizer
from eventveil.stream import subscribe
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.pipeline.fork_server import StageProcess
from eventveil.stream.pipeline.pipeline import Pipeline


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return pipeline_setup.make_kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def endpoint() -> Iterator[str]:
    # Not tmp_path: the path of a socket must not exceed about a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="eventveil-") as folder:
        yield f"ipc://{folder}/public"


def expected_windows(kit: Kit, hop: int = BINS) -> list:
    histogrammer = WindowedHistogrammer(SENSOR, size=SIZE, bins=BINS, bin_us=BIN_US, hop=hop, grid_us=hop * BIN_US)
    with open_events(kit.recording) as source:
        windows = [window for packet in source for window in histogrammer.push(packet)]
    return windows + list(histogrammer.finish())


@pytest.mark.parametrize("run_as", ["threads", "processes"])
def test_every_window_of_a_recording_arrives_anonymized_and_classified(kit, endpoint, tmp_path, run_as):
    expected = expected_windows(kit)
    with subscriber(endpoint, "--npz", str(tmp_path / "kept")) as received:
        status = Pipeline(kit.settings(endpoint, line__run_as=run_as)).run()
        messages = received.finish()
    assert status.failure is None
    windows, gestures = received.topic("window"), received.topic("gesture")
    assert [message["seq"] for message in windows] == [window.seq for window in expected]
    assert [message["t_start_us"] for message in windows] == [window.t_start_us for window in expected]
    assert [message["t_end_us"] for message in gestures] == [window.t_end_us for window in expected]
    assert all(message["lost"] == message["missing"] == {} for message in windows + gestures)
    assert all(message["trained"] is False and message["certificate"] is None for message in windows)
    assert all(message["label"] in LABELS for message in gestures)
    assert [message["state"] for message in messages[-2:]] == ["ended", "ended"]
    assert [message["stream"] for message in messages[-2:]] == ["0", None]
    assert (
        status.total("histogram", "received") == status.total("histogram", "binned") == sum(w.events for w in expected)
    )
    for window in expected:
        values = np.load(tmp_path / "kept" / f"window-0-{windows[0]['run']}-{window.seq:08d}.npz")["values"]
        assert values.shape == (2 * BINS, SIZE[1], SIZE[0])
        assert not np.array_equal(values.round(), window.counts.reshape(values.shape))


REAL = {
    "tonic_sample.aedat4": None,
    "expelliarmus_evt3_sample.raw": "1280x720",
    "dvs_gesture_class3_us.npy": "128x128",
}
MORE_REAL = {
    "faery_evt2.raw": "640x480",
    "loris_NCARS_obj_004397_td.dat": "120x100",
    "faery_dvs.es": None,
    "foam90.aedat": None,
}
"""The tests of the readers read these, too; what comes after a reader does not depend on the format."""


@pytest.mark.parametrize("name", [*REAL, *(pytest.param(name, marks=pytest.mark.nightly) for name in MORE_REAL)])
def test_a_real_recording_goes_through_the_whole_pipeline(kit, endpoint, real_data, name):
    uri, sensor = str(real_data / "recordings" / name), (REAL | MORE_REAL)[name]
    source = {"uri": uri, "sensor": sensor, "speed": "max"}
    with open_events(uri, sensor=Sensor.parse(sensor) if sensor else None) as events:
        histogrammer = WindowedHistogrammer(events.sensor, SIZE, BINS, BIN_US, grid_us=BINS * BIN_US)
        expected = [window.seq for packet in events for window in histogrammer.push(packet)]
        expected += [window.seq for window in histogrammer.finish()]
    with subscriber(endpoint) as received:
        status = Pipeline(kit.settings(endpoint, sources=[source])).run()
        received.finish()
    assert status.failure is None
    assert [message["seq"] for message in received.topic("window")] == expected
    assert [message["seq"] for message in received.topic("gesture")] == expected
    assert status.total("histogram", "received") == histogrammer.stats.received


def test_two_sources_fan_into_one_anonymizer_and_stay_apart(kit, endpoint, tmp_path):
    write_recording(tmp_path / "right.aedat4", moving_disc(SENSOR, 1.0, seed=1))  # as long as the other
    recordings = {"left": kit.recording, "right": tmp_path / "right.aedat4"}
    sources = [{"uri": str(uri), "stream": name, "speed": "max"} for name, uri in recordings.items()]
    with subscriber(endpoint) as received:
        status = Pipeline(kit.settings(endpoint, sources=sources)).run()
        messages = received.finish()
    assert status.failure is None
    expected = [window.seq for window in expected_windows(kit)]
    for name in ("left", "right"):
        assert [m["seq"] for m in received.topic("window") if m["stream"] == name] == expected
        ended = next(i for i, m in enumerate(messages) if m["topic"] == "state" and m["stream"] == name)
        assert ended > max(i for i, m in enumerate(messages) if m["topic"] != "state" and m["stream"] == name)


def test_live_delivery_drops_the_oldest_and_accounts_for_every_window(kit, endpoint, monkeypatch):
    slow = threading.Event()
    anonymize = Anonymizer.__call__
    monkeypatch.setattr(Anonymizer, "__call__", lambda self, counts: (slow.wait(0.15), anonymize(self, counts))[1])
    settings = kit.settings(endpoint, line__delivery="live", line__queue=2, anonymize__batch=1, line__max_age_ms=60_000)
    with subscriber(endpoint) as received:
        status = Pipeline(settings).run()
        received.finish()
    produced, published = status.total("histogram", "windows"), status.total("publish", "windows")
    assert published < produced
    assert published + status.dropped()["queue"] == produced
    windows = received.topic("window")
    assert windows[-1]["seq"] == produced - 1  # the newest wins
    assert all(set(message["missing"]) <= {"queue"} for message in windows)
    assert sum(message["missing"].get("queue", 0) for message in windows[1:]) + windows[0]["lost"].get(
        "queue", 0
    ) == sum(status.dropped().values())


def test_live_delivery_publishes_nothing_older_than_the_limit(kit, endpoint, monkeypatch):
    anonymize = Anonymizer.__call__
    slow = threading.Event()
    monkeypatch.setattr(Anonymizer, "__call__", lambda self, counts: (slow.wait(0.2), anonymize(self, counts))[1])
    settings = kit.settings(endpoint, line__delivery="live", line__queue=8, anonymize__batch=1, line__max_age_ms=300)
    with subscriber(endpoint) as received:
        status = Pipeline(settings).run()
        received.finish()
    assert status.dropped()["age"] > 0
    assert all(message["age_ms"] <= 300 for message in received.topic("window"))
    assert status.total("publish", "windows") + sum(status.dropped().values()) == status.total("histogram", "windows")


def test_a_replay_in_real_time_publishes_no_window_before_its_release(kit, endpoint):
    source = {"uri": str(kit.recording), "speed": 5.0}
    with subscriber(endpoint) as received:
        status = Pipeline(kit.settings(endpoint, sources=[source], line__release_ms=250)).run()
        received.finish()
    assert status.failure is None
    assert len(received.topic("window")) == len(expected_windows(kit))
    assert all(message["age_ms"] >= 250 for message in received.topic("window") + received.topic("gesture"))
    assert status.value("publish", "all_p50_ms") > 245  # exact to 2 %


def test_only_one_of_the_windows_that_share_bins_is_published(kit, endpoint):
    expected = expected_windows(kit, hop=2)
    with subscriber(endpoint) as received:
        status = Pipeline(kit.settings(endpoint, window__hop=2)).run()
        received.finish()
    windows, gestures = received.topic("window"), received.topic("gesture")
    assert [message["seq"] for message in gestures] == [message["seq"] for message in windows]
    assert all(a["t_end_us"] <= b["t_start_us"] for a, b in pairwise(windows))
    assert len(windows) + status.dropped()["overlap"] == len(expected)
    assert all(message["missing"] in ({}, {"overlap": 2}) for message in windows + gestures)


def test_a_whole_recording_can_be_one_window(kit, endpoint):
    with subscriber(endpoint) as received:
        status = Pipeline(kit.settings(endpoint, window__mode="recording")).run()
        received.finish()
    assert status.failure is None
    assert len(received.topic("window")) == 1


@pytest.mark.parametrize("broken", ["raises", "not finite", "unchanged"])
def test_an_anonymizer_that_fails_publishes_nothing_and_ends_the_pipeline(kit, endpoint, monkeypatch, broken):
    def anonymize(self, x_BCHW, generator):
        if broken == "raises":
            raise RuntimeError("pixel 3 holds 12345")
        return x_BCHW * float("nan") if broken == "not finite" else x_BCHW

    from eventveil.models import AnonyNoise

    monkeypatch.setattr(Anonymizer, "warm_up", lambda self, batch=1: None)
    monkeypatch.setattr(AnonyNoise, "anonymize", anonymize)
    with subscriber(endpoint) as received:
        # fp32, because `auto` would run the network before the start, to try bf16 where the processor has it.
        status = Pipeline(kit.settings(endpoint, anonymize__precision="fp32")).run()
        received.finish()
        assert received.process.returncode == 1
    assert status.failure is not None
    assert status.failure.startswith("anonymize")
    assert "12345" not in status.failure
    assert {message["topic"] for message in received.messages} == {"state"}
    assert received.messages[-1]["state"] == "failed"


def test_a_source_that_fails_is_published_up_to_its_fault_and_announced_as_failed(kit, tmp_path):
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    damaged = tmp_path / "damaged.aedat4"
    whole = kit.recording.read_bytes()
    damaged.write_bytes(whole[: int(len(whole) * 0.6)])
    with subscriber(endpoint) as received:
        status = Pipeline(kit.settings(endpoint, sources=[{"uri": str(damaged), "speed": "max"}])).run()
        received.finish()
    assert status.failure is not None
    assert str(damaged) in status.failure
    assert 3 <= len(received.topic("window")) < len(expected_windows(kit))
    assert len(received.topic("window")) == status.total("histogram", "windows")
    states = [(message["state"], message["stream"]) for message in received.topic("state")]
    assert states == [("failed", "0"), ("failed", None)]


def test_a_killed_stage_that_may_not_be_restarted_ends_the_pipeline_with_its_name(kit, endpoint):
    source = {"uri": str(kit.recording), "speed": 0.1}
    pipeline = Pipeline(kit.settings(endpoint, line__run_as="processes", line__restarts=0, sources=[source]))
    with subscriber(endpoint) as received:
        status = pipeline.run(lambda status: pipeline.members["anonymize"].kill())
        received.finish()
    assert status.failure == "anonymize: the stage was killed by SIGKILL"
    assert received.messages[-1]["state"] == "failed"
    assert not any(member.is_alive() for member in pipeline.members.values())


def descendants(pid: int) -> set[int]:
    children = {
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in task.joinpath("children").read_text().split()
    }
    return children.union(*map(descendants, children))


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes that are not its children by pidfd")
@pytest.mark.parametrize("halted", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_nothing_is_left_of_a_pipeline_whose_supervisor_is_killed(kit, halted):
    with tempfile.TemporaryDirectory(prefix="ev-") as folder:
        kill_the_supervisor(kit, f"tcp://127.0.0.1:{free_port()}", folder, halted=halted)
        assert list(Path(folder).iterdir()) == []


def kill_the_supervisor(kit, endpoint, folder, *, halted):
    options = ["--speed", "0.1", "--loop", "--allow-untrained", "--wait-for", "1", "--set", "line.run_as=processes"]
    weights = ["--weights", str(kit.anonymizer), "--weights", str(kit.classifier), "--set", f"publish.bind={endpoint}"]
    core_dumps = ["sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh"]  # allowed, where they may be
    command = [*core_dumps, *PROGRAM, "run", str(kit.recording), *options, *weights]
    supervisor = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"TMPDIR": folder})
    try:
        first = next(subscribe(endpoint, timeout_s=60))
        assert first.topic == "window"
        pids = descendants(supervisor.pid)
        assert len(pids) >= 4
        for pid in {supervisor.pid, *pids}:  # a core dump of any of them could hold raw events
            assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text())
        stages = [ProcessHandle(pid) for pid in pids]
        if halted:
            for pid in pids:
                if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():  # the other one is Python's own
                    os.kill(pid, signal.SIGSTOP)
    finally:
        supervisor.kill()
        supervisor.wait()
    ended = [stage.wait(60) for stage in stages]
    for stage in stages:
        stage.close()
    assert all(ended)


def test_ctrl_c_works_before_the_fork_server_answers(kit, endpoint):
    pipeline = Pipeline(kit.settings(endpoint, line__run_as="processes"))
    os.kill(pipeline._fork_servers["networks"].pid, signal.SIGSTOP)
    ctrl_c = threading.Timer(0.3, pipeline.stop)
    ctrl_c.start()
    status = pipeline.run()
    ctrl_c.join()
    assert (status.stopped, status.failure) == (True, None)


def test_tensors_that_are_not_those_of_the_header_end_the_pipeline_before_it_publishes(kit, endpoint, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(Path(kit.anonymizer).read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    status = Pipeline(kit.settings(endpoint, anonymize__weights=str(damaged))).run()
    assert status.failure == (
        f"anonymize: {damaged}: the tensors do not match the digest in the file; it is damaged, fetch it again"
    )
    assert status.counters["publish"].total("sent") == 0


def test_too_few_descriptors_are_refused_before_anything_starts(kit, endpoint, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda which: (24, 24))
    with pytest.raises(ConfigError, match="may open only 24 files and sockets, and needs 256"):
        Pipeline(kit.settings(endpoint))


def test_a_stage_that_cannot_be_started_fails_the_pipeline(kit, endpoint, monkeypatch):
    def start(self):
        if "anonymize" in self._arguments["name"]:
            raise LineError("no room")
        real_start(self)

    real_start = StageProcess.start
    monkeypatch.setattr(StageProcess, "start", start)
    status = Pipeline(kit.settings(endpoint, line__run_as="processes")).run()
    assert status.failure == "anonymize: no room"


def test_the_pipeline_stops_when_asked_and_publishes_what_was_on_its_way(kit, endpoint):
    settings = kit.settings(endpoint, sources=[{"uri": str(kit.recording), "speed": 0.1}])
    pipeline = Pipeline(settings)
    with subscriber(endpoint) as received:
        status = pipeline.run(lambda status: pipeline.stop())
        received.finish()
    assert status.stopped
    assert status.failure is None
    assert received.messages[-1]["state"] == "ended"
    assert len(received.topic("window")) == status.total("histogram", "windows") >= 1
