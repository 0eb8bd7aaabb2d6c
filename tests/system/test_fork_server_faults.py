"""The fork server of a running pipeline is killed or halted: the pipeline fails, says so, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path

import pipeline_setup
import pytest
from fault_injection import assert_counters_balance, running, subscribers

from eventveil.host.addresses import free_port
from eventveil.host.processes import ProcessHandle

pytestmark = [
    pytest.mark.timeout(600),  # real processes; the timeouts are in fault_injection
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at /proc"),  # noqa: PTH112
]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return pipeline_setup.make_kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def folder():
    # Not tmp_path: the path of a socket must not exceed about a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="ev-") as name:
        yield Path(name)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def states(messages):
    return [json.loads(header)["state"] for topic, header, _ in messages if topic == b"state"]


def after_a_fault(kit, folder, fault, **settings):
    """Run a pipeline over TCP, pass the numbers of its fork server and stages to `fault`, and wait for its end.

    Returns:
        The pipeline, its summary, and the states that a subscriber received.
    """
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with (
        subscribers(endpoint, readers=1, stalled=0) as received,
        running(kit, folder, endpoint, publish__wait_for=1, sources__0__speed=0.5, **settings) as pipeline,
    ):
        beat = pipeline.wait_for(lambda beat: beat["published_windows"] > 1)
        stages = {name: stage["pid"] for name, stage in beat["stages"].items()}
        handles = [ProcessHandle(pid) for pid in stages.values()]
        fault(parent_of(stages["publish"]), stages)
        summary = pipeline.end()
        ended = [handle.wait(PATIENCE_S) for handle in handles]
    for handle in handles:
        handle.close()
    assert all(ended)
    assert pipeline.process.returncode == 2
    assert "Traceback" not in pipeline.errors
    assert_counters_balance(summary)
    return summary, states(received[0])


def has_torch(pid):
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_a_killed_fork_server_fails_the_pipeline(kit, folder):
    loaded = {}

    def fault(server, stages):
        supervisor, networks = parent_of(server), parent_of(stages["anonymize"])
        pids = stages | {"supervisor": supervisor, "fork server": server, "fork server of networks": networks}
        loaded.update({name: has_torch(pid) for name, pid in pids.items()})
        os.kill(server, signal.SIGKILL)

    summary, announced = after_a_fault(kit, folder, fault)
    assert {name for name, torch in loaded.items() if torch} == {"anonymize", "classify", "fork server of networks"}
    assert len(loaded) == 7
    assert summary["failure"] == "the fork server, from which stages are started, was killed by SIGKILL"
    assert summary["incidents"] == []
    assert announced == ["failed"]


@pytest.mark.nightly
def test_a_halted_fork_server_and_a_dead_stage_fail_the_pipeline_in_time(kit, folder):
    def fault(_, stages):
        os.kill(parent_of(stages["classify"]), signal.SIGSTOP)
        os.kill(stages["classify"], signal.SIGKILL)

    summary, announced = after_a_fault(kit, folder, fault, line__hang_s=3)
    assert summary["failure"].endswith("; then the fork server started no process for 3 s; it was killed")
    assert announced == ["failed"]
