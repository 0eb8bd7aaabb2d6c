"""`eventveil run` and `eventveil subscribe`: the two ends of the line."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from eventveil.cli_common import JsonOption, SensorOption, print_json, say, stdout
from eventveil.errors import ConfigError, LineError

if TYPE_CHECKING:
    from eventveil.stream.pipeline import Line, Status
    from eventveil.stream.score import Score
    from eventveil.stream.settings import RunSettings
    from eventveil.stream.wire import Message

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
    """Add the commands to the program."""
    app.command("run")(run)
    app.command("subscribe")(subscribe)


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
    from eventveil.stream.pipeline import Line

    line = Line(settings)
    _on_signals(line.stop)
    if not line.plan.provenance.trained:
        say("eventveil: THE ANONYMIZER IS UNTRAINED: what is published protects nobody (--allow-untrained)")
    for remark in line.plan.remarks:
        say(f"eventveil: {remark}")
    awaited = f", when {settings.publish.wait_for} subscribed" if settings.publish.wait_for else ""
    say(f"eventveil: publishing on {settings.publish.bind}{awaited}; Ctrl-C stops")
    output, tell = _Output(), _tell_json if json else _Ticker()
    with _watched(line) as look:
        status = line.run(lambda now: (output.write(tell, now), look(now))[0])
    summary = _summary(status) | (_details(status) if json else {})
    output.write(print_json if json else _print_summary, summary)
    if status.failure is not None:
        raise LineError(f"the line failed: {status.failure}")
    if output.error is not None:
        raise LineError(
            f"standard output cannot be written ({output.error.strerror}): nothing was told of the line from then on; "
            "what it published is as complete as ever"
        )


@contextmanager
def _watched(line: Line) -> Iterator[Callable[[Status], None]]:
    """Let others see how the line goes, where that is asked for."""
    where = line.plan.settings.watch.metrics
    if where is None:
        yield lambda _: None
        return
    from eventveil.stream.watching import Watching

    with Watching(where, line.plan.provenance, line.members.keys, _public) as watching:
        host, port = watching.address
        say(f"eventveil: how it goes is told on http://{host}:{port}/metrics (eventveil status {host}:{port})")
        yield watching.beat


def _settings(sources: list[str], overrides: list[str], said: dict[str, Any], *, wait: bool = False) -> RunSettings:
    """Settings from a configuration file, or for plain sources; what the options have `said` wins over the file."""
    from eventveil.config import read_yaml, run_settings
    from eventveil.io.camera import is_camera

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
    from eventveil.io.camera import is_camera

    uris = [str(source.get("uri")) for source in values.get("sources") or [] if isinstance(source, dict)]
    cameras = [number for number, uri in enumerate(uris) if is_camera(uri)]
    if not cameras:
        raise ConfigError("--wait waits for live cameras, as dv://, and no source is one; leave it out")
    return [f"sources.{number}.camera.wait=true" for number in cameras]


def _with_options(
    settings: RunSettings,
    weights: list[Path],
    wait_for: int | None,
    certificate: Path | None,
    *,
    allow_untrained: bool,
) -> RunSettings:
    """Settings with each weights file in its place, as its role says."""
    from eventveil.models import shipped
    from eventveil.models.weights import load_weights

    if Path(shipped.NAME) in weights and not Path(shipped.NAME).exists():
        weights = [path for path in weights if path != Path(shipped.NAME)] + [shipped.ANONYMIZER, shipped.GESTURES]
    places = {"anonymizer": "anonymize", "target": "classify"}
    changed: dict[str, Any] = {}
    for path in weights:
        role = load_weights(path).metadata.role
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


def _on_signals(stop: Callable[[], None]) -> None:
    """Let Ctrl-C and SIGTERM stop the line; a second one stops it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())


def _summary(status: Status) -> dict[str, Any]:
    """The figures of a line, so far or at its end, as plain values."""
    return {
        "seconds": round(status.seconds, 3),
        "events": status.total("histogram", "received"),
        "late": status.total("histogram", "late"),
        "outside": status.total("histogram", "outside"),
        "saturated": status.total("histogram", "saturated"),
        "windows": status.total("histogram", "windows"),
        "published_windows": status.total("publish", "windows"),
        "published_gestures": status.total("publish", "gestures"),
        "dropped": status.dropped(),
        "restarts": len(status.incidents),
        "latency_p50_ms": status.value("publish", "all_p50_ms"),
        "latency_p99_ms": status.value("publish", "all_p99_ms"),
        "subscribers": status.value("publish", "subscribers"),
        "stopped": status.stopped,
        "failure": status.failure,
        "camera": _camera(status),
        "far_from_training": status.far_from_training(),
        "truth": None if status.score is None else status.score.figures(),
    }


def _camera(status: Status) -> dict[str, int] | None:
    """What became of the events of live cameras, all together; None without one."""
    counts: Counter[str] = Counter()
    for report in status.stages.values():
        counts.update({name: count for name, count in report.counts.items() if name.startswith("camera_")})
    return dict(counts) or None


def _public(status: Status) -> dict[str, Any]:
    """The same for whoever may ask the running line: without what is known of the truth."""
    figures = {key: value for key, value in _summary(status).items() if key != "truth"}
    return figures | _details(status)


def _details(status: Status) -> dict[str, Any]:
    """What became of every window, the stages that were started anew, and the last report of each."""
    from eventveil.stream.balance import balance

    incidents = [asdict(incident) for incident in status.incidents]
    stages = {name: report.model_dump() for name, report in status.stages.items()}
    return {"books": balance(status.books), "incidents": incidents, "stages": stages}


def _tell_json(status: Status) -> None:
    last = {} if status.score is None else {"last": {name: asdict(one) for name, one in status.score.last.items()}}
    print_json(_summary(status) | last | _details(status))


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


class _Output:
    """Tells something on standard output for as long as that takes it: a full disk ends the telling, and not the line.

    Attributes:
        error: why nothing is told any more.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None

    def write(self, tell: Callable[[Any], None], told: Any) -> None:
        """Tell something, if anything can still be told."""
        if self.error is not None:
            return
        try:
            tell(told)
        except OSError as error:
            self.error = error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer, too


class _Ticker:
    """One line a second on how it goes: what happened since the line before."""

    def __init__(self) -> None:
        self._seconds, self._events, self._windows = 0.0, 0, 0
        self._incidents = 0
        self._far: set[str] = set()

    def __call__(self, status: Status) -> None:
        events, windows = status.total("histogram", "received"), status.total("publish", "windows")
        seconds = max(status.seconds - self._seconds, 1e-9)
        for incident in status.incidents[self._incidents :]:
            say(f"eventveil: {incident.stage}: {incident.reason}; it was started anew")
        self._incidents = len(status.incidents)
        far = status.far_from_training()
        for stream in far.keys() - self._far:
            say(f"eventveil: stream {stream}: {far[stream]}")
        self._far |= far.keys()
        dropped = ", ".join(f"{number} {reason}" for reason, number in status.dropped().items()) or "none"
        told = _told(status.score) + ("  CAMERA AWAY" if status.total("histogram", "camera_away") else "")
        say(
            f"{status.seconds:6.0f} s  {(events - self._events) / seconds / 1e6:7.3f} Mev/s"
            f"  {(windows - self._windows) / seconds:7.1f} windows/s"
            f"  latency p50 {_milliseconds(status.value('publish', 'latency_p50_ms'))}"
            f" p99 {_milliseconds(status.value('publish', 'latency_p99_ms'))}"
            f"  subscribers {status.value('publish', 'subscribers') or 0:.0f}  dropped {dropped}{told}"
        )
        self._seconds, self._events, self._windows = status.seconds, events, windows


def _told(score: Score | None) -> str:
    """How well it goes, where that is known."""
    figures = {} if score is None else score.figures()
    if not figures.get("judged"):
        return ""
    first = "" if figures["first_right_s"] is None else f", first after {figures['first_right_s']:.1f} s"
    return f"  right {figures['accuracy']:.0%} (chance {figures['chance']:.0%}){first}"


def _print_summary(figures: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    truth, camera = figures.pop("truth") or {}, figures.pop("camera") or {}
    for key, value in {**figures, **camera, **truth}.items():
        shown = _milliseconds(value) if key.endswith("_ms") else f"{value:,}" if type(value) is int else value
        table.add_row(key.removesuffix("_ms"), str("none" if shown in ({}, None) else shown))
    stdout.print(table)


def subscribe(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Where a line publishes: tcp://HOST:PORT.")],
    topic: Annotated[list[str] | None, typer.Option("--topic", help="window or gesture; both unless said.")] = None,
    server_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pub", help="Public key of the publisher: listen to it alone, encrypted."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own secret key, DIR/secret.key of `eventveil keys new DIR`."),
    ] = None,
    require_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY.pem",
            help="Public key of whose audits you trust: refuse whatever weights did not pass one of them.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many windows and gestures.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", help="End after so many seconds of silence.")] = None,
    npz: Annotated[
        Path | None, typer.Option("--npz", metavar="DIR", help="Keep each message there, as NumPy .npz.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Receive what a line publishes, until it ends.

    A line that is not there yet is waited for. Numbers that are missing are told with their reasons. The exit status
    is 1 where the line said that it failed, or fewer than --count messages came.

    Example:  eventveil subscribe tcp://127.0.0.1:5556 --count 100 --npz received

    A publisher on the network lets in those alone whose key it has on its list, and is known by its own:

    eventveil subscribe tcp://HOST:5556 --server-key line.pub --key alice/secret.key

    With --require-certificate, what comes before the certificate is known is withheld and counted, and what no passing
    certificate covers ends the command with status 2 and the cause. Who the publisher is, --server-key alone tells.
    """
    from eventveil.stream import subscribe as messages
    from eventveil.stream.wire import STATE

    stopped: list[bool] = []
    _on_signals(lambda: stopped.append(True))
    received, failed = 0, False
    if npz is not None:
        npz.mkdir(parents=True, exist_ok=True)
    for message in messages(
        endpoint,
        topic or ("window", "gesture"),
        server_key=server_key,
        key=key,
        require_certificate=require_certificate,
        timeout_s=timeout,
        stop=lambda: bool(stopped),
    ):
        (_print_message_json if json else _print_message)(message)
        if message.topic == STATE:
            failed = failed or message.header.state == "failed"
            continue
        received += 1
        if npz is not None:
            _keep(message, npz)
        if received == count:
            break
    say(f"eventveil: {received} messages received")
    if failed or (count is not None and received < count):
        raise typer.Exit(1)


def _keep(message: Message, folder: Path) -> None:
    header = message.header
    path = folder / f"{message.topic}-{header.stream}-{header.seq:08d}.npz"
    try:
        np.savez(path, values=message.array, header=np.array(header.model_dump_json()))
    except OSError as error:
        path.unlink(missing_ok=True)  # half of one is none
        raise ConfigError(
            f"--npz: {path} cannot be written: {error.strerror}; free some space or choose another"
        ) from error


def _print_message_json(message: Message) -> None:
    print_json({"topic": message.topic, "missing": message.missing} | message.header.model_dump(mode="json"))
    sys.stdout.flush()


def _print_message(message: Message) -> None:
    header = message.header
    if message.topic == "state" and header.state == "certificate":
        stdout.print(f"the line: certificate {sha256(header.certificate.encode()).hexdigest()[:16]}", markup=False)
        return
    if message.topic == "state":
        stdout.print(f"{header.stream or 'the line'}: {header.state} {header.reason}".rstrip(), markup=False)
        return
    seen = f"{message.topic:8} {header.stream} {header.seq:6}  {header.t_start_us / 1e6:10.3f} s"
    if message.topic == "gesture":
        seen += f"  {header.label} {header.probability:.0%}"
    if message.missing:
        seen += "  missing " + ", ".join(f"{number} ({reason})" for reason, number in message.missing.items())
    stdout.print(seen if header.trained else f"{seen}  UNTRAINED", markup=False)
