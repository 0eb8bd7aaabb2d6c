"""Anonymizes recordings on the machines of a Ray cluster.

Every machine needs the same eventveil, and recordings, weights and the output folder under the same paths, in a shared
folder. Names and paths are sent; events and windows stay in files. Use a cluster that you control.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import cache
from typing import Any

from eventveil.host.extras import require
from eventveil.host.processes import forbid_core_dumps
from eventveil.host.ray_cluster import connect
from eventveil.stream.batch.work import Task, TaskOutcome, Worker
from eventveil.stream.planning.plan import PipelinePlan

with require("ray", extra="cluster"):
    import ray as typed_in_part
    from ray import exceptions

ray: Any = typed_in_part


class OnRay:
    """Does each task on one core of a cluster.

    Args:
        address: address of the cluster, as "head:6379", or "auto" for the one that runs on this machine.
        jobs: how many tasks at once; None: as many as the cluster has cores.
    """

    def __init__(self, address: str, jobs: int | None = None) -> None:
        self._address = address
        self._jobs = jobs

    def run(self, plan: PipelinePlan, form: str, tasks: Iterable[Task]) -> Generator[TaskOutcome, None, None]:
        """Do all tasks.

        Raises:
            ConfigError: there is no such cluster.
        """
        connect(self._address)
        waiting, under_way = iter(tasks), dict[Any, Task]()
        try:
            remote, setup = ray.remote(_do).options(num_cpus=1, max_retries=1), ray.put((plan, form))
            while True:
                slots = self._jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
                while len(under_way) < slots and (task := next(waiting, None)) is not None:
                    under_way[remote.remote(setup, task)] = task
                if not under_way:
                    return
                for done in ray.wait(list(under_way), num_returns=1)[0]:
                    yield _outcome(done, under_way.pop(done))
        finally:
            for task_id in under_way:
                ray.cancel(task_id, force=False)
            ray.shutdown()


def _outcome(done: Any, task: Task) -> TaskOutcome:
    try:
        outcome: TaskOutcome = ray.get(done)
    except exceptions.RayTaskError as error:
        raise error.cause from error
    except exceptions.RayError as error:
        name = task.recording.name
        return TaskOutcome(name, error=f"{name}: its node or its process is gone, twice ({type(error).__name__})")
    return outcome


@cache
def _worker(setup: bytes) -> Worker:
    import pickle

    return Worker(*pickle.loads(setup))


def _do(setup: tuple[PipelinePlan, str], task: Task) -> TaskOutcome:
    """Do a task on a machine of the cluster; its process keeps the networks for the next one."""
    import pickle

    forbid_core_dumps()
    return _worker(pickle.dumps(setup)).do(task)
