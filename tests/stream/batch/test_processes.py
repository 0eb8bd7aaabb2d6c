"""Workers that are killed: what they were doing is begun again, and one that dies with it twice is given up."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from moving_disc import moving_disc
from pipeline_setup import SENSOR, make_kit, write_recording

from eventveil.io.source import open_events
from eventveil.stream.batch.processes import InProcesses
from eventveil.stream.batch.recordings import Recording
from eventveil.stream.batch.work import Task
from eventveil.stream.planning.planner import plan_networks


def deadly(path):
    """Kill the process that opens this recording."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.nightly  # starts four processes that import torch
def test_a_recording_that_kills_its_process_is_given_up_and_the_rest_is_done(tmp_path):
    kit = make_kit(tmp_path)
    plan = plan_networks(kit.settings("tcp://127.0.0.1:*"))
    good = [tmp_path / f"{seed}.aedat4" for seed in range(3)]
    for seed, path in enumerate(good):
        write_recording(path, moving_disc(SENSOR, 0.3, seed=seed))
    bad = tmp_path / "bad.aedat4"
    write_recording(bad, moving_disc(SENSOR, 0.3, seed=9))
    recordings = [Recording(str(path), path, partial(open_events, str(path))) for path in good]
    recordings.insert(1, replace(recordings[0], name="bad", path=bad, open=partial(deadly, bad)))
    (tmp_path / "out").mkdir()
    tasks = [Task(each, tmp_path / "out" / f"{Path(each.name).stem}.h5") for each in recordings]
    outcomes = {outcome.recording: outcome for outcome in InProcesses(2).run(plan, "hdf5", tasks)}
    assert outcomes.keys() == {each.name for each in recordings}
    assert "killed twice" in (outcomes.pop("bad").error or "")
    assert all(outcome.windows == 3 and outcome.error is None for outcome in outcomes.values())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.h5", "1.h5", "2.h5"]
