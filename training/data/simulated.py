"""Generates a simulated dataset before training, in several processes, as `eventveil simulate` would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from eventveil.training.distributed.workers import in_processes
from eventveil.training.settings import SimulateSettings

CHUNK = 8  # trials per task of a process; a recording is a task of its own
Write = Callable[[Sequence[Any]], Iterable[Any]]

# The simulator compiles kernels, which other runs need not wait for: the functions below import it when they run.


def simulate_set(folder: Path, settings: SimulateSettings, workers: int, watch: Callable[[int, int], object]) -> None:
    """Write the missing trials of the dataset, or its missing visits, series and scenes.

    Raises:
        EventFileError: the folder holds another dataset, or cannot be written.
        EventError: there is no such look.
    """
    planned, write = (_recordings if settings.visits else _trials)(folder, settings)
    missing = [recording for recording in planned if not recording.path.exists()]
    done = len(planned) - len(missing)
    if workers == 1 or not missing:
        for number, _ in enumerate(write(missing), done + 1):
            watch(number, len(planned))
    else:
        chunk = 1 if settings.visits else CHUNK
        chunks = [missing[at : at + chunk] for at in range(0, len(missing), chunk)]
        with closing(in_processes(_write_all, [(write, part) for part in chunks], workers)) as finished:
            for number, _ in finished:
                done += len(chunks[number])
                watch(done, len(planned))
    if settings.visits:
        from eventveil.replay.simulation.recordings import write_lists

        write_lists(folder, planned)


def _trials(folder: Path, settings: SimulateSettings) -> tuple[Sequence[Any], Write]:
    """Return the trials of a set of gestures, and what writes some of them."""
    from eventveil.replay.simulation.dataset import check_recipe, plan, write_trials

    shots, seed, seconds = _shots(settings), settings.seed, settings.seconds
    planned = plan(folder, subjects=settings.subjects, sessions=settings.sessions)
    check_recipe(folder, seed=seed, seconds=seconds, subjects=settings.subjects, shots=shots)
    return planned, partial(write_trials, seed=seed, seconds=seconds, shots=shots)


def _recordings(folder: Path, settings: SimulateSettings) -> tuple[Sequence[Any], Write]:
    """Return the visits, series and scenes of a set, and what writes some of them."""
    from eventveil.replay.simulation.camera import film_series, film_visit
    from eventveil.replay.simulation.dataset import camera_options, check_part_recipes
    from eventveil.replay.simulation.negatives import chosen
    from eventveil.replay.simulation.recordings import plan_negatives, plan_people, write_recordings

    shots, seed = _shots(settings), settings.seed
    subjects, sessions, seconds = settings.subjects, settings.sessions, settings.seconds
    planned = plan_people(
        folder, film_visit, seed=seed, subjects=subjects, sessions=sessions, seconds=seconds, shots=shots
    )
    parts: dict[str, dict[str, Any]] = {"sequences": {"seed": seed, "seconds": seconds, "subjects": subjects}}
    if settings.series:
        people, seconds = settings.series, settings.series_seconds
        planned += plan_people(
            folder, film_series, seed=seed, subjects=people, after=subjects, seconds=seconds, shots=shots
        )
        parts["series"] = {"seed": seed, "seconds": seconds, "after": subjects, "subjects": people}
    if settings.scenes:
        kinds, takes, seconds = chosen("all"), settings.scenes, settings.scene_seconds
        planned += plan_negatives(folder, seed=seed, kinds=kinds, takes=takes, seconds=seconds, shots=shots)
        parts["negatives"] = {"seed": seed, "seconds": seconds, "takes": takes, "kinds": list(kinds)}
    camera = camera_options(shots)
    check_part_recipes(folder, {part: options | camera for part, options in parts.items()}, alone=True)
    return planned, partial(write_recordings, sensor=shots[0].sensor)


def _shots(settings: SimulateSettings) -> list[Any]:
    from eventveil.replay.simulation.camera import Shot

    return [Shot(look=look) for look in settings.looks]


def _write_all(write: Write, planned: Sequence[Any]) -> None:
    for _ in write(planned):
        pass
