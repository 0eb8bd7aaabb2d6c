"""`eventveil weights`: import and show weights files, initialise untrained ones, and round them to half precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Column, Table

from eventveil.cli.options import ForceOption, JsonOption, OutFileOption, check_out, print_json, say, stdout
from eventveil.errors import ConfigError
from eventveil.host.extras import require_line

if TYPE_CHECKING:
    from torch import nn

    from eventveil.models.kinds import Role

Bins = Annotated[int, typer.Option(min=1, help="Bins per window.")]
Hop = Annotated[int | None, typer.Option(min=1, help="Bins from one window to the next [as many as --bins].")]
Size = Annotated[str, typer.Option(metavar="WxH", help="Width and height of a window in pixels.")]
LabelsOption = Annotated[str | None, typer.Option(help="Class names of a classifier, in order, separated by commas.")]


def register(app: typer.Typer) -> None:
    """Add the `weights` commands to the program."""
    weights = typer.Typer(
        no_args_is_help=True,
        help="Import and show weights files, initialise untrained ones, and round them to half precision.",
    )
    published = typer.Typer(no_args_is_help=True, help="Import published weights.")
    published.command("anonynoise")(import_anonynoise)
    published.command("event-reid")(import_event_reid)
    weights.add_typer(published, name="import")
    weights.command("show")(show)
    weights.command("init")(init)
    weights.command("half")(half)
    app.add_typer(weights, name="weights")


def import_anonynoise(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="State dict (.pth) saved by AnonyNoise's published code.")
    ],
    out: OutFileOption = None,
    role: Annotated[
        str | None, typer.Option(help="anonymizer, target, identity or denoiser [detected from the contents].")
    ] = None,
    bins: Bins = 5,
    bin_us: Annotated[
        int | None, typer.Option(min=1, help="Microseconds per bin [a window is a whole recording].")
    ] = None,
    hop: Hop = None,
    size: Size = "128x128",
    labels: LabelsOption = None,
    noise_std: Annotated[float, typer.Option(min=0, help="Standard deviation of the noise during training.")] = 1.0,
    output: Annotated[str, typer.Option(help="Output variant of the anonymizer: x+f*n, f or x+f.")] = "x+f*n",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Import a state dict of AnonyNoise's published code, values unchanged.

    Without --out, the file is written next to FILE, with the ending .safetensors.

    Example:  eventveil weights import anonynoise gesture.pth --out anonymizer.safetensors
    """
    require_line("eventveil weights import")
    from eventveil.models import published

    path = out or file.with_suffix(".safetensors")
    check_out(path, force=force)
    model, found_role = published.import_anonynoise(
        file, role=_role(role), bins=bins, noise_std=noise_std, output=output
    )
    names = labels
    if names is None and found_role == "target" and cast(Any, model).config.classes == len(published.GESTURES):
        names = ",".join(published.GESTURES)
    window = _window(bins, bin_us, hop, size)
    _save(path, model, found_role, window, names, trained=True, note=f"from {file.name}", force=force, json=json)


def import_event_reid(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="State dict (.pth) saved by the published code of Event-ReId.")
    ],
    out: OutFileOption = None,
    bin_us: Annotated[int, typer.Option(min=1, help="Microseconds per bin.")] = 6_660,
    size: Size = "192x384",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Import the anonymizer of "Person Re-Identification without Identification", values unchanged.

    Its windows are voxel grids of the box around the events. Without --out, the file is written next to FILE, with the
    extension .safetensors.

    Example:  eventveil weights import event-reid net_59.pth --out anonymizer.safetensors
    """
    require_line("eventveil weights import")
    from eventveil.models import published

    path = out or file.with_suffix(".safetensors")
    check_out(path, force=force)
    model = published.import_event_reid(file)
    bins = cast(Any, model).config.channels
    window = _window(bins, bin_us, None, size) | {"representation": "voxel", "box": "events"}
    _save(path, model, "anonymizer", window, None, trained=True, note=f"from {file.name}", force=force, json=json)


def init(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="anonynoise, noisy_channel, event_autoencoder, resnet_classifier or denoiser."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    bins: Bins = 5,
    bin_us: Annotated[int, typer.Option(min=1, help="Microseconds per bin.")] = 20_000,
    hop: Hop = None,
    size: Size = "128x128",
    labels: LabelsOption = None,
    noise_std: Annotated[float, typer.Option(min=0, help="anonynoise only: standard deviation of the noise.")] = 32.0,
    depth: Annotated[int, typer.Option(help="resnet_classifier only: 18, 34 or 50 layers.")] = 18,
    width: Annotated[int, typer.Option(min=1, help="resnet_classifier only: channels of the first layer.")] = 64,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Create untrained weights to test a pipeline. They are marked untrained: they recognise and protect nothing.

    Example:  eventveil weights init anonynoise --out untrained.safetensors --bins 10 --bin-us 100000 --size 32x32
    """
    require_line("eventveil weights init")
    from pydantic import ValidationError

    from eventveil.models.kinds import KINDS, initialise
    from eventveil.models.published import GESTURES
    from eventveil.settings import first_finding

    check_out(out, force=force)
    kinds = [name for name in KINDS if name != "stand_in"]  # which belongs to a book: `eventveil train stand-in`
    if kind not in kinds:
        raise ConfigError(f"expected a kind of network ({', '.join(kinds)}), got {kind!r}")
    config: dict[str, Any] = {"channels": bins if kind == "event_autoencoder" else 2 * bins}
    if kind == "anonynoise":
        # Untrained, f is near 0.03 n: with the paper's noise of 1 the counts would pass almost unchanged.
        config["noise_std"] = noise_std
    if kind == "resnet_classifier":
        labels = labels or ",".join(GESTURES)
        config |= {"depth": depth, "width": width, "classes": len(_names(labels))}
    try:
        model = initialise(kind, config, seed=seed)
    except ValidationError as error:
        raise ConfigError(first_finding(error)) from error
    window = _window(bins, bin_us, hop, size) | {"representation": KINDS[kind].representations[0]}
    note = f"untrained, seed {seed}"
    _save(out, model, KINDS[kind].roles[0], window, labels, trained=False, note=note, force=force, json=json)


def show(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|NAME",
            help="Weights file, or the name of weights that come with eventveil: shipped, noisy-channel, anonynoise "
            "or event-reid.",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Validate a weights file and show its contents.

    With --json, one line for each file: two for noisy-channel and anonynoise, which come with a classifier.

    For example:

    eventveil weights show shipped

    eventveil weights show anonymizer.safetensors
    """
    require_line("eventveil weights show")
    from eventveil.models import load_weights, shipped

    for path in shipped.files_of(file):
        weights = load_weights(path)
        parameters = sum(parameter.numel() for parameter in weights.model.parameters())
        contents = weights.metadata.model_dump(mode="json") | {"parameters": parameters, "digest": weights.digest}
        if json:
            print_json(contents)
            continue
        title = f"{file}: {path.name}" if shipped.is_name(file) else str(file)
        table = Table("key", Column("value", overflow="fold"), title=escape(title))
        for key, value in contents.items():
            table.add_row(key, escape(str(value)))
        stdout.print(table)


def half(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    note: Annotated[str | None, typer.Option(help="Text to add to the note about the origin of the weights.")] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Round weights to half precision, which halves their file.

    Rounding makes different weights: audits and certificates of FILE do not apply to OUT. The rounded weights run in
    single precision, like all others.

    Example:  eventveil weights half runs/mine/weights/anonymizer.safetensors anonymizer.safetensors
    """
    require_line("eventveil weights half")
    from eventveil.models import load_weights, save_weights
    from eventveil.models.metadata import Digests

    check_out(out, force=force)
    weights = load_weights(file)
    notes = "; ".join(filter(None, (weights.metadata.note, note)))
    metadata = weights.metadata.model_copy(update={"digests": Digests(), "note": notes})
    digest = save_weights(out, weights.model, metadata, replace=force, half=True)
    if json:
        print_json({"out": str(out), "digest": digest})
    else:
        say(f"{out}: half precision, {digest}")


def _save(
    out: Path,
    model: nn.Module,
    role: Role,
    window: dict[str, Any],
    labels: str | None,
    *,
    trained: bool,
    note: str,
    force: bool,
    json: bool,
) -> None:
    from pydantic import ValidationError

    from eventveil.models import save_weights
    from eventveil.models.metadata import Metadata
    from eventveil.settings import first_finding

    try:
        metadata = Metadata.of(model, role=role, labels=_names(labels), trained=trained, note=note, **window)
    except ValidationError as error:
        raise ConfigError(first_finding(error)) from error
    digest = save_weights(out, model, metadata, replace=force)
    if json:
        print_json({"out": str(out), "kind": metadata.kind, "role": role, "trained": trained, "digest": digest})
    else:
        say(f"{out}: {metadata.kind}, {role}, {'trained' if trained else 'UNTRAINED'}, {digest}")


def _window(bins: int, bin_us: int | None, hop: int | None, size: str) -> dict[str, Any]:
    from eventveil.events import Sensor

    sensor = Sensor.parse(size)
    window: dict[str, Any] = {"bins": bins, "size": (sensor.width, sensor.height)}
    if bin_us is None:
        return window | {"mode": "recording", "hop": hop}
    return window | {"mode": "windows", "bin_us": bin_us, "hop": hop or bins}


def _role(name: str | None) -> Role | None:
    from eventveil.models.published import PREFIXES

    if name is not None and name not in PREFIXES:
        raise ConfigError(f"--role: expected {', '.join(PREFIXES)}, got {name!r}")
    return cast("Role | None", name)


def _names(labels: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in labels.split(",")) if labels else ()
