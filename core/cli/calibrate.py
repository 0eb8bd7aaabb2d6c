"""`eventveil calibrate`: check whether a camera's events resemble the training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from eventveil.cli.options import (
    INTERRUPTED,
    AnonymizerOption,
    ForceOption,
    JsonOption,
    OutFileOption,
    SensorOption,
    check_out,
    print_json,
    say,
    set_option,
    stderr,
    stdout,
)
from eventveil.errors import ConfigError

if TYPE_CHECKING:
    from eventveil.models.metadata import Metadata
    from eventveil.stream.owner.calibration.profile import SourceProfile
    from eventveil.stream.settings.pipeline import SourceSettings

MAX_HOT_PIXELS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("calibrate")(calibrate)


def calibrate(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A camera (dv://, prophesee://), a recording, a dataset or simulate:."),
    ],
    seconds: Annotated[
        float,
        typer.Option(min=0.01, max=600, help="Length of each of two measurements: raw, then as the network sees it."),
    ] = 5.0,
    weights: AnonymizerOption = None,
    out: OutFileOption = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="Source that resembles the training data [simulate: for the shipped weights]."
        ),
    ] = None,
    overrides: Annotated[list[str] | None, set_option("scene.rotate=90")] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Delete the stored hot pixels of this camera, and store no new ones.")
    ] = False,
    sensor: SensorOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Measure a camera's events and compare them with the training data of the anonymizer.

    Reports the event rate, its distribution over pixels, and the hot pixels, which fire constantly. Hot pixels are
    stored for the camera, and `eventveil run` then ignores them. Windows are cut as `eventveil run` cuts them; if they
    hold far more or far fewer events than in training, the command warns and suggests a remedy. Without --weights, it
    compares with the shipped anonymizer.

    --out FILE.png draws events per pixel, the densest window as the network sees it, and a window of the training
    data. The picture shows raw events, so people can be recognised in it: only you can read the file, and it never
    leaves this machine.

    Exit status 0: the events resemble the training data. 1: they differ greatly, or cannot be compared.

    For example:

    eventveil calibrate dv:// --out seen.png

    eventveil calibrate recording.raw --set scene.rotate=90 --set scene.noise_us=5000
    """
    from eventveil.config import checked
    from eventveil.models import shipped
    from eventveil.models.header import read_metadata
    from eventveil.stream.planning.planner import window_plan
    from eventveil.stream.settings.pipeline import SourceSettings, WindowSettings

    if out is not None:
        check_out(out, force=force)
    values: dict[str, Any] = {"uri": source, "sensor": sensor and str(sensor), "on_disorder": "raise"}
    name = "eventveil calibrate"
    settings = checked(SourceSettings, values, overrides or [], name=name, example="scene.rotate=90")
    weights = weights or Path("shipped")
    path = shipped.files_of(weights)[0]
    trained = read_metadata(path)
    if trained.role != "anonymizer":
        raise ConfigError(f"--weights {path}: expected the weights of an anonymizer, got {trained.role}")
    if forget:
        settings = settings.model_copy(update={"scene": settings.scene.model_copy(update={"hot_pixels": "off"})})
    plan = window_plan(WindowSettings(), trained, path)
    profile = _measure(settings, plan, seconds)
    if forget:
        _forget(profile)
    if out is not None:
        from eventveil.stream.owner.calibration.image import draw_sheet, write_private

        reference = _reference(beside or ("simulate:" if shipped.is_name(weights) else None), name)
        training = None if reference is None else _measure(reference, plan, seconds)
        write_private(out, draw_sheet(profile, training), replace=force)
    report = _report(profile, settings, trained) | {"picture": None if out is None else str(out)}
    (print_json if json else _print)(report)
    if out is not None:
        say(f"{out}: shows raw events of the people in view; only you may read it, do not share it")
    if report["remark"] is not None:
        say(f"eventveil: {report['remark']}")
        raise typer.Exit(1)


def _measure(settings: SourceSettings, plan: Any, seconds: float) -> SourceProfile:
    from rich.progress import BarColumn, Progress, TextColumn

    from eventveil.stream.owner.calibration.profile import profile_source

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.1f} of {task.total:.1f} s")
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(f"measuring {settings.uri}", total=2 * seconds)
        try:
            return profile_source(settings, plan, seconds, lambda done: progress.update(task, completed=done))
        except KeyboardInterrupt:
            say("eventveil: interrupted; nothing was written or stored")
            raise typer.Exit(INTERRUPTED) from None


def _reference(beside: str | None, name: str) -> SourceSettings | None:
    """Return the settings of a source that resembles the training data; None if none is known for the weights."""
    from eventveil.config import checked
    from eventveil.stream.settings.pipeline import SourceSettings

    return None if beside is None else checked(SourceSettings, {"uri": beside}, name=name)


def _forget(profile: SourceProfile) -> None:
    from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile

    if profile.serial is None:
        say("eventveil: --forget: hot pixels are stored only for live cameras with a serial number")
    elif HotPixelFile(profile.serial, profile.sensor).forget():
        say(f"eventveil: deleted the stored hot pixels of {profile.serial}")
    else:
        say(f"eventveil: no hot pixels were stored for {profile.serial}")


def _report(profile: SourceProfile, settings: SourceSettings, trained: Metadata) -> dict[str, Any]:
    """Return the measurement as plain values: numbers of events, never events."""
    import numpy as np

    rates = profile.per_pixel / profile.seconds if profile.seconds else np.zeros(profile.per_pixel.shape)
    rows, columns = np.nonzero(profile.hot)
    hottest = np.argsort(-rates[rows, columns], kind="stable")
    density = None if trained.scene is None else trained.scene.density
    return {
        "source": settings.uri,
        "sensor": str(profile.sensor),
        "serial": profile.serial,
        "seconds": round(profile.seconds, 6),
        "events": profile.events,
        "rate_hz": round(profile.events / profile.seconds, 1) if profile.seconds else None,
        "on_share": round(profile.on / profile.events, 4) if profile.events else None,
        "rate_per_pixel_hz": {f"p{share}": round(float(np.percentile(rates, share)), 3) for share in (50, 90, 99, 100)},
        "hot_pixels": [
            {"x": int(columns[k]), "y": int(rows[k]), "rate_hz": round(float(rates[rows[k], columns[k]]), 1)}
            for k in hottest
        ],
        "looked_at": {"crop": profile.view.crop, "field": profile.view.field},
        "windows": len(profile.density),
        "density": [round(float(share), 3) for share in np.percentile(profile.density, (0, 50, 100))]
        if profile.density
        else None,
        "trained_density": density,
        "remark": _remark(profile, density),
    }


def _remark(profile: SourceProfile, density: tuple[float, float, float] | None) -> str | None:
    if not profile.events:
        return "no events: check the lens cap, that something moves, and that this is the right camera"
    if not profile.density:
        return "the source is shorter than one window: its event density cannot be compared with the training data"
    if density is None:
        return "the weights do not contain the event density of their training data: nothing to compare with"
    return profile.training_mismatch(density)


def _print(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    hot = report["hot_pixels"]
    listed = ", ".join(f"({one['x']}, {one['y']}) {one['rate_hz']:,.0f}/s" for one in hot[:MAX_HOT_PIXELS_SHOWN])
    more = f" and {len(hot) - MAX_HOT_PIXELS_SHOWN} more" if len(hot) > MAX_HOT_PIXELS_SHOWN else ""
    rows = {
        "sensor": report["sensor"] + (f", serial {report['serial']}" if report["serial"] else ""),
        "measured for": f"{report['seconds']:.3f} s",
        "events": f"{report['events']:,}",
        "events per second": "-" if report["rate_hz"] is None else f"{report['rate_hz']:,.0f}",
        "brighter": "-" if report["on_share"] is None else f"{report['on_share']:.0%}",
        "events per second and pixel": ", ".join(
            f"{key} {value:,.1f}" for key, value in report["rate_per_pixel_hz"].items()
        ),
        "hot pixels": f"{len(hot)}: {listed}{more}" if hot else "none",
        "used by the network": _area(report["looked_at"], report["sensor"]),
        "density of windows": _density(report["density"]),
        "in training": _density(report["trained_density"]),
    }
    for key, value in rows.items():
        table.add_row(key, value)
    stdout.print(table)


def _area(view: dict[str, Any], sensor: str) -> str:
    crop, field = view["crop"], view["field"]
    area = sensor if crop is None else f"{crop[2]}x{crop[3]} at ({crop[0]}, {crop[1]})"
    return area if field is None else f"{area}, thinned to at most {field[0]}x{field[1]}"


def _density(numbers: Any) -> str:
    if numbers is None:
        return "unknown"
    low, middle, high = numbers
    return f"{middle:.3g} events per pixel of a window ({low:.3g} to {high:.3g})"
