"""The connection to a Ray cluster, for the commands that take `--ray`."""

from __future__ import annotations

import logging
from typing import Any

from eventveil.errors import ConfigError
from eventveil.host.extras import require

with require("ray", extra="cluster"):
    import ray as typed_in_part

ray: Any = typed_in_part


def connect(address: str) -> None:
    """Connect this process to a cluster; `ray.shutdown()` ends that.

    Args:
        address: address of the cluster, as "head:6379", or "auto" for the one that runs on this machine.

    Raises:
        ConfigError: there is no such cluster.
    """
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"--ray {address}: no Ray cluster answers ({first_line}); start one with: ray start --head"
        ) from error
