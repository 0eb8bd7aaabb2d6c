"""The pictures of all steps, in memory only: a thread reads the source and makes them, and the page shows them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eventveil.errors import EventVeilError
from eventveil.events import EventPacket
from eventveil.models.reconstruction import load_firenet
from eventveil.stream.clients.web.background import Background
from eventveil.stream.owner.show.panels import EventPanel, Grey, PublishedView, Scale, panel_of
from eventveil.stream.owner.show.steps import LongSilenceError, StoppedError, in_steps, opened
from eventveil.stream.planning.plan import PipelinePlan
from eventveil.stream.preprocess.view import SceneFilter, View

MAX_BYTES = 1 << 29  # of pictures: ten minutes of a small camera with one anonymizer
RAW = "raw events"
FULL = "Only the beginning is shown: no more pictures fit into memory. Use --start to begin later."
SILENT = "Shown up to a silence of more than a minute. Use --start to begin after it."


@dataclass(frozen=True, slots=True)
class Shown:
    """One column of a step: its name and label, the events, and FireNet's reconstruction."""

    name: str
    label: str
    events: Grey
    picture: Grey | None

    def __repr__(self) -> str:
        # Raw data stays out of logs.
        return f"Shown({self.name})"


@dataclass(frozen=True, slots=True)
class ReelStep:
    """A tenth of a second: the raw events first, then what each anonymizer publishes."""

    end_us: int
    columns: tuple[Shown, ...]

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(one.events.nbytes + (0 if one.picture is None else one.picture.nbytes) for one in self.columns)


class Reel(Background):
    """Reads a source while the context is open. Keeps the latest steps of a camera, and the first ones of others.

    Args:
        plans: the plan of each anonymizer, by name, all with the same source.
        firenet: weights of FireNet; None: nothing is reconstructed.

    Attributes:
        names: names of the anonymizers.
        live: whether the source is a camera.
        end: why the source is not read further; "" while it is.
        failure: the error that ended it, if one did.

    Raises:
        EventVeilError: a file of weights has changed, or is not FireNet's.
    """

    def __init__(self, plans: dict[str, PipelinePlan], firenet: Path | None) -> None:
        super().__init__("show")
        self.names = tuple(plans)
        self.end = ""
        self.failure: EventVeilError | None = None
        self._plans = plans
        self._source = next(iter(plans.values())).settings.sources[0]
        self.live = self._source.where.is_camera
        self._network = None if firenet is None else load_firenet(firenet)
        self._lock = threading.Lock()  # over the steps
        self._steps: deque[ReelStep] = deque()
        self._first = 0  # number of the first step that is kept
        self._bytes = 0

    @property
    def span(self) -> range:
        """The numbers of the steps that can be looked at."""
        with self._lock:
            return range(self._first, self._first + len(self._steps))

    def step(self, number: int) -> ReelStep | None:
        """Return a step, or None if it is not, or no longer, there."""
        with self._lock:
            place = number - self._first
            return self._steps[place] if 0 <= place < len(self._steps) else None

    def _work(self) -> None:
        try:
            with opened(self._source, self._stopped.is_set) as (sensor, packets):
                whole = self._source.scene.model_copy(update={"crop": "all"})
                view = View.of(sensor, whole, (sensor.width, sensor.height))
                scene, raw = SceneFilter(sensor, whole, view), EventPanel(view, self._network)
                panels = [panel_of(name, plan, sensor, self._network) for name, plan in self._plans.items()]
                scales = [Scale() for _ in range(1 + len(panels))]
                seen = (scene.see(packet) for packet in packets)
                for packet in in_steps(seen, self._stopped.is_set):
                    self._keep(_step(packet, raw, panels, scales))
                    if self._bytes > MAX_BYTES:
                        self.end = FULL
                        return
            self.end = "The whole source"
        except LongSilenceError:
            self.end = SILENT
        except StoppedError:
            return
        except EventVeilError as error:
            self.end, self.failure = str(error), error

    def _keep(self, step: ReelStep) -> None:
        with self._lock:
            self._steps.append(step)
            self._bytes += step.size
            while self.live and self._bytes > MAX_BYTES:
                self._bytes -= self._steps.popleft().size
                self._first += 1


def _step(packet: EventPacket, raw: EventPanel, panels: Sequence[PublishedView], scales: Sequence[Scale]) -> ReelStep:
    assert packet.until_us is not None
    events, picture = raw.see(packet)
    columns = [Shown(RAW, "", scales[0].grey(events), picture)]
    for panel, scale in zip(panels, scales[1:], strict=True):
        events, picture = panel.see(packet)
        columns.append(Shown(panel.name, panel.label, scale.grey(events), picture))
    return ReelStep(packet.until_us, tuple(columns))
