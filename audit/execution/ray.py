"""Who does the jobs of an audit on several machines: tasks of a Ray cluster.

Every machine needs the same eventveil, and sees the data and OUT under the same paths, on a folder that all share: what
is sent is the plan, with names of trials, and the networks that are attacked; windows and results stay in files. It has
to be a cluster of one's own.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from eventveil.audit.execution.executors import GRACE_S, MOMENT_S, Failed, Steps, attempt, packed, raised
from eventveil.audit.execution.scheduler import Ended, Job, Lost, Moved, News
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError
from eventveil.extras import require
from eventveil.training.distributed.process_group import join_group

with require("ray", extra="cluster", error=AuditError):
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
    """Does jobs in tasks of a Ray cluster, one core each, and one GPU where there are some.

    Args:
        plan: of the audit; its windows are made already.
        address: of the cluster, as "head:6379", or "auto" for the one that runs on this machine.
        slots: how many jobs at once; None: as many as there is room for, however that changes.

    Raises:
        AuditError: there is no such cluster.
    """

    def __init__(self, plan: AuditPlan, address: str, slots: int | None = None) -> None:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise AuditError(
                f"--ray {address}: no Ray cluster answers ({_first_line(error)}); start one with: ray start --head"
            ) from error
        self._most = slots
        self._needs: dict[str, float] = {"num_cpus": 1}
        if plan.settings.run.device != "cpu" and ray.cluster_resources().get("GPU", 0):
            self._needs["num_gpus"] = 1
        # On this machine, for it is to outlive every other one.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._post = ray.remote(_Post).options(num_cpus=0, scheduling_strategy=here).remote()
        self._packed = ray.put(packed(plan))
        self._task = ray.remote(_task).options(max_retries=0, **self._needs)
        self._under_way: dict[Any, Job] = {}
        nodes = sum(node["Alive"] for node in ray.nodes())
        self.machine = f"{'cuda' if 'num_gpus' in self._needs else 'cpu'}, a Ray cluster of {nodes} nodes"

    @property
    def slots(self) -> int:
        """How many jobs are done at once."""
        held = ray.cluster_resources()
        room = held.get("GPU", 0) if "num_gpus" in self._needs else held.get("CPU", 0)
        return max(1, min(int(room), self._most or int(room)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            for task in self._under_way:
                ray.cancel(task, force=False)  # as Ctrl-C there: the step is finished, and everything saved
            if self._under_way:
                ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=GRACE_S)
        finally:
            ray.shutdown()

    def begin(self, job: Job) -> None:
        """Hand a job in."""
        self._under_way[self._task.remote(self._packed, job, self._post)] = job

    def poll(self) -> Sequence[News]:
        """Wait a moment for a task to end, and ask how far the others are."""
        ended, _ = ray.wait(list(self._under_way), timeout=MOMENT_S)
        heard: list[News] = [] if ended else self._posted()
        return heard + [self._ended(task, self._under_way.pop(task)) for task in ended]

    def _posted(self) -> list[News]:
        names = {job.name for job in self._under_way.values()}
        try:
            posted: dict[str, float] = ray.get(self._post.taken.remote(), timeout=MOMENT_S)
        except exceptions.RayError:  # it is only for show
            return []
        return [Moved(name, share) for name, share in posted.items() if name in names]

    def _ended(self, task: Any, job: Job) -> News:
        try:
            told: Ended | Failed = ray.get(task)
        except exceptions.RayError as error:
            why = next((why for kind, why in WHY.items() if isinstance(error, kind)), f"Ray: {type(error).__name__}")
            return Lost(job.name, why)
        if isinstance(told, Failed):
            raise raised(told)
        return told


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Post:
    """Where tasks leave word of how far they are."""

    def __init__(self) -> None:
        self._share: dict[str, float] = {}

    def leave(self, name: str, share: float) -> None:
        self._share[name] = share

    def taken(self) -> dict[str, float]:
        held, self._share = self._share, {}
        return held


def _task(held: bytes, job: Job, post: Any) -> Ended | Failed:
    """What a machine of the cluster does."""
    reporter = Steps(lambda name, share: post.leave.remote(name, share))
    reporter.name = job.name

    def bench() -> AuditWorkspace:
        plan: AuditPlan = pickle.loads(held)
        return AuditWorkspace(plan, join_group(plan.settings.run.device), reporter)

    return attempt(job, bench)
