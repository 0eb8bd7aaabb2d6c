"""The log of an installed service. systemd keeps it in a namespace of its own, so it can be deleted alone."""

from __future__ import annotations

import subprocess

from eventveil.errors import ConfigError
from eventveil.service.paths import ServicePaths


def delete_logs(paths: ServicePaths) -> None:
    """Delete the log of a service.

    Raises:
        ConfigError: journalctl is missing, or fails.
    """
    # Only closed files can be deleted: --rotate closes those that are being written.
    command = ["journalctl", f"--namespace={paths.unit_name}", "--rotate", "--vacuum-time=1us"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"{command[0]}: cannot be run ({error.strerror}); the log was not deleted") from None
    if completed.returncode != 0:
        raise ConfigError(f"{' '.join(command)}: {completed.stderr.strip() or 'failed'}; repeat this as root")
