"""Recordings on a Ray cluster become the same files as on one machine."""

from __future__ import annotations

from functools import partial

import h5py
import numpy as np
import pytest
from moving_disc import moving_disc
from pipeline_setup import SENSOR, make_kit, write_recording

from eventveil.errors import ConfigError
from eventveil.io.source import open_events
from eventveil.stream.batch.recordings import Recording
from eventveil.stream.batch.work import Task
from eventveil.stream.planning.planner import plan_networks

pytest.importorskip("ray", reason="no Ray here: pip install '.[cluster]'")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),  # half a minute alone: each process of Ray imports torch
    pytest.mark.filterwarnings("default"),  # Ray itself causes warnings
]

from ray.cluster_utils import Cluster as Nodes  # noqa: E402

from eventveil.stream.batch.ray import OnRay  # noqa: E402


@pytest.fixture
def nodes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024, "include_dashboard": False}
    cluster = Nodes(initialize_head=True, head_node_args=node)
    yield cluster
    cluster.shutdown()


def test_recordings_are_anonymized_on_a_cluster_and_a_damaged_one_is_named(nodes, tmp_path):
    plan = plan_networks(make_kit(tmp_path).settings("tcp://127.0.0.1:*"))
    paths = [tmp_path / f"{seed}.aedat4" for seed in range(3)]
    for seed, path in enumerate(paths):
        write_recording(path, moving_disc(SENSOR, 0.3, seed=seed))
    paths[1].write_bytes(b"no recording")
    (tmp_path / "out").mkdir()
    tasks = [
        Task(Recording(path.name, path, partial(open_events, str(path))), tmp_path / "out" / f"{path.stem}.h5")
        for path in paths
    ]
    outcomes = {outcome.recording: outcome for outcome in OnRay(nodes.address, jobs=2).run(plan, "hdf5", tasks)}
    assert outcomes.pop("1.aedat4").error is not None
    assert {name: (each.windows, each.error) for name, each in outcomes.items()} == {
        "0.aedat4": (3, None), "2.aedat4": (3, None),
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.h5", "2.h5"]
    with h5py.File(tmp_path / "out" / "0.h5") as file:
        assert any(np.any(node[...]) for node in _arrays(file))


def _arrays(file):
    found = []
    file.visititems(lambda _, node: found.append(node) if isinstance(node, h5py.Dataset) and node.ndim else None)
    return found


def test_a_missing_cluster_is_reported():
    with pytest.raises(ConfigError, match=r"--ray auto: no Ray cluster answers.*ray start --head"):
        next(OnRay("auto").run(None, "hdf5", ()))
