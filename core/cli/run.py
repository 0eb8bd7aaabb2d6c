"""`eventveil run`: sources through the line, to whoever subscribes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventveil.cli.options import JsonOption, SensorOption, on_signals, print_json, say
from eventveil.cli.run_output import Output, Ticker, details_of, print_summary, public, summary_of, tell_json
from eventveil.errors import ConfigError, LineError

if TYPE_CHECKING:
    from eventveil.stream.pipeline.pipeline import Pipeline
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.settings import PipelineSettings

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...|CONFIG.yaml",
        help="What to play, side by side: recordings, dvs-gesture:PATH, see:PATH, event-reid:PATH (a dataset; "
        "?split=test for a part of it), simulate: (people before a simulated camera), live cameras (dv://, "
        "prophesee://, with a serial number or the first one found; dv+tcp://HOST:PORT, dv+unix:///PATH over the "
        "network); or one configuration.",
    ),
]
WeightsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--weights",
        metavar="FILE|shipped",
        help="Weights of the anonymizer, and of the classifier; each file says which it is. 'shipped' are both of "
        "those that come with eventveil, trained on simulated people alone.",
    ),
]
SpeedOption = Annotated[
    str | None,
    typer.Option("--speed", metavar="0.1..100|max", help="1.0 plays as it happened, max as fast as it goes."),
]
StartOption = Annotated[
    float | None,
    typer.Option("--start", metavar="SECONDS", help="Leave out what lies before, from the source's first event on."),
]
StopOption = Annotated[
    float | None,
    typer.Option("--stop", metavar="SECONDS", help="Leave out what lies there or behind, counted likewise."),
]
LoopOption = Annotated[
    bool, typer.Option("--loop", help="Play on from the beginning (or --start) at the end (or --stop); time goes on.")
]
GapOption = Annotated[
    float | None,
    typer.Option("--gap", metavar="SECONDS", help="Quiet time between trials, and where a loop begins anew [0.5]."),
]
ShuffleOption = Annotated[
    bool, typer.Option("--shuffle", help="Play the trials of a dataset in a drawn order, another one each time around.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Repeat an order of --shuffle. Noise has no seed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration, as in line.queue=8."),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        metavar="FILE",
        help="Certificate of the anonymizer's audit; without this, certificate.json beside its weights.",
    ),
]
UntrainedOption = Annotated[
    bool, typer.Option("--allow-untrained", help="Try the line with weights that protect nobody; every header says so.")
]
WaitOption = Annotated[
    int | None,
    typer.Option("--wait-for", metavar="N", help="Begin when N subscribers are there, so that none misses a window."),
]
MetricsOption = Annotated[
    str | None,
    typer.Option("--metrics", metavar="HOST:PORT", help="Tell there how it goes: `eventveil status`, Prometheus."),
]
LogOption = Annotated[
    str | None, typer.Option("--log", metavar="text|json", help="What is said on standard error, for whom.")
]
WaitForCameraOption = Annotated[
    bool, typer.Option("--wait", help="Wait for live cameras that are not plugged in yet, for as long as it takes.")
]
DisorderOption = Annotated[
    str | None, typer.Option("--on-disorder", metavar="raise|sort|clip", help="What to do where time goes back.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("run")(run)


def run(
    sources: SourcesArgument,
    weights: WeightsOption = None,
    speed: SpeedOption = None,
    start: StartOption = None,
    stop: StopOption = None,
    loop: LoopOption = False,
    gap: GapOption = None,
    shuffle: ShuffleOption = False,
    seed: SeedOption = None,
    sensor: SensorOption = None,
    on_disorder: DisorderOption = None,
    wait: WaitForCameraOption = False,
    wait_for: WaitOption = None,
    allow_untrained: UntrainedOption = False,
    certificate: CertificateOption = None,
    metrics: MetricsOption = None,
    log: LogOption = None,
    overrides: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Take sources through the line and publish anonymized windows and gestures.

    Windows leave only behind the anonymizer; without its weights nothing starts. What is published goes to
    tcp://127.0.0.1:5556 unless publish.bind says otherwise. Ctrl-C publishes what is on its way and stops.

    A line a second tells events, windows, latency and drops; the summary comes at the end. The exit status is 0 where
    every stream came to its end or was stopped, 2 where the line failed.

    Of datasets and of simulated people it is known what they do: the line a second, the summary and --json then tell
    how many windows were recognised rightly, and how long after a trial's beginning the first one. Labels and people
    are known on this side only; nothing of them is published.

    A live camera that is unplugged is waited for (sources.0.camera.reconnect_s, a minute) and read on when it is back;
    subscribers are told. Where all sources are cameras, the newest window wins (line.delivery: live) unless --set or a
    configuration says otherwise. `eventveil cameras` lists what is attached.

    For example:

    eventveil run trial.aedat4 --weights anonymizer.safetensors --weights gestures.safetensors

    eventveil run 'dvs-gesture:data/DVSGesture?split=test' --shuffle --speed max --weights ... --weights ...

    eventveil run 'simulate:?subjects=3&distance=1.2' --stop 60 --weights ... --weights ...

    eventveil run dv:// --wait --weights shipped
    """
    from eventveil.stream.logs import log_json_lines

    if log == "json":
        log_json_lines()
    say("eventveil: starting (the first time this compiles its kernels, and takes longer)")
    said = {"sensor": sensor and str(sensor), "speed": speed, "on_disorder": on_disorder, "start_s": start}
    said |= {"stop_s": stop, "loop": loop or None, "gap_s": gap, "shuffle": shuffle or None, "seed": seed}
    watch = [f"watch.{key}={dumps(value)}" for key, value in (("metrics", metrics), ("log", log)) if value is not None]
    settings = _settings(sources, [*(overrides or []), *watch], said, wait=wait)
    if settings.watch.log == "json":
        log_json_lines()
    settings = _with_options(settings, weights or [], wait_for, certificate, allow_untrained=allow_untrained)
    from eventveil.stream.pipeline.pipeline import Pipeline

    line = Pipeline(settings)
    on_signals(line.stop)
    if not line.plan.provenance.trained:
        say("eventveil: THE ANONYMIZER IS UNTRAINED: what is published protects nobody (--allow-untrained)")
    for remark in line.plan.remarks:
        say(f"eventveil: {remark}")
    awaited = f", when {settings.publish.wait_for} subscribed" if settings.publish.wait_for else ""
    say(f"eventveil: publishing on {settings.publish.bind}{awaited}; Ctrl-C stops")
    output, tell = Output(), tell_json if json else Ticker()
    with _watched(line) as look:

        def beat(now: Status) -> None:
            output.write(tell, now)
            look(now)

        status = line.run(beat)
    summary = summary_of(status) | (details_of(status) if json else {})
    output.write(print_json if json else print_summary, summary)
    if status.failure is not None:
        raise LineError(f"the line failed: {status.failure}")
    if output.error is not None:
        raise LineError(
            f"standard output cannot be written ({output.error.strerror}): nothing was told of the line from then on; "
            "what it published is as complete as ever"
        )


@contextmanager
def _watched(line: Pipeline) -> Iterator[Callable[[Status], None]]:
    """Let others see how the line goes, where that is asked for."""
    where = line.plan.settings.watch.metrics
    if where is None:
        yield lambda _: None
        return
    from eventveil.stream.monitoring.http import StatusServer

    with StatusServer(where, line.plan.provenance, line.members.keys, public) as watching:
        host, port = watching.address
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        say(f"eventveil: how it goes is told on http://{place}/metrics (eventveil status {place})")
        yield watching.beat


def _settings(
    sources: list[str], overrides: list[str], said: dict[str, Any], *, wait: bool = False
) -> PipelineSettings:
    """Settings from a configuration file, or for plain sources; what the options have `said` wins over the file."""
    from eventveil.config import read_yaml, run_settings
    from eventveil.io.camera.uri import is_camera

    is_config = len(sources) == 1 and sources[0].endswith((".yaml", ".yml"))
    if is_config:
        name, values = sources[0], read_yaml(Path(sources[0]))
    else:
        name = "eventveil run"
        values = {"sources": [{"uri": uri, "stream": str(number)} for number, uri in enumerate(sources)]}
        if all(is_camera(uri) for uri in sources):
            values["line"] = {"delivery": "live"}  # nobody waits for an old gesture
    if wait:
        overrides = [*overrides, *_waiting(values)]
    for number in range(len(values.get("sources") or [])):
        overrides = [
            *overrides,
            *(f"sources.{number}.{key}={dumps(value)}" for key, value in said.items() if value is not None),
        ]
    return run_settings(values, overrides, name=name)


def _waiting(values: dict[str, Any]) -> list[str]:
    """The overrides that let every live camera be waited for."""
    from eventveil.io.camera.uri import is_camera

    uris = [str(source.get("uri")) for source in values.get("sources") or [] if isinstance(source, dict)]
    cameras = [number for number, uri in enumerate(uris) if is_camera(uri)]
    if not cameras:
        raise ConfigError("--wait waits for live cameras, as dv://, and no source is one; leave it out")
    return [f"sources.{number}.camera.wait=true" for number in cameras]


def _with_options(
    settings: PipelineSettings,
    weights: list[Path],
    wait_for: int | None,
    certificate: Path | None,
    *,
    allow_untrained: bool,
) -> PipelineSettings:
    """Settings with each weights file in its place, as its role says."""
    from eventveil.models import shipped
    from eventveil.models.weights import read_metadata

    if Path(shipped.NAME) in weights and not Path(shipped.NAME).exists():
        weights = [path for path in weights if path != Path(shipped.NAME)] + [shipped.ANONYMIZER, shipped.GESTURES]
    places = {"anonymizer": "anonymize", "target": "classify"}
    changed: dict[str, Any] = {}
    for path in weights:
        role = read_metadata(path).role
        if role not in places:
            raise ConfigError(f"--weights {path}: a network of role {role!r} has no place in the line")
        if places[role] in changed:
            raise ConfigError(f"--weights {path}: a second {role}; give one anonymizer and one classifier")
        changed[places[role]] = getattr(settings, places[role]).model_copy(update={"weights": path})
    said = {"allow_untrained": allow_untrained or None, "certificate": certificate}
    anonymize = changed.get("anonymize", settings.anonymize)
    changed["anonymize"] = anonymize.model_copy(update={key: value for key, value in said.items() if value is not None})
    if wait_for is not None:
        changed["publish"] = settings.publish.model_copy(update={"wait_for": wait_for})
    return settings.model_copy(update=changed)
