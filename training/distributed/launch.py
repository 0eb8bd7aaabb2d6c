"""Starts the processes that train together, and stops them together.

A single machine needs no configuration. On several machines, start the same command on each with `--num-nodes`, and set
MASTER_ADDR, MASTER_PORT (the first machine) and NODE_RANK (this machine) in the environment. `torchrun` sets these
itself; start the command without `--devices` under it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from eventveil.errors import ConfigError
from eventveil.host.addresses import free_port
from eventveil.host.processes import module_command

GRACE_S = 20.0  # for the others, when one has failed


def launch(command: Sequence[str], devices: int, nodes: int) -> int:
    """Run a command once for each device of this machine and return the first exit status that is not 0, or 0.

    Ctrl-C reaches all processes of a terminal; each ends its step. When one fails, the others are ended.

    Raises:
        ConfigError: several machines, and the environment does not identify this one among them.
    """
    address, port, node = _rendezvous(nodes)
    processes = []
    for local_rank in range(devices):
        environment = {
            **os.environ,
            "MASTER_ADDR": address,
            "MASTER_PORT": port,
            "WORLD_SIZE": str(devices * nodes),
            "RANK": str(node * devices + local_rank),
            "LOCAL_RANK": str(local_rank),
        }
        program = module_command("eventveil.cli", *command)
        # In its own session: Ctrl-C comes from here, and not from the terminal a second time.
        processes.append(subprocess.Popen(program, env=environment, start_new_session=True))
    previous = {
        number: signal.signal(number, _pass_on(processes, number)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return _wait(processes)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _pass_on(processes: list[subprocess.Popen[bytes]], number: int):  # type: ignore[no-untyped-def]
    def handle(*_: object) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    return handle


def _wait(processes: list[subprocess.Popen[bytes]]) -> int:
    while all(process.poll() in (None, 0) for process in processes):
        if all(process.poll() == 0 for process in processes):
            return 0
        time.sleep(0.1)
    failed = next(process.returncode for process in processes if process.poll() not in (None, 0))
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return failed if failed > 0 else 128 - failed


def _rendezvous(nodes: int) -> tuple[str, str, int]:
    if nodes > 1:
        names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
        missing = [name for name in names if name not in os.environ]
        if missing:
            raise ConfigError(
                f"--num-nodes {nodes}: set {', '.join(names)} in the environment of each machine; missing: {missing}"
            )
        node = os.environ["NODE_RANK"]
        if node not in map(str, range(nodes)):  # the others would wait for this machine for hours
            raise ConfigError(f"NODE_RANK: expected 0 to {nodes - 1}, another on each machine, got {node!r}")
        return os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], int(node)
    return "127.0.0.1", str(free_port()), 0
