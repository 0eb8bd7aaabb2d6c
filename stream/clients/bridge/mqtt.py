"""Passes gestures to an MQTT broker, where Home Assistant finds them: a subscriber, with an MQTT client behind it.

Only what a gesture message of the published stream says is passed on: the label, and whether a person is shown.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventveil.errors import ConfigError, LineError
from eventveil.host.extras import require
from eventveil.stream.protocol.endpoints import is_loopback
from eventveil.stream.protocol.keys import check_secret_file
from eventveil.stream.protocol.wire import GESTURE, STATE, Message
from eventveil.stream.subscriber.client import subscribe

if TYPE_CHECKING:
    import paho.mqtt.client as mqtt

TOPIC = "eventveil"
STATUS = f"{TOPIC}/status"
DISCOVERY = "homeassistant"  # the prefix that Home Assistant listens to by default
MAX_STREAMS = 32  # passed on; a broker keeps what introduces them, and a publisher without keys could be any program
NONE = "none"  # what is sent when no gesture is recognised
CONNECT_S = 10.0
LATE_S = 2.0  # a broker that takes longer to acknowledge gets no more until it has: gestures should not arrive late
AT_LEAST_ONCE = 1


@dataclass(frozen=True, slots=True)
class Broker:
    """An MQTT broker.

    Attributes:
        host: name or address.
        port: TCP port.
        tls: whether the connection is encrypted, and the broker's name checked.
        login: file with one line, USER:PASSWORD, that only its owner can read; None: no login.
    """

    host: str
    port: int
    tls: bool = False
    login: Path | None = None


class GestureTopics:
    """Publishes the gestures of the first 32 streams when they change.

    Args:
        publish: called with topic, payload, and whether the broker keeps it for later clients.
    """

    def __init__(self, publish: Callable[[str, str, bool], object]) -> None:
        self._publish = publish
        self._last: dict[str, tuple[str, bool | None]] = {}

    def take(self, message: Message) -> None:
        """Publish what a message says that the one before did not; topics other than `gesture` are ignored."""
        if message.topic != GESTURE:
            return
        stream, header = message.header.stream, message.header
        if stream not in self._last:
            if len(self._last) >= MAX_STREAMS:
                return
            self._introduce(stream, has_presence=header.presence is not None)
        said, before = (header.label or NONE, header.presence), self._last.get(stream)
        self._last[stream] = said
        if before is None or said[0] != before[0]:
            self._publish(f"{TOPIC}/{stream}/gesture", said[0], False)
        if said[1] is not None and (before is None or said[1] != before[1]):
            self._publish(f"{TOPIC}/{stream}/presence", "ON" if said[1] else "OFF", False)

    def _introduce(self, stream: str, *, has_presence: bool) -> None:
        """Describe a stream to Home Assistant (its documentation: MQTT discovery)."""
        name = stream.replace(".", "_")  # Home Assistant's names have no dots
        if name != stream:  # otherwise a.b and a_b were one
            name += "_" + hashlib.sha256(stream.encode()).hexdigest()[:8]
        device = {"identifiers": [f"{TOPIC}_{name}"], "name": f"eventveil {stream}", "manufacturer": TOPIC}
        shared = {"availability_topic": STATUS, "device": device}
        kinds = {"gesture": ("sensor", "Gesture", {"icon": "mdi:hand-wave"})}
        if has_presence:
            kinds["presence"] = ("binary_sensor", "Person", {"device_class": "occupancy"})
        for key, (component, title, more) in kinds.items():
            config = {"name": title, "unique_id": f"{TOPIC}_{name}_{key}", "state_topic": f"{TOPIC}/{stream}/{key}"}
            self._publish(
                f"{DISCOVERY}/{component}/{TOPIC}_{name}/{key}/config", json.dumps(config | more | shared), True
            )


class Outbox:
    """What was sent to a broker, until it acknowledges.

    Args:
        client: the broker's.
        clock: monotonic time in seconds.
    """

    def __init__(self, client: mqtt.Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._waiting: deque[tuple[float, mqtt.MQTTMessageInfo]] = deque()

    def send(self, topic: str, text: str, keep: bool) -> None:
        """Send a message; `keep`: the broker keeps it for later clients."""
        self._waiting.append((self._clock(), self._client.publish(topic, text, AT_LEAST_ONCE, keep)))

    def waits_s(self) -> float:
        """Return for how long the oldest message has waited for its acknowledgement; 0 if none waits."""
        while self._waiting and _is_settled(self._waiting[0][1]):
            self._waiting.popleft()
        return self._clock() - self._waiting[0][0] if self._waiting else 0.0


def _is_settled(sent: mqtt.MQTTMessageInfo) -> bool:
    try:
        return sent.is_published()
    except (RuntimeError, ValueError):  # the broker was away: the client sends it later, or never
        return True


def bridge_mqtt(
    endpoint: str,
    broker: Broker,
    *,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
    server_key: Path | None = None,
    key: Path | None = None,
    require_certificate: Path | None = None,
    book: Path | None = None,
) -> None:
    """Forward the gestures of a pipeline to a broker until the pipeline ends, or `stop` returns True.

    Gestures while the broker is away or does not acknowledge are lost. Once it is back, the next one of each stream is
    passed on as if new.

    Args:
        endpoint: endpoint of the publisher.
        broker: receives the gestures. On another machine, its connection must be encrypted.
        say: called once the broker is connected.
        stop: called several times a second.
        server_key: as for `eventveil.stream.subscribe`, as are the following.
        key: the subscriber's secret key.
        require_certificate: public key of the auditor.
        book: book of the stand-in.

    Raises:
        ConfigError: the broker is on another machine and TLS is off, its login cannot be used, or paho-mqtt is missing.
        LineError: the broker cannot be reached, or refuses the login.
        EventVeilError: as for `eventveil.stream.subscribe`.
    """
    if not broker.tls and not _is_this_machine(broker.host):
        raise ConfigError(
            f"{broker.host}: gestures would cross the network unencrypted and unprotected from changes; add --tls"
        )
    client = _connected(broker)
    say(f"eventveil: connected to the broker {broker.host}:{broker.port}; topics {TOPIC}/STREAM/gesture")
    outbox = Outbox(client)
    topics: GestureTopics | None = None
    try:
        for message in subscribe(
            endpoint, (GESTURE, STATE), server_key=server_key, key=key, require_certificate=require_certificate,
            book=book, stop=stop,
        ):  # fmt: skip
            waits_s = outbox.waits_s()
            # Otherwise the client would keep all gestures, and send old ones when the broker is back.
            if not client.is_connected() or waits_s > LATE_S:
                topics = None
            elif topics is None and waits_s == 0:
                topics = GestureTopics(outbox.send)
            if topics is not None:
                topics.take(message)
    finally:
        with suppress(RuntimeError):  # the broker is away, and has sent the last will
            client.publish(STATUS, "offline", AT_LEAST_ONCE, retain=True).wait_for_publish(CONNECT_S)
        client.disconnect()
        client.loop_stop()


def _connected(broker: Broker) -> mqtt.Client:
    with require("paho-mqtt", extra="mqtt"):
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.will_set(STATUS, "offline", AT_LEAST_ONCE, retain=True)
    if broker.login is not None:
        client.username_pw_set(*_login(broker.login))
    if broker.tls:
        client.tls_set()
    answered, answer = threading.Event(), [""]

    def on_connect(client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        answer[0] = str(reason) if reason.is_failure else ""
        if not reason.is_failure:  # also after a broker was away, which has sent the last will
            client.publish(STATUS, "online", AT_LEAST_ONCE, retain=True)
        answered.set()

    client.on_connect = on_connect
    name = f"{broker.host}:{broker.port}"
    try:
        client.connect(broker.host, broker.port)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        raise LineError(
            f"{name}: the MQTT broker cannot be reached ({error}); check --broker, and that it runs"
        ) from error
    client.loop_start()
    if not answered.wait(CONNECT_S) or answer[0]:
        client.loop_stop()
        raise LineError(f"{name}: the MQTT broker refuses the connection ({answer[0] or 'no answer'}); check --login")
    return client


def _login(path: Path) -> tuple[str, str]:
    try:
        check_secret_file(path)
        user, colon, password = path.read_text("utf-8").strip().partition(":")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check --login") from error
    except UnicodeDecodeError:  # whose text quotes the file
        raise ConfigError(f"{path}: expected UTF-8 text, USER:PASSWORD; save it again") from None
    if not user or not colon:
        raise ConfigError(f"{path}: expected one line, USER:PASSWORD")
    return user, password


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or is_loopback(ip_address(host))
    except ValueError:
        return False
