"""What the commands of `eventveil train` share: a group of processes, progress bars, and where the results are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from eventveil.cli.options import INTERRUPTED, print_json, say, stderr

if TYPE_CHECKING:
    from eventveil.training.distributed.process_group import ProcessGroup
    from eventveil.training.engine.progress import Bars
    from eventveil.training.settings import DataSettings, RunSettings


class RunFolder(NamedTuple):
    """A run folder: its path, and the settings that say whether its raw windows stay, and where they are."""

    path: Path
    run: RunSettings
    data: DataSettings


def run_training(
    work: Callable[[ProcessGroup, Bars], dict[str, Any] | None],
    device: str,
    runs: Iterable[RunFolder],
    folder: Path,
    *,
    json: bool,
) -> dict[str, Any] | None:
    """Do some work; report that its results are in `folder`, and return them in the leading process.

    Raw windows are kept or deleted at the end, as the settings of each run say; where they disagree about one folder,
    its windows are deleted.
    """
    from eventveil.cli.retention import windows_kept
    from eventveil.training.distributed.process_group import join_group, leave_group
    from eventveil.training.engine.loop import Interrupted
    from eventveil.training.engine.progress import Bars

    group = join_group(device)
    try:
        with ExitStack() as kept, Bars(stderr, quiet=not group.leads) as bars:
            for path, run, data in runs:
                owner = group.local_rank == 0
                kept.enter_context(windows_kept(path, keep=run.keep_windows, cache=data.cache, owner=owner))
            results = work(group, bars)
    except (Interrupted, KeyboardInterrupt):
        if group.leads:
            say(f"eventveil: stopped; {folder} holds all results so far. To continue, repeat the command with --resume")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        leave_group()
    if not group.leads:
        return None
    say(f"eventveil: done; the results are in {folder}")
    if json:
        print_json({"run": str(folder), "results": results or {}})
    return results
