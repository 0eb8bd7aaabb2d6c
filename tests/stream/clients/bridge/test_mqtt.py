"""Gestures on a real MQTT broker (mosquitto): what is passed on, what is not, and who is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from page_helpers import PATIENCE_S, Publisher
from pipeline_helpers import pipeline_ended, word_gesture_header

from eventveil.errors import AccessError, ConfigError, EventVeilError, LineError
from eventveil.host.addresses import free_port
from eventveil.stream.clients.bridge import mqtt as bridge
from eventveil.stream.clients.bridge.mqtt import Broker, GestureTopics, Outbox, bridge_mqtt
from eventveil.stream.protocol.wire import GESTURE, Message

mqtt = pytest.importorskip("paho.mqtt.client", reason="no paho-mqtt here: pip install '.[mqtt]'")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto here: apt-get install mosquitto")


@pytest.fixture
def broker(tmp_path):
    """The port of a running broker on loopback."""
    port = free_port()
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait()


def connected(port, received):
    """Return a client that receives everything on the broker, once its subscription holds."""
    client, subscribed = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2), threading.Event()
    client.on_message = lambda _c, _d, message: received.append((message.topic, message.payload.decode()))
    client.on_subscribe = lambda *_: subscribed.set()
    for _ in range(200):
        try:
            client.connect("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)  # it is starting
    client.loop_start()
    client.subscribe("#")
    assert subscribed.wait(PATIENCE_S)
    return client


@needs_broker
def test_changes_of_gestures_arrive_and_nothing_else(broker):
    received, said = [], []
    watcher = connected(broker, received)
    with Publisher() as pipeline:
        thread = threading.Thread(
            target=bridge_mqtt, args=(pipeline.endpoint, Broker("127.0.0.1", broker)), kwargs={"say": said.append}
        )
        thread.start()
        pipeline.wait()
        for seq, label in enumerate(["hand clapping", "hand clapping", "left hand wave", None]):
            pipeline.window(seq, np.full((2, 3, 4), 48_271.0), stream="door")
            presence = {"label": label} if label else {"label": None, "probability": None}
            pipeline.gesture(seq, stream="door", **presence)
        pipeline.send(word_gesture_header(stream="hall", seq=0, label="nobody", presence=False, labels=("nobody",)))
        pipeline.send(pipeline_ended())
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    for _ in range(200):
        if ("eventveil/status", "offline") in received:
            break
        time.sleep(0.05)
    watcher.disconnect()
    watcher.loop_stop()
    configs = {topic: json.loads(text) for topic, text in received if topic.startswith("homeassistant/")}
    told = [pair for pair in received if not pair[0].startswith("homeassistant/")]
    assert told == [
        ("eventveil/status", "online"),
        ("eventveil/door/gesture", "hand clapping"),
        ("eventveil/door/gesture", "left hand wave"),
        ("eventveil/door/gesture", "none"),
        ("eventveil/hall/gesture", "nobody"),
        ("eventveil/hall/presence", "OFF"),
        ("eventveil/status", "offline"),
    ]
    assert {config["state_topic"] for config in configs.values()} == {topic for topic, _ in told} - {"eventveil/status"}
    assert all(config["availability_topic"] == "eventveil/status" for config in configs.values())
    assert not [text for _, text in received if "48271" in text]


def gesture(stream):
    return Message(GESTURE, word_gesture_header(stream=stream, seq=0, label="nobody", labels=("nobody",)), None)


def test_streams_with_similar_names_are_different_devices():
    sent = []
    topics = GestureTopics(lambda *message: sent.append(message))
    for stream in ("a.b", "a_b", "a-b"):
        topics.take(gesture(stream))
    configs = [(topic, json.loads(text)) for topic, text, keep in sent if keep]
    assert len({topic for topic, _ in configs}) == len({config["unique_id"] for _, config in configs}) == len(configs)
    assert len({config["device"]["identifiers"][0] for _, config in configs}) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_/-]+", topic) for topic, _ in configs)  # all that Home Assistant accepts


def test_a_publisher_that_makes_up_streams_fills_neither_the_broker_nor_the_memory():
    sent = []
    topics = GestureTopics(lambda *message: sent.append(message))
    for number in range(200):
        topics.take(gesture(f"made-up-{number}"))
    assert {topic.split("/")[1] for topic, _, keep in sent if not keep} == {f"made-up-{n}" for n in range(32)}


class Client:
    """An MQTT client, and a message of it; it can lose its broker, as paho's says it."""

    def __init__(self):
        self.sent, self.is_there, self.acknowledges = [], True, True

    def is_connected(self):
        return self.is_there

    def publish(self, topic, text, *_, **__):
        self.sent.append((topic, text))
        return self

    def is_published(self):
        return self.acknowledges

    def wait_for_publish(self, _):
        if not self.is_there:
            raise RuntimeError("Message publish failed: The client is not currently connected.")

    def disconnect(self):
        self.sent.append("disconnected")

    def loop_stop(self):
        pass


def test_gestures_while_the_broker_is_away_are_not_kept_and_its_end_is_not_an_error(monkeypatch):
    client = Client()

    def messages(*_, **__):
        for label, is_there in (("wave", True), ("clap", False), ("roll", False), ("roll", True), ("wave", False)):
            client.is_there = is_there
            yield SimpleNamespace(topic="gesture", header=SimpleNamespace(stream="door", label=label, presence=None))

    monkeypatch.setattr(bridge, "_connected", lambda _: client)
    monkeypatch.setattr(bridge, "subscribe", messages)
    bridge_mqtt("tcp://127.0.0.1:5999", Broker("127.0.0.1", 1), say=lambda _: None)
    assert [text for topic, text in client.sent[:-1] if topic == "eventveil/door/gesture"] == ["wave", "roll"]
    assert client.sent[-1] == "disconnected"


def test_gestures_do_not_wait_for_a_broker_that_does_not_acknowledge(monkeypatch):
    client, now = Client(), [0.0]

    def messages(*_, **__):
        for at_s, label, acknowledges in (
            (0, "wave", False), (1, "clap", False), (4, "roll", False), (5, "drums", False), (6, "guitar", True),
        ):  # fmt: skip
            now[0], client.acknowledges = at_s, acknowledges
            yield SimpleNamespace(topic="gesture", header=SimpleNamespace(stream="door", label=label, presence=None))

    monkeypatch.setattr(bridge, "_connected", lambda _: client)
    monkeypatch.setattr(bridge, "subscribe", messages)
    monkeypatch.setattr(bridge, "Outbox", lambda client: Outbox(client, lambda: now[0]))
    bridge_mqtt("tcp://127.0.0.1:5999", Broker("127.0.0.1", 1), say=lambda _: None)
    gestures = [text for topic, text in client.sent[:-1] if topic == "eventveil/door/gesture"]
    assert gestures == ["wave", "clap", "guitar"]


@pytest.mark.parametrize(
    ("broker", "error", "words"),
    [
        (Broker("192.0.2.1", 1883), ConfigError, "unencrypted"),
        (Broker("broker.example", 1883), ConfigError, "unencrypted"),
        (Broker("127.0.0.1", 1), LineError, "cannot be reached"),
        (Broker("no..host", 1, tls=True), LineError, "cannot be reached"),
    ],
)
def test_a_broker_that_cannot_be_used_is_refused(broker, error, words):
    with pytest.raises(error, match=words):
        bridge_mqtt("tcp://127.0.0.1:5999", broker, say=lambda _: None)


def test_a_login_that_others_can_read_is_refused(tmp_path):
    login = tmp_path / "login"
    login.write_text("user:password\n")
    login.chmod(0o644)
    with pytest.raises(EventVeilError) as caught:
        bridge_mqtt("tcp://127.0.0.1:5999", Broker("127.0.0.1", 1, login=login), say=lambda _: None)
    assert isinstance(caught.value, AccessError)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("content", [b"user:p\xe4ssword\n", b"\xff\xfeu\0s\0"])
def test_a_login_in_another_encoding_is_refused_and_not_quoted(tmp_path, content):
    login = tmp_path / "login"
    login.touch(0o600)
    login.write_bytes(content)
    with pytest.raises(ConfigError, match="expected UTF-8 text, USER:PASSWORD") as caught:
        bridge_mqtt("tcp://127.0.0.1:5999", Broker("127.0.0.1", 1, login=login), say=lambda _: None)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
