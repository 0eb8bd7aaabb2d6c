"""`eventveil show`: raw events next to what a pipeline would publish, for the owner alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventveil.cli.networks import with_networks
from eventveil.cli.options import (
    BookOption,
    JsonOption,
    SensorOption,
    WeightsOption,
    damage_option,
    disorder_option,
    on_signals,
    say,
    say_json,
)
from eventveil.errors import ConfigError
from eventveil.host.extras import require_line

if TYPE_CHECKING:
    from eventveil.stream.planning.plan import PipelinePlan


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("show")(show)


def show(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A recording, or any other source that `eventveil run` takes.")
    ],
    weights: WeightsOption = None,
    book: BookOption = None,
    firenet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="FireNet's weights, to show reconstructions too (docs/audit.md names their source).",
        ),
    ] = None,
    start: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Begin at this time of a recording.")] = 0.0,
    sensor: SensorOption = None,
    on_disorder: Annotated[str | None, disorder_option()] = None,
    on_damage: Annotated[str | None, damage_option()] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: a free one.")] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for pictures that you save.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Show raw events next to what a pipeline would publish, in a web page for you alone, until Ctrl-C.

    Each --weights is an anonymizer to switch to, trained or untrained [shipped]. With FireNet's weights, the page also
    shows what an attacker reconstructs from both sides. Watch live, or move through a recording. Save a picture, or
    three seconds as an animation.

    RAW EVENTS SHOW PEOPLE. The page is served on 127.0.0.1 only, and opens only with the token in the printed address:
    keep that address to yourself. Without a terminal, a log would keep it: it is then in a private file, whose name is
    printed. The command publishes nothing, and writes only what you save, readable by you alone.

    For example:

    eventveil show trial.aedat4

    eventveil show simulate: --weights shipped --weights noisy-channel --firenet firenet_1000.pth.tar
    """
    require_line("eventveil show")
    from eventveil.stream.owner.show.serve import serve_show

    values = {"uri": source, "start_s": start, "sensor": sensor and str(sensor), "on_disorder": on_disorder}
    values |= {"on_damage": on_damage}
    given = {key: value for key, value in values.items() if value is not None}
    plans = plans_of(given, weights or [Path("shipped")], book)
    stopped: list[bool] = []
    on_signals(lambda: stopped.append(True))
    told, tell = (sys.stdout, say_json) if json else (sys.stderr, say)
    aloud = told.isatty()
    serve_show(plans, firenet=firenet, port=port, out=out, say=tell, aloud=aloud, stop=lambda: bool(stopped))


def plans_of(source: dict[str, Any], weights: list[Path], book: Path | None = None) -> dict[str, PipelinePlan]:
    """Return the plan of each anonymizer, by the name of its weights."""
    from eventveil.config import run_settings
    from eventveil.replay.player.sources import look_for
    from eventveil.stream.planning.planner import plan_networks

    settings = run_settings({"sources": [source]}, name="eventveil show")
    look_for(settings.sources[0].where)
    plans: dict[str, PipelinePlan] = {}
    for path in weights:
        if str(path) in plans:
            raise ConfigError(f"--weights {path}: given twice; leave one out")
        plans[str(path)] = plan_networks(with_networks(settings, [path], None, {"book": book, "allow_untrained": True}))
    return plans
