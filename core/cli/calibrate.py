"""`eventveil calibrate`: is what this camera sees what the network was trained on?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from eventveil.cli.options import JsonOption, SensorOption, print_json, say, stderr, stdout
from eventveil.errors import ConfigError

if TYPE_CHECKING:
    from eventveil.models.metadata import Metadata
    from eventveil.stream.calibration.profile import SourceProfile
    from eventveil.stream.settings import SourceSettings

SHOWN = 20  # hot pixels that are named


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("calibrate")(calibrate)


def calibrate(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A camera (dv://, prophesee://), a recording, simulate: ...")
    ],
    seconds: Annotated[
        float, typer.Option(min=0.01, max=600, help="How long to look, twice: as it is, then as the network sees it.")
    ] = 5.0,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The anonymizer; without, the one that comes with eventveil.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw what it saw. It shows whoever was there: only you may read the file."),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="What the training looked like; simulate: for the weights that come along."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of a source, as in scene.rotate=90."),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget the hot pixels that are remembered of this camera, and keep none.")
    ] = False,
    sensor: SensorOption = None,
    json: JsonOption = False,
) -> None:
    """Look at a camera as the network would, and tell whether that is what it was trained on.

    Tells how many events come, from which pixels, and which pixels are hot: they fire whatever they see, and are
    remembered for the camera, so that `eventveil run` leaves them out. Windows are cut as `eventveil run` would cut
    them; where they hold far more or far fewer events than in training, that is said, with what to do about it.

    With --out, a picture of it: events per pixel, the densest window as the network sees it, and one of the training.
    These are raw events of a person: nothing of them leaves this machine, and only you can read the file.

    The exit status is 0 where all is as in training, 1 where it is far from that, or cannot be told.

    For example:

    eventveil calibrate dv:// --out seen.png

    eventveil calibrate recording.raw --set scene.rotate=90 --set scene.noise_us=5000
    """
    from eventveil.config import checked
    from eventveil.models import shipped
    from eventveil.models.weights import load_weights
    from eventveil.stream.planning import window_plan
    from eventveil.stream.settings import SourceSettings, WindowSettings

    said: dict[str, Any] = {"uri": source, "sensor": sensor and str(sensor), "on_disorder": "raise"}
    name = "eventveil calibrate"
    settings = checked(SourceSettings, said, overrides or [], name=name, example="scene.rotate=90")
    path = weights or shipped.ANONYMIZER
    trained = load_weights(path).metadata
    if trained.role != "anonymizer":
        raise ConfigError(f"--weights {path}: expected an anonymizer's, got {trained.role}")
    if forget:
        settings = settings.model_copy(update={"scene": settings.scene.model_copy(update={"hot_pixels": "off"})})
    plan = window_plan(WindowSettings(), trained, path)
    seen = _look(settings, plan, seconds)
    if forget:
        _forget(seen)
    picture = _draw(seen, _beside(beside, weights, name), plan, seconds, out)
    told = _told(seen, settings, trained) | {"picture": None if picture is None else str(picture)}
    (print_json if json else _print)(told)
    if picture is not None:
        say(f"{picture}: shows raw events of whoever was there; only you may read it, and it is for nobody else")
    if told["remark"] is not None:
        say(f"eventveil: {told['remark']}")
        raise typer.Exit(1)


def _look(settings: SourceSettings, plan: Any, seconds: float) -> SourceProfile:
    from eventveil.stream.calibration.profile import profile_source

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.1f} of {task.total:.1f} s")
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(f"looking at {settings.uri}", total=2 * seconds)
        try:
            return profile_source(settings, plan, seconds, lambda done: progress.update(task, completed=done))
        except KeyboardInterrupt:
            say("eventveil: interrupted; nothing was written or remembered")
            raise typer.Exit(130) from None


def _beside(beside: str | None, weights: Path | None, name: str) -> SourceSettings | None:
    """What the training looked like, as somebody says, or as is known of the weights that come along."""
    from eventveil.config import checked
    from eventveil.stream.settings import SourceSettings

    if beside is None and weights is not None:
        return None
    return checked(SourceSettings, {"uri": beside or "simulate:"}, name=name)


def _draw(
    seen: SourceProfile, beside: SourceSettings | None, plan: Any, seconds: float, out: Path | None
) -> Path | None:
    if out is None:
        return None
    from eventveil.stream.calibration.image import draw_sheet, write_private

    write_private(out, draw_sheet(seen, None if beside is None else _look(beside, plan, seconds)))
    return out


def _forget(seen: SourceProfile) -> None:
    from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile

    if seen.serial is None:
        say("eventveil: --forget: nothing is remembered of what is no live camera with a serial number")
    elif HotPixelFile(seen.serial, seen.sensor).forget():
        say(f"eventveil: the hot pixels of {seen.serial} are forgotten")
    else:
        say(f"eventveil: nothing was remembered of {seen.serial}")


def _told(seen: SourceProfile, settings: SourceSettings, trained: Metadata) -> dict[str, Any]:
    """What was seen, as plain values; no event among them, only how many there were."""
    rates = seen.per_pixel / seen.seconds if seen.seconds else np.zeros(seen.per_pixel.shape)
    rows, columns = np.nonzero(seen.hot)
    hottest = np.argsort(-rates[rows, columns], kind="stable")
    density = None if trained.scene is None else trained.scene.density
    return {
        "source": settings.uri,
        "sensor": str(seen.sensor),
        "serial": seen.serial,
        "seconds": round(seen.seconds, 6),
        "events": seen.events,
        "rate_hz": round(seen.events / seen.seconds, 1) if seen.seconds else None,
        "on_share": round(seen.on / seen.events, 4) if seen.events else None,
        "rate_per_pixel_hz": {f"p{share}": round(float(np.percentile(rates, share)), 3) for share in (50, 90, 99, 100)},
        "hot_pixels": [
            {"x": int(columns[k]), "y": int(rows[k]), "rate_hz": round(float(rates[rows[k], columns[k]]), 1)}
            for k in hottest
        ],
        "looked_at": {"crop": seen.view.crop, "field": seen.view.field},
        "windows": len(seen.density),
        "density": [round(float(share), 3) for share in np.percentile(seen.density, (0, 50, 100))]
        if seen.density
        else None,
        "trained_density": density,
        "remark": _remark(seen, density),
    }


def _remark(seen: SourceProfile, density: tuple[float, float, float] | None) -> str | None:
    if not seen.events:
        return "not one event came: is the lens open, does anything move, is the camera the right one?"
    if not seen.density:
        return "it was shorter than one window: whether events are as dense as in training cannot be told"
    if density is None:
        return "the weights do not tell how dense events were in their training: nothing to compare with"
    return seen.training_mismatch(density)


def _print(told: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    hot = told["hot_pixels"]
    named = ", ".join(f"({one['x']}, {one['y']}) {one['rate_hz']:,.0f}/s" for one in hot[:SHOWN])
    more = f" and {len(hot) - SHOWN} more" if len(hot) > SHOWN else ""
    shown = {
        "sensor": told["sensor"] + (f", serial {told['serial']}" if told["serial"] else ""),
        "looked for": f"{told['seconds']:.3f} s",
        "events": f"{told['events']:,}",
        "events per second": "-" if told["rate_hz"] is None else f"{told['rate_hz']:,.0f}",
        "brighter": "-" if told["on_share"] is None else f"{told['on_share']:.0%}",
        "events per second and pixel": ", ".join(
            f"{key} {value:,.1f}" for key, value in told["rate_per_pixel_hz"].items()
        ),
        "hot pixels": f"{len(hot)}: {named}{more}" if hot else "none",
        "looked at": _part(told["looked_at"], told["sensor"]),
        "density of windows": _density(told["density"]),
        "in training": _density(told["trained_density"]),
    }
    for key, value in shown.items():
        table.add_row(key, value)
    stdout.print(table)


def _part(looked_at: dict[str, Any], sensor: str) -> str:
    crop, field = looked_at["crop"], looked_at["field"]
    part = sensor if crop is None else f"{crop[2]}x{crop[3]} at ({crop[0]}, {crop[1]})"
    return part if field is None else f"{part}, thinned to {field[0]}x{field[1]} at most"


def _density(numbers: Any) -> str:
    if numbers is None:
        return "not known"
    low, middle, high = numbers
    return f"{middle:.3g} events per pixel of a window ({low:.3g} to {high:.3g})"
