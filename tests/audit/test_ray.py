"""An audit on a Ray cluster of two nodes: killing a node and then a worker does not change the figures."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest
from rich.console import Console
from small_audits import audit, settings
from small_trainings import planted

from eventveil.audit.audit_log import AuditLog
from eventveil.audit.auditor import Auditor
from eventveil.audit.execution.progress import AuditProgress
from eventveil.audit.subjects import Subject
from eventveil.errors import ConfigError
from eventveil.training.networks.baselines import Gaussian, Unchanged

pytest.importorskip("ray", reason="no Ray here: pip install '.[cluster]'")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(900),  # a minute alone: each process of Ray imports torch
    pytest.mark.filterwarnings("default"),  # Ray itself causes warnings
]

from ray.cluster_utils import Cluster as Nodes  # noqa: E402

from eventveil.audit.execution.ray import RayExecutor  # noqa: E402

PATIENCE_S = 200.0
SMALL = {
    "attackers": {"architectures": ["plain"], "epochs": 20},
    "window": {"per_trial": 4, "size": [8, 8]},
    "linking": [1],
    "run": {"validate_every": 4},
}


@pytest.fixture
def nodes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # nice workers would starve on a busy machine
    node = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024}
    cluster = Nodes(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    yield cluster, second
    cluster.shutdown()


def at_work():
    """Return the ids of Ray workers that do one of our tasks."""
    listed = subprocess.run(["ps", "-ax", "-o", "pid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    return [int(row[0]) for row in rows if len(row) == 2 and row[1].startswith("ray::_task")]


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_lost_node_and_a_lost_worker_change_no_figure_and_are_named(nodes, tmp_path):
    cluster, second = nodes
    audit_settings = settings(planted(tmp_path / "planted", train=5, test=3), **SMALL)
    lines = []

    def harm():
        until(lambda: len(at_work()) == 2)  # one on each node
        cluster.remove_node(second, allow_graceful=False)
        until(lambda: any(text.startswith("lost: ") for text in lines) and at_work())
        os.kill(at_work()[0], signal.SIGKILL)

    def on_cluster():
        subjects = [Subject("raw", Unchanged()), Subject("noisy", Gaussian(0.5), audited=True)]
        progress = AuditProgress(Console(quiet=True), lines.append)
        auditor = Auditor(audit_settings, subjects, tmp_path / "out", progress, AuditLog(tmp_path / "key.pem"))
        return auditor.run(lambda plan, _: RayExecutor(plan, cluster.address))

    harmful = threading.Thread(target=harm)
    harmful.start()
    report = on_cluster()
    harmful.join()
    reasons = [reason for one in report.repeated for reason in one.reasons]
    assert reasons.count("its worker is gone") == 1
    assert reasons.count("its node is gone") == 1
    assert report.made.machine.endswith("cpu, a Ray cluster of 2 nodes")
    undisturbed = audit(tmp_path / "other", audit_settings, ("noisy", Gaussian(0.5)))
    assert report.subjects == undisturbed.subjects


def test_a_missing_cluster_is_reported():
    with pytest.raises(ConfigError, match=r"--ray auto: no Ray cluster answers.*ray start --head"):
        RayExecutor(None, "auto")
