"""`eventveil run`: run sources through the pipeline and publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventveil.cli.networks import CertificateOption, UntrainedOption, with_networks
from eventveil.cli.options import (
    BookOption,
    JsonOption,
    LogOption,
    SensorOption,
    WeightsOption,
    damage_option,
    disorder_option,
    on_signals,
    print_json,
    say,
    set_option,
    verbosity,
)
from eventveil.cli.run_output import Output, Ticker, details_of, print_status_json, print_summary, summary_of
from eventveil.cli.service_manager import ServiceManager
from eventveil.errors import ConfigError, LineError
from eventveil.host.extras import require_line

if TYPE_CHECKING:
    from eventveil.stream.pipeline.pipeline import Pipeline
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.settings.pipeline import PipelineSettings

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...|CONFIG",
        help="Sources to play side by side: recordings; datasets (dvs-gesture:PATH, see:PATH, event-reid:PATH, "
        "with ?split=test for one split); simulate: (simulated people); live cameras (dv://, prophesee://, followed "
        "by a serial number unless the first camera will do; dv+tcp://HOST:PORT and dv+unix:///PATH over the network). "
        "Or one configuration: a YAML file, or an included one: live, replay, desk, edge, room, kiosk.",
    ),
]
SpeedOption = Annotated[
    str | None,
    typer.Option("--speed", metavar="0.1..100|max", help="Playback speed; 1.0 is real time, max is unlimited [1.0]."),
]
StartOption = Annotated[
    float | None,
    typer.Option("--start", metavar="SECONDS", help="Skip everything before this time, counted from the first event."),
]
StopOption = Annotated[
    float | None,
    typer.Option("--stop", metavar="SECONDS", help="Stop at this time, counted from the first event."),
]
LoopOption = Annotated[
    bool,
    typer.Option(
        "--loop", help="Repeat from the beginning (or --start) forever: the same events, published with new noise."
    ),
]
GapOption = Annotated[
    float | None,
    typer.Option("--gap", metavar="SECONDS", help="Pause between trials, and before a loop repeats [0.5]."),
]
ShuffleOption = Annotated[
    bool, typer.Option("--shuffle", help="Play the trials of a dataset in random order, a new one in each loop.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of --shuffle. The anonymizer's noise has no seed.")
]
WaitOption = Annotated[
    int | None,
    typer.Option("--wait-for", metavar="N", help="Start when N subscribers are connected, so that none misses data."),
]
ServeOption = Annotated[
    str | None,
    typer.Option(
        "--serve",
        metavar="dv+tcp://127.0.0.1:PORT",
        help="Publish the events of a stand-in, and serve them on this machine as a DV network stream: an anonymous "
        "event camera.",
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        "--metrics", metavar="HOST:PORT", help="Serve status and metrics for `eventveil status` and Prometheus."
    ),
]
ViewOption = Annotated[
    str | None,
    typer.Option("--view", metavar="HOST:PORT", help="Show what is published as a web page, as `eventveil view` does."),
]
WaitForCameraOption = Annotated[
    bool, typer.Option("--wait", help="Wait, without a time limit, for live cameras that are not plugged in yet.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("run")(run)


def run(
    sources: SourcesArgument,
    weights: WeightsOption = None,
    book: BookOption = None,
    speed: SpeedOption = None,
    start: StartOption = None,
    stop: StopOption = None,
    loop: LoopOption = False,
    gap: GapOption = None,
    shuffle: ShuffleOption = False,
    seed: SeedOption = None,
    sensor: SensorOption = None,
    on_disorder: Annotated[str | None, disorder_option()] = None,
    on_damage: Annotated[str | None, damage_option()] = None,
    wait: WaitForCameraOption = False,
    wait_for: WaitOption = None,
    allow_untrained: UntrainedOption = False,
    certificate: CertificateOption = None,
    serve: ServeOption = None,
    metrics: MetricsOption = None,
    view: ViewOption = None,
    log: LogOption = None,
    overrides: Annotated[list[str] | None, set_option("line.queue=8")] = None,
    json: JsonOption = False,
) -> None:
    """Run sources through the pipeline and publish anonymized windows and gestures.

    Only anonymized data is published: nothing starts without the anonymizer's --weights. Messages go to
    tcp://127.0.0.1:5556 unless publish.bind is set. Ctrl-C publishes the windows in progress and stops.

    A status line reports events, windows, latency and dropped windows every second; a summary follows at the end. Exit
    status 0: every stream ended or was stopped. 2: the pipeline failed.

    Datasets and simulated people come with ground truth. For them, the status, the summary and --json include the
    accuracy, and the time from the start of a trial to its first correct gesture. Labels and identities stay on this
    machine; they are never published.

    An unplugged live camera has a minute to come back (sources.0.camera.reconnect_s); subscribers are notified. If all
    sources are cameras, the newest window wins (line.delivery: live) unless --set or a configuration says otherwise.
    `eventveil cameras` lists the attached cameras.

    For example:

    eventveil run simulate: --weights shipped

    eventveil run trial.aedat4 --weights anonymizer.safetensors --weights gestures.safetensors

    eventveil run 'dvs-gesture:data/DVSGesture?split=test' --shuffle --speed max --weights shipped

    eventveil run dv:// --wait --weights shipped

    eventveil run dv:// --weights stand_in.safetensors --serve dv+tcp://127.0.0.1:7777
    """
    require_line("eventveil run")
    from eventveil.host.kernel_cache import are_compiled
    from eventveil.stream.runtime.logs import log_json_lines

    if log == "json":
        log_json_lines()
    say(f"eventveil: starting{'' if are_compiled() else '; the first start compiles kernels and takes longer'}")
    options = {"sensor": sensor and str(sensor), "speed": speed, "on_disorder": on_disorder, "start_s": start}
    options |= {"stop_s": stop, "loop": loop or None, "gap_s": gap, "shuffle": shuffle or None, "seed": seed}
    options["on_damage"] = on_damage
    watched = {"metrics": metrics, "view": view, "log": log}
    watch = [f"watch.{key}={dumps(value)}" for key, value in watched.items() if value is not None]
    served = [] if serve is None else [f"publish.serve={dumps(serve)}", "publish.events=true"]
    settings = _settings(sources, [*(overrides or []), *watch, *served], options, wait=wait)
    _check_sources(settings)
    if settings.watch.log == "json":
        log_json_lines()
    changes = {"book": book, "certificate": certificate, "allow_untrained": allow_untrained or None}
    settings = with_networks(settings, weights or [], wait_for, changes)
    _run(settings, json=json)


def _run(settings: PipelineSettings, *, json: bool) -> None:
    """Run the pipeline to its end, with its status lines and its summary.

    Raises:
        LineError: the pipeline failed, or its status could not be written.
    """
    from eventveil.stream.pipeline.pipeline import Pipeline

    pipeline, manager = Pipeline(settings), ServiceManager()
    on_signals(pipeline.stop)
    _say_remarks(pipeline)
    output = Output()
    print_status: Callable[[Status], None] = print_status_json if json else _ignore if verbosity.quiet else Ticker()
    with _status_server(pipeline) as serve, _dv_server(pipeline), _page(pipeline):
        _announce(pipeline)

        def beat(now: Status) -> None:
            output.write(print_status, now)
            serve(now)
            manager.alive()

        status = pipeline.run(beat)
    if status.failure is None:
        manager.stopping()
    summary = summary_of(status) | (details_of(status) if json else {})
    output.write(print_json if json else print_summary, summary)
    if status.failure is not None:
        raise LineError(f"the pipeline failed: {status.failure}")
    if output.error is not None:
        raise LineError(
            f"standard output cannot be written ({output.error.strerror}): status lines are missing from then "
            "on, but everything was published"
        )


def _ignore(_: Status) -> None:
    """Print no status line: under --quiet, only the summary is printed."""


def _say_remarks(pipeline: Pipeline) -> None:
    """Print what a stand-in's book can reveal, and remarks about the settings."""
    if not pipeline.plan.provenance.trained:
        say(
            "eventveil: THE ANONYMIZER IS UNTRAINED: what is published protects no one (--allow-untrained)", always=True
        )
    if pipeline.plan.book is not None:
        say(f"eventveil: {pipeline.plan.book.summary}")
    for remark in pipeline.plan.remarks:
        say(f"eventveil: {remark}", always=True)


def _announce(pipeline: Pipeline) -> None:
    """Print where the pipeline is about to publish; its address is bound only when it runs."""
    publish = pipeline.plan.settings.publish
    number = "1 subscriber is" if publish.wait_for == 1 else f"{publish.wait_for} subscribers are"
    condition = f" once {number} connected" if publish.wait_for else ""
    say(f"eventveil: starting to publish on {publish.bind}{condition}; Ctrl-C stops")


@contextmanager
def _status_server(pipeline: Pipeline) -> Iterator[Callable[[Status], None]]:
    """Serve the status over HTTP if watch.metrics is set; yield a function that takes each new status."""
    watch = pipeline.plan.settings.watch
    if watch.metrics is None:
        yield lambda _: None
        return
    from eventveil.stream.monitoring.figures import readers_may_subscribe
    from eventveil.stream.monitoring.http import StatusServer
    from eventveil.stream.monitoring.token import read_token

    token = None if watch.token is None else read_token(watch.token)
    gestures = readers_may_subscribe(pipeline.plan.settings)
    plan, members = pipeline.plan, pipeline.members.keys
    with StatusServer(watch.metrics, plan.provenance, members, token, gestures=gestures) as server:
        host, port = server.address
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        option = "" if watch.token is None else f" --token {watch.token}"
        say(f"eventveil: serving metrics on http://{place}/metrics (see eventveil status {place}{option})")
        yield server.beat


@contextmanager
def _dv_server(pipeline: Pipeline) -> Iterator[None]:
    """Serve the published events as a camera if publish.serve is set."""
    publish, book = pipeline.plan.settings.publish, pipeline.plan.book
    if publish.serve is None:
        yield
        return
    from eventveil.stream.clients.bridge.serve import serving
    from eventveil.stream.planning.books import read_planned

    assert book is not None  # without a stand-in, no events are published
    with serving(publish.bind, publish.serve, read_planned(book), say=say):
        say(f"eventveil: serving events on {publish.serve}, as in `eventveil run {publish.serve}`")
        yield


@contextmanager
def _page(pipeline: Pipeline) -> Iterator[None]:
    """Serve a page with what is published if watch.view is set, in a process that never holds raw events."""
    settings = pipeline.plan.settings
    if settings.watch.view is None:
        yield
        return
    from eventveil.stream.clients.web.process import page_of

    with page_of(settings.publish.bind, settings.watch.view, say=say):
        yield


def _config_path(sources: list[str]) -> Path | None:
    """Return the configuration that takes the place of sources, or None; a file of that name is a source."""
    from eventveil.config import packaged_configs

    if len(sources) != 1:
        return None
    if sources[0].endswith((".yaml", ".yml")):
        return Path(sources[0])
    named = packaged_configs() | packaged_configs("presets")
    return None if Path(sources[0]).is_file() else named.get(sources[0])


def _settings(
    sources: list[str], overrides: list[str], options: dict[str, Any], *, wait: bool = False
) -> PipelineSettings:
    """Return the settings of a configuration file or of plain sources; `options` of sources win over the file."""
    from eventveil.config import read_yaml, run_settings
    from eventveil.io.camera.uri import is_camera

    config = _config_path(sources)
    if config is not None:
        name, values = str(config), read_yaml(config)
    else:
        name = "eventveil run"
        values = {"sources": [{"uri": uri, "stream": str(number)} for number, uri in enumerate(sources)]}
        if all(is_camera(uri) for uri in sources):
            values["line"] = {"delivery": "live"}  # a late gesture is of no use
    if wait:
        overrides = [*overrides, *_wait_overrides(values)]
    if not isinstance(values.get("sources") or [], list):
        raise ConfigError(f"{name}: sources: expected a list of sources, each with a uri, got something else")
    for number in range(len(values.get("sources") or [])):
        overrides = [
            *overrides,
            *(f"sources.{number}.{key}={dumps(value)}" for key, value in options.items() if value is not None),
        ]
    return run_settings(values, overrides, name=name)


def _check_sources(settings: PipelineSettings) -> None:
    """Look for all sources, and open recordings, before anything that takes longer.

    Raises:
        EventVeilError: one is missing or cannot be played.
    """
    from eventveil.replay.player.sources import RECORDING, look_for, open_playlist

    for source in settings.sources:
        look_for(source.where)
        if source.where.kind == RECORDING:
            open_playlist(
                source.where,
                sensor=source.sensor,
                on_disorder=source.on_disorder,
                on_damage=source.on_damage,
                shuffle=False,
                seed=None,
            )


def _wait_overrides(values: dict[str, Any]) -> list[str]:
    """Return the overrides that make the pipeline wait for every live camera."""
    from eventveil.io.camera.uri import is_camera

    uris = [str(source.get("uri")) for source in values.get("sources") or [] if isinstance(source, dict)]
    cameras = [number for number, uri in enumerate(uris) if is_camera(uri)]
    if not cameras:
        raise ConfigError("--wait waits for live cameras, such as dv://, and no source is one; leave it out")
    return [f"sources.{number}.camera.wait=true" for number in cameras]
