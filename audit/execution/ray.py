"""The executor on several machines: each job is a task of a Ray cluster.

Every machine needs the same eventveil, and the data and OUT under the same paths, in a shared folder. The plan, with
names of trials, and the networks under attack are sent; windows and results stay in files. Use a cluster that you
control.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from eventveil.audit.execution.executors import GRACE_S, POLL_S, Failed, Steps, attempt, pack, to_exception
from eventveil.audit.execution.scheduler import Ended, Job, JobEvent, Lost, Moved
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.host.extras import require
from eventveil.host.processes import forbid_core_dumps
from eventveil.host.ray_cluster import connect
from eventveil.training.distributed.process_group import join_group

with require("ray", extra="cluster"):
    import ray as typed_in_part
    from ray import exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray: Any = typed_in_part

WHY = {
    exceptions.NodeDiedError: "its node is gone",
    exceptions.WorkerCrashedError: "its worker is gone",
    exceptions.OutOfMemoryError: "its node ran out of memory",
}


class RayExecutor:
    """Does jobs in tasks of a Ray cluster, one core each, and one GPU each if the cluster has GPUs.

    Args:
        plan: plan of the audit; its windows are prepared.
        address: address of the cluster, as "head:6379", or "auto" for the one that runs on this machine.
        slots: how many jobs at once; None: as many as the cluster has room for, which may change.

    Raises:
        ConfigError: there is no such cluster.
    """

    def __init__(self, plan: AuditPlan, address: str, slots: int | None = None) -> None:
        connect(address)
        self._max_slots = slots
        self._needs: dict[str, float] = {"num_cpus": 1}
        if plan.settings.run.device != "cpu" and ray.cluster_resources().get("GPU", 0):
            self._needs["num_gpus"] = 1
        # On this machine, because the actor must outlive every other node.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._shares = ray.remote(_Shares).options(num_cpus=0, scheduling_strategy=here).remote()
        self._packed = ray.put(pack(plan))
        self._task = ray.remote(_task).options(max_retries=0, **self._needs)
        self._under_way: dict[Any, Job] = {}
        nodes = sum(node["Alive"] for node in ray.nodes())
        self.machine = f"{'cuda' if 'num_gpus' in self._needs else 'cpu'}, a Ray cluster of {nodes} nodes"

    @property
    def slots(self) -> int:
        """How many jobs are done at once."""
        resources = ray.cluster_resources()
        room = int(resources.get("GPU" if "num_gpus" in self._needs else "CPU", 0))
        return max(1, min(room, self._max_slots or room))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            for task in self._under_way:
                ray.cancel(task, force=False)  # like Ctrl-C: the task finishes its step and saves
            if self._under_way:
                ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=GRACE_S)
        finally:
            ray.shutdown()

    def begin(self, job: Job) -> None:
        """Submit a job."""
        self._under_way[self._task.remote(self._packed, job, self._shares)] = job

    def poll(self) -> Sequence[JobEvent]:
        """Wait briefly for a task to end; if none does, return the progress of all."""
        ended, _ = ray.wait(list(self._under_way), timeout=POLL_S)
        if ended:
            return [self._end(task, self._under_way.pop(task)) for task in ended]
        return self._progress()

    def _progress(self) -> list[JobEvent]:
        names = {job.name for job in self._under_way.values()}
        try:
            shares: dict[str, float] = ray.get(self._shares.take.remote(), timeout=POLL_S)
        except exceptions.RayError:  # progress is only for display
            return []
        return [Moved(name, share) for name, share in shares.items() if name in names]

    def _end(self, task: Any, job: Job) -> JobEvent:
        try:
            outcome: Ended | Failed = ray.get(task)
        except exceptions.RayError as error:
            why = next((why for kind, why in WHY.items() if isinstance(error, kind)), f"Ray: {type(error).__name__}")
            return Lost(job.name, why)
        if isinstance(outcome, Failed):
            raise to_exception(outcome)
        return outcome


class _Shares:
    """The Ray actor to which tasks report how much of their job is done."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def report(self, name: str, share: float) -> None:
        self._shares[name] = share

    def take(self) -> dict[str, float]:
        shares, self._shares = self._shares, {}
        return shares


def _task(packed: bytes, job: Job, shares: Any) -> Ended | Failed:
    """Do a job on a machine of the cluster."""
    forbid_core_dumps()
    reporter = Steps(lambda name, share: shares.report.remote(name, share))
    reporter.name = job.name

    def workspace() -> AuditWorkspace:
        plan: AuditPlan = pickle.loads(packed)
        return AuditWorkspace(plan, join_group(plan.settings.run.device), reporter)

    return attempt(job, workspace)
