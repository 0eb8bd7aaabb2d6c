"""The commands on weights: bring published ones in, show what a file holds, make untrained ones to try a line with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Column, Table

from eventveil.cli.options import JsonOption, print_json, say, stdout
from eventveil.errors import ConfigError
from eventveil.events import Sensor

if TYPE_CHECKING:
    from torch import nn

    from eventveil.models.kinds import Role

Bins = Annotated[int, typer.Option(min=1, help="Bins in a window.")]
Hop = Annotated[int | None, typer.Option(min=1, help="Bins from one window to the next; as many as a window has.")]
Size = Annotated[str, typer.Option(metavar="WxH", help="Width and height of a window, pixels.")]
LabelsOption = Annotated[
    str | None, typer.Option(help="Names of a classifier's classes, in order, with commas between.")
]


def register(app: typer.Typer) -> None:
    """Add the `weights` commands to the command line."""
    weights = typer.Typer(no_args_is_help=True, help="Weights files: import, show, initialise.")
    published = typer.Typer(no_args_is_help=True, help="Bring published weights in.")
    published.command("anonynoise")(import_anonynoise)
    weights.add_typer(published, name="import")
    weights.command("show")(show)
    weights.command("init")(init)
    app.add_typer(weights, name="weights")


def import_anonynoise(
    file: Annotated[Path, typer.Argument(help="State dict (.pth) of the code published with AnonyNoise.")],
    out: Annotated[Path | None, typer.Option(help="File to write; FILE with the ending .safetensors.")] = None,
    role: Annotated[str | None, typer.Option(help="anonymizer, target, identity or denoiser; else by content.")] = None,
    bins: Bins = 5,
    bin_us: Annotated[int | None, typer.Option(min=1, help="Microseconds a bin; without, whole recordings.")] = None,
    hop: Hop = None,
    size: Size = "128x128",
    labels: LabelsOption = None,
    noise_std: Annotated[float, typer.Option(min=0, help="Standard deviation of the noise in training.")] = 1.0,
    output: Annotated[str, typer.Option(help="Variant of the anonymizer's output: x+f*n, f or x+f.")] = "x+f*n",
) -> None:
    """Bring a state dict of AnonyNoise's published code in, values unchanged."""
    from eventveil.models import published

    model, found = published.import_anonynoise(file, role=_role(role), bins=bins, noise_std=noise_std, output=output)
    names = labels
    if names is None and found == "target" and cast(Any, model).config.classes == len(published.GESTURES):
        names = ",".join(published.GESTURES)
    window = _window(bins, bin_us, hop, size)
    _save(out or file.with_suffix(".safetensors"), model, found, window, names, trained=True, note=f"from {file.name}")


def init(
    kind: Annotated[
        str,
        typer.Argument(help="anonynoise, noisy_channel, event_autoencoder, resnet_classifier or denoiser."),
    ],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same weights.")] = 0,
    bins: Bins = 5,
    bin_us: Annotated[int, typer.Option(min=1, help="Microseconds a bin.")] = 20_000,
    hop: Hop = None,
    size: Size = "128x128",
    labels: LabelsOption = None,
    noise_std: Annotated[float, typer.Option(min=0, help="Of anonynoise: standard deviation of the noise.")] = 32.0,
    depth: Annotated[int, typer.Option(help="Of resnet_classifier: 18, 34 or 50.")] = 18,
    width: Annotated[int, typer.Option(min=1, help="Of resnet_classifier: channels of the first layer.")] = 64,
) -> None:
    """Make untrained weights to try a line with. They are marked untrained: they recognise and protect nothing."""
    from pydantic import ValidationError

    from eventveil.models.kinds import KINDS, initialise
    from eventveil.models.metadata import first_finding
    from eventveil.models.published import GESTURES

    if kind not in KINDS:
        raise ConfigError(f"expected a kind of network ({', '.join(KINDS)}), got {kind!r}")
    config: dict[str, Any] = {"channels": bins if kind == "event_autoencoder" else 2 * bins}
    if kind == "anonynoise":
        # Untrained, f is near 0.03 n: with the paper's noise of 1 the counts would show through unharmed.
        config["noise_std"] = noise_std
    if kind == "resnet_classifier":
        labels = labels or ",".join(GESTURES)
        config |= {"depth": depth, "width": width, "classes": len(_names(labels))}
    try:
        model = initialise(kind, config, seed=seed)
    except ValidationError as error:
        raise ConfigError(first_finding(error)) from error
    window = _window(bins, bin_us, hop, size) | {"representation": KINDS[kind].representations[0]}
    _save(out, model, KINDS[kind].roles[0], window, labels, trained=False, note=f"untrained, seed {seed}")


def show(
    file: Annotated[Path, typer.Argument(help="Weights file.")],
    json: JsonOption = False,
) -> None:
    """Check a weights file and show what it holds."""
    from eventveil.models import load_weights

    weights = load_weights(file)
    parameters = sum(parameter.numel() for parameter in weights.model.parameters())
    held = weights.metadata.model_dump(mode="json") | {"parameters": parameters}
    if json:
        print_json(held)
        return
    table = Table("key", Column("value", overflow="fold"), title=escape(str(file)))
    for key, value in held.items():
        table.add_row(key, escape(str(value)))
    stdout.print(table)


def _save(
    out: Path, model: nn.Module, role: Role, window: dict[str, Any], labels: str | None, *, trained: bool, note: str
) -> None:
    from pydantic import ValidationError

    from eventveil.models import save_weights
    from eventveil.models.metadata import Metadata, first_finding

    try:
        metadata = Metadata.of(model, role=role, labels=_names(labels), trained=trained, note=note, **window)
    except ValidationError as error:
        raise ConfigError(first_finding(error)) from error
    digest = save_weights(out, model, metadata)
    say(f"{out}: {metadata.kind}, {role}, {'trained' if trained else 'UNTRAINED'}, {digest}")


def _window(bins: int, bin_us: int | None, hop: int | None, size: str) -> dict[str, Any]:
    sensor = Sensor.parse(size)
    window: dict[str, Any] = {"bins": bins, "size": (sensor.width, sensor.height)}
    if bin_us is None:
        return window | {"mode": "recording", "hop": hop}
    return window | {"mode": "windows", "bin_us": bin_us, "hop": hop or bins}


def _role(name: str | None) -> Role | None:
    from eventveil.models.published import PREFIXES

    if name is not None and name not in PREFIXES:
        raise ConfigError(f"role is {', '.join(PREFIXES)}, got {name!r}")
    return cast("Role | None", name)


def _names(labels: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in labels.split(",")) if labels else ()
