"""Ends the fork server with its supervisor, whatever happened to that, and removes its temporary files.

The fork server imports this module before any other. Elsewhere it does nothing. It also keeps the memory of the fork
server shared with the stages.

A supervisor that is killed cannot clean up. Its fork server is then woken, even if it is halted, removes the folder of
the private sockets and ends; its stages end with it (`eventveil.host.processes.die_with_parent`).
"""

from __future__ import annotations

import gc
import os
import shutil

from eventveil.host.processes import wake_with_parent

SUPERVISOR = "EVENTVEIL_SUPERVISOR"
"""The variable that tells the fork server the number of its supervisor's process, and the folder to remove."""


def _leave(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if SUPERVISOR in os.environ:
    _pid, _folder = os.environ.pop(SUPERVISOR).split(":", 1)
    wake_with_parent(int(_pid), lambda: _leave(_folder))
    # A garbage collection writes to every object that it looks at, and a page that is written to is no longer shared:
    # a single one would cost each stage 30 MB or more. So stages look only at the objects that they make themselves.
    gc.disable()
    os.register_at_fork(before=gc.freeze, after_in_child=gc.enable)
