"""Publishes a recording of published messages once more, at its own pace, through the same endpoint as a pipeline.

What is sent are the recorded messages: nothing in them is new, and no noise is drawn. Their weights, certificate, book
and word stay as they are, so that subscribers can check them. Each recorded run has a new name in each pass, because
numbers start again, and `replay` on the topic `state` says that nothing of it is live.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Literal

import zmq

from eventveil.errors import ConfigError
from eventveil.stream.archive.mcap_reader import McapRecording, Recorded
from eventveil.stream.protocol.wire import (
    CERTIFICATE_STATE,
    REPLAY_STATE,
    EventsHeader,
    GestureHeader,
    Header,
    Message,
    StateHeader,
    StreamHeader,
    encode,
)
from eventveil.stream.publisher.listener import Listener, listening
from eventveil.stream.publisher.padding import STEP, padded_size
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.subscriptions import SubscriptionTracker
from eventveil.stream.settings.pipeline import PublishSettings

ANNOUNCE_S = 2.0
SERVICE_S = 0.05  # how often subscribers are served meanwhile
FLUSH_MS = 10_000
_VARYING = {"stream", "life", "sensor", "seq", "t_start_us", "t_end_us", "age_ms", "lost", "incidents", "probability"}
_VARYING |= {"word", "presence", "label"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    """What is replayed, and how fast.

    Attributes:
        speed: factor; None: as fast as possible.
        start_s, stop_s: seconds from the first message; None: to the end.
        loop: begin again at the end.
    """

    speed: float | None = 1.0
    start_s: float = 0.0
    stop_s: float | None = None
    loop: bool = False


class Republisher:
    """Publishes recordings.

    Args:
        recordings: one after the other; complete, or of a killed recorder.
        settings: address, keys, queue and `wait_for`.
        excerpt: what is replayed, and how fast.
        stop: called often; returning True ends the replay.

    Attributes:
        sent: messages sent so far, without announcements.
    """

    def __init__(
        self,
        recordings: Sequence[McapRecording],
        settings: PublishSettings,
        excerpt: Playback,
        stop: Callable[[], bool],
    ) -> None:
        self.sent = 0
        self._recordings = recordings
        self._settings = settings
        self._excerpt = excerpt
        self._stop = stop
        self._sizes: dict[type[Header], int] = {}
        self._events_size: int | None = None
        self._announced: dict[str, StateHeader] = {}
        self._certificate: StateHeader | None = None
        self._announced_s = 0.0

    def run(self, ready: Callable[[str], object] = lambda _: None) -> None:
        """Publish until the end.

        Args:
            ready: called with the address once subscribers can connect.

        Raises:
            ConfigError: there is nothing to replay.
            EventFileError: a recording is damaged.
            WireError: a recorded message breaks the wire format; nothing of it is sent.
            LineError: the address cannot be bound.
        """
        first = next(iter(self._played(0)), None)
        if first is None:
            raise ConfigError(f"{self._recordings[0].path}: holds no message in this part; choose another part or file")
        with (
            listening(self._settings.bind, keyed=self._settings.keys is not None) as listener,
            zmq.Context() as context,
        ):
            self._serve(listener, context, ready)

    def _serve(
        self, listener: Listener, context: zmq.Context[zmq.Socket[bytes]], ready: Callable[[str], object]
    ) -> None:
        self._endpoint = PublicEndpoint(listener, self._settings, context)
        self._subscriptions = SubscriptionTracker(self._endpoint.socket, self._endpoint.connections)
        state: Literal["ended", "failed"] = "failed"
        try:
            ready(listener.endpoint)
            while self._subscriptions.count() < self._settings.wait_for and not self._stop():
                self._wait(SERVICE_S)
            for number in count() if self._excerpt.loop else range(1):
                self._pass(number)
                if self._stop():
                    break
            state = "ended"
        finally:
            reason = "" if state == "ended" else "the recording could not be read to its end"
            self._send(StateHeader(state=state, reason=reason))
            self._endpoint.socket.linger = FLUSH_MS
            self._endpoint.close()

    def _pass(self, number: int) -> None:
        """Send the messages of one pass, each when it is due."""
        runs: dict[str, str] = {}  # recordings of several pipelines, one after the other, are several runs
        begun_s, played_ns, last_ns = time.monotonic(), 0, None
        for recorded in self._played(number):
            played_ns += 0 if last_ns is None else max(0, recorded.time_ns - last_ns)
            last_ns = recorded.time_ns
            if self._excerpt.speed is not None:
                self._wait_until(begun_s + played_ns / 1e9 / self._excerpt.speed)
            if self._stop():
                return
            if recorded.message is not None:
                self._replay(recorded.message, runs, recorded.time_ns)
            self._service()

    def _played(self, _number: int) -> Iterator[Recorded]:
        """Yield the recorded messages of the excerpt."""
        first_ns: int | None = None
        excerpt = self._excerpt
        begun = excerpt.start_s == 0
        for recording in self._recordings:
            if first_ns is None:
                first_ns = next((recorded.time_ns for recorded in recording), None)
            # Times of a later recording may be those of another clock: once begun, all of it is played.
            start_ns = 0 if begun or first_ns is None else first_ns + round(excerpt.start_s * 1e9)
            for recorded in recording.since(start_ns):
                begun = True
                if excerpt.stop_s is not None and recorded.time_ns >= (first_ns or 0) + round(excerpt.stop_s * 1e9):
                    return
                yield recorded

    def _replay(self, message: Message, runs: dict[str, str], time_ns: int) -> None:
        header = message.header
        if isinstance(header, StateHeader):
            if header.state == CERTIFICATE_STATE:
                self._certificate = header
                self._announce()
            elif header.state in ("camera_lost", "camera_back"):  # ends are those of the replay
                self._send(header)
            return
        if header.stream not in self._announced:
            recorded = datetime.fromtimestamp(time_ns / 1e9, UTC)
            reason = f"a replay of what was published before, recorded on {recorded:%Y-%m-%d at %H:%M:%S} UTC"
            self._announced[header.stream] = StateHeader(state=REPLAY_STATE, stream=header.stream, reason=reason)
            self._announce()
        run = runs.setdefault(header.run, secrets.token_hex(8))
        self._send(header.model_copy(update={"run": run}), message)
        self.sent += 1

    def _send(self, header: Header, message: Message | None = None) -> None:
        payload_size = self._longest_events() if isinstance(header, EventsHeader) else 0
        array = None if message is None or not message.array.size else message.array
        frames = encode(header, array, size=self._size(header), payload_size=payload_size)
        self._endpoint.socket.send_multipart(frames, copy=False)

    def _size(self, header: Header) -> int:
        """Return one length for all headers of a kind: encryption does not hide it."""
        kind = type(header)
        if kind not in self._sizes and isinstance(header, StreamHeader):
            fixed = {name: getattr(header, name) for name in kind.model_fields if name not in _VARYING}
            if isinstance(header, GestureHeader):
                fixed["label"] = max((*header.labels, ""), key=len)
            self._sizes[kind] = padded_size(kind, **fixed)
        needed = -(-len(header.model_dump_json().encode()) // STEP) * STEP
        self._sizes[kind] = max(self._sizes.get(kind, 0), needed)
        return self._sizes[kind]

    def _longest_events(self) -> int:
        """Return one length for all payloads of events, also those outside the excerpt; it is determined once."""
        if self._events_size is None:
            self._events_size = max(recording.longest_events() for recording in self._recordings)
        return self._events_size

    def _announce(self) -> None:
        """Say that this is a replay, and publish the certificate, for those who came late."""
        self._announced_s = time.monotonic()
        for header in (*self._announced.values(), *((self._certificate,) if self._certificate else ())):
            self._endpoint.socket.send_multipart(encode(header), copy=False)

    def _wait_until(self, due_s: float) -> None:
        while (left_s := due_s - time.monotonic()) > 0 and not self._stop():
            self._wait(min(left_s, SERVICE_S))

    def _wait(self, seconds: float) -> None:
        time.sleep(0.0 if self._subscriptions.unread else seconds)
        self._service()

    def _service(self) -> None:
        self._subscriptions.count()
        self._endpoint.service(self._subscriptions.take_abusive())
        if time.monotonic() - self._announced_s > ANNOUNCE_S:
            self._announce()
