"""`eventveil simulate`: write datasets of simulated people, and of scenes without a gesture."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from eventveil.cli.options import ForceOption, JsonOption, print_json, say, stderr
from eventveil.events import Sensor

if TYPE_CHECKING:
    from eventveil.io.source import EventSource
    from eventveil.replay.simulation.camera import Shot

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the dataset into.")]
Subjects = Annotated[int, typer.Option(min=2, max=999, help="Number of people; 23 of 29 are for training.")]
Sessions = Annotated[int, typer.Option(min=1, max=5, help="Sessions of each person, each with different lighting.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the people and of everything that happens.")]
Distance = Annotated[
    float, typer.Option(min=0.3, max=10, help="Camera distance; at 2, people appear half as large as at 1.")
]
CameraMotion = Annotated[float, typer.Option(min=0, max=5, help="Amplitude of camera sway, in pixels.")]

Look = Annotated[
    str,
    typer.Option(
        help="Look of people, rooms and noise: plain, dvs-gesture or varied (docs/simulator.md). With several, as "
        "in plain,varied, people or takes get them in turn."
    ),
]


class Kinds(TyperGroup):
    """The kinds of datasets; if a folder is given in place of a kind, the error names the right command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begins with."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"expected {', '.join(self.commands)}, got {args[0]!r}; as in: simulate gestures {args[0]}")
        return super().resolve_command(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the `simulate` commands to the program."""
    simulate = typer.Typer(
        cls=Kinds,
        no_args_is_help=True,
        help="Write simulated datasets: gestures, visits with gestures in them, or scenes without any; or convert a "
        "video to events (docs/simulator.md). The same options give the same events on every machine. To continue an "
        "interrupted run, run the command again. To play simulated people live, without a dataset, use "
        "`eventveil run simulate:`.",
    )
    simulate.command("gestures")(gestures)
    simulate.command("sequences")(sequences)
    simulate.command("negatives")(negatives)
    simulate.command("video")(video)
    app.add_typer(simulate, name="simulate")


def gestures(
    out: Out,
    subjects: Subjects = 29,
    sessions: Sessions = 4,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of a trial.")] = 6.0,
    seed: Seed = 0,
    distance: Distance = 1.0,
    camera_motion: CameraMotion = 0.0,
    look: Look = "plain",
    json: JsonOption = False,
) -> None:
    """Write trials of people who make one of the eleven gestures each, in tonic's layout of DVS128 Gesture.

    To add sessions, run the command again with more.

    Example:  eventveil simulate gestures people --subjects 6 --sessions 2 --seconds 2
    """
    from eventveil.replay.simulation.dataset import (  # imported late: it compiles kernels
        check_recipe,
        plan,
        write_trials,
    )

    shots = _shots(distance, camera_motion, look)
    trials = plan(out, subjects=subjects, sessions=sessions)
    check_recipe(out, seed=seed, seconds=seconds, subjects=subjects, shots=shots)
    _show("trials", write_trials(trials, seed=seed, seconds=seconds, shots=shots), trials)
    _report(out, {"trials": len(trials), "people": subjects}, json=json)


def sequences(
    out: Out,
    subjects: Subjects = 29,
    sessions: Sessions = 4,
    seconds: Annotated[float, typer.Option(min=10, max=600, help="Length of a visit.")] = 60.0,
    seed: Seed = 0,
    distance: Distance = 1.0,
    camera_motion: CameraMotion = 0.0,
    look: Look = "plain",
    json: JsonOption = False,
) -> None:
    """Write visits: people come, make gestures at any moment, do other things, and leave; every moment has a label.

    The layout is that of DVS128 Gesture's original release: a recording and a table of labels for each visit. Besides
    the eleven gestures there are "nobody" and "person, no gesture".

    Example:  eventveil simulate sequences visits --subjects 2 --sessions 1 --seconds 20
    """
    from eventveil.replay.simulation.camera import film_visit
    from eventveil.replay.simulation.dataset import camera_options, check_part_recipes
    from eventveil.replay.simulation.recordings import plan_people, write_lists, write_recordings

    shots = _shots(distance, camera_motion, look)
    visits = plan_people(out, film_visit, seed=seed, subjects=subjects, sessions=sessions, seconds=seconds, shots=shots)
    options = {"seed": seed, "seconds": seconds, "subjects": subjects} | camera_options(shots)
    check_part_recipes(out, {"sequences": options})
    _show("visits", write_recordings(visits, shots[0].sensor), visits)
    write_lists(out, visits)
    _report(out, {"visits": len(visits), "people": subjects}, json=json)


def video(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Video of any format that PyAV decodes.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Recording to write, in the format of its extension.")],
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Scale frames to this size [that of the video].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sensor's pixels and noise.")] = 0,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Convert a video to events with the simulated sensor. Needs the extra `video`.

    Example:  eventveil simulate video walk.mp4 walk.aedat4 --size 640x480
    """
    from eventveil.io.convert import convert
    from eventveil.replay.simulation.video import VideoSource

    scaled = None if size is None else Sensor.parse(size)
    with VideoSource(file, size=None if scaled is None else (scaled.width, scaled.height), seed=seed) as source:
        events = convert(cast("EventSource", source), out, replace=force)
    if json:
        print_json({"out": str(out), "events": events})
    else:
        say(f"eventveil: wrote {events:,} events to {out}")


def negatives(
    out: Out,
    kinds: Annotated[
        str, typer.Option(help="Which scenes, as in fan,rain: kinds or groups (room, camera, objects, people, all).")
    ] = "all",
    takes: Annotated[int, typer.Option(min=2, max=999, help="Takes of each kind; one in five is for tests.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of a take.")] = 6.0,
    seed: Seed = 0,
    distance: Distance = 1.0,
    camera_motion: CameraMotion = 0.0,
    look: Look = "plain",
    json: JsonOption = False,
) -> None:
    """Write scenes in which nobody makes a gesture: empty rooms, moving cameras, things that move, people at rest.

    The layout is that of `eventveil simulate sequences`, so both may share a folder. Each take shows another room.

    Example:  eventveil simulate negatives scenes --kinds fan,leaves,people --takes 2 --seconds 3
    """
    from eventveil.replay.simulation.dataset import camera_options, check_part_recipes
    from eventveil.replay.simulation.negatives import chosen
    from eventveil.replay.simulation.recordings import plan_negatives, write_lists, write_recordings

    shots = _shots(distance, camera_motion, look)
    scenes = plan_negatives(out, seed=seed, kinds=chosen(kinds), takes=takes, seconds=seconds, shots=shots)
    options = {"seed": seed, "seconds": seconds, "takes": takes, "kinds": list(chosen(kinds))} | camera_options(shots)
    check_part_recipes(out, {"negatives": options})
    _show("scenes", write_recordings(scenes, shots[0].sensor), scenes)
    write_lists(out, scenes)
    _report(out, {"scenes": len(scenes), "kinds": len(chosen(kinds))}, json=json)


def _report(out: Path, counts: dict[str, int], *, json: bool) -> None:
    """Report what was written, as in "wrote 24 trials of 6 people to OUT"."""
    if json:
        print_json({"out": str(out), **counts})
        return
    (what, number), (of, others) = counts.items()
    say(f"eventveil: wrote {number} {what} of {others} {of} to {out}")


def _shots(distance: float, camera_motion: float, looks: str) -> list[Shot]:
    from eventveil.replay.simulation.camera import Shot

    return [Shot(distance=distance, camera_motion=camera_motion, look=look) for look in looks.split(",")]


def _show(name: str, done: Iterable[Any], planned: Sized) -> None:
    """Work through `done`, with a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr) as progress:
        task = progress.add_task(name, total=len(planned))
        for _ in done:
            progress.advance(task)
