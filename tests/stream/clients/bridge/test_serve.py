"""The bridge: programs that know cameras read what a stand-in publishes, and nothing that the book does not say."""

from __future__ import annotations

import threading

import pytest
from dv_client import DvClient, join
from pipeline_setup import everything
from recordings import make_events
from stand_in_helpers import STEP_US, book_of, make_stand_in_kit, stand_in_book
from typer.testing import CliRunner

from eventveil import Sensor
from eventveil.cli import app
from eventveil.config import run_settings
from eventveil.errors import ConfigError
from eventveil.host.addresses import free_port
from eventveil.models.book import Book
from eventveil.stream.clients.bridge.dv_server import DvServer
from eventveil.stream.clients.bridge.serve import EventsForwarder, serving
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.wire import EVENTS, decode

SOURCE = {"uri": "a.aedat4"}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    changing = (make_events((40, 4_000)[part % 2], sensor=Sensor(64, 64), start_us=part * 500_000) for part in range(5))
    return make_stand_in_kit(tmp_path_factory.mktemp("stand-in"), changing)


def published_events(frames, book):
    """The events of all published words, from the book."""
    messages = [message for message in map(decode, frames) if message.topic == EVENTS]
    return join([book.events(message.header.word, message.header.t_start_us) for message in messages])


def test_what_is_published_is_what_is_served(kit, tmp_path):
    port, said = free_port(), []
    book = Book.read(book_of(kit))
    with everything() as (endpoint, frames), serving(endpoint, f"dv+tcp://127.0.0.1:{port}", book, say=said.append):
        client = DvClient(port)
        assert client.connected.wait(60)
        # The bridge and the listener of this test.
        status = Pipeline(kit.settings(endpoint, publish__events=True, publish__wait_for=2)).run()
    assert (status.failure, said) == (None, [])
    sensor, events = client.events(tmp_path)
    assert sensor == str(book.sensor)
    assert len(events[0]) > 0
    assert events == published_events(frames, book)


def test_what_the_book_does_not_say_is_not_served(kit, tmp_path):
    port, said = free_port(), []
    book = stand_in_book()
    other = Book.compose([book.events(0, 0)], book.words[:1], sensor=book.sensor, steps=1, step_us=book.step_us)
    with everything() as (endpoint, _), serving(endpoint, f"dv+tcp://127.0.0.1:{port}", other, say=said.append):
        client = DvClient(port)
        assert client.connected.wait(60)
        status = Pipeline(kit.settings(endpoint, publish__events=True, publish__wait_for=2)).run()
    assert status.failure is None  # the pipeline goes on
    assert len(said) == 1
    assert "is no longer served: refused: the pipeline publishes from the book with SHA-256" in said[0]
    assert client.events(tmp_path)[1] == [[], [], [], []]


def test_a_second_stream_is_refused(kit):
    with everything() as (endpoint, frames):
        Pipeline(kit.settings(endpoint, publish__events=True)).run()
    first = next(message for message in map(decode, frames) if message.topic == EVENTS)
    with DvServer(f"dv+tcp://127.0.0.1:{free_port()}", stand_in_book().sensor) as server:
        forwarder = EventsForwarder(server)
        forwarder.forward(first)
        object.__setattr__(first, "header", first.header.model_copy(update={"stream": "another"}))
        with pytest.raises(ConfigError, match=r"holds one stream, and there are .* and another"):
            forwarder.forward(first)


def test_run_serves_an_anonymous_camera(kit, tmp_path):
    port = free_port()
    client = DvClient(port)
    result = CliRunner().invoke(
        app,
        [
            "run", str(kit.recording), "--weights", str(kit.anonymizer), "--allow-untrained",
            "--serve", f"dv+tcp://127.0.0.1:{port}", "--speed", "max", "--wait-for", "1",
            "--set", f"publish.bind=ipc://{tmp_path}/public", "--set", "line.run_as=threads",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "serving events on dv+tcp://" in result.output
    assert_words(client.events(tmp_path)[1], Book.read(book_of(kit)))


def assert_words(events, book):
    """There are events, and those of each step are all events of one word."""
    starts = sorted({time // STEP_US * STEP_US for time in events[0]})
    assert starts
    for start in starts:
        step = [event for event in zip(*events, strict=True) if event[0] // STEP_US * STEP_US == start]
        assert step in [list(zip(*join([book.events(word, start)]), strict=True)) for word in range(len(book.words))]


def test_a_subscriber_serves_what_it_has_verified(kit, tmp_path):
    port, endpoint = free_port(), f"ipc://{tmp_path}/public"
    client = DvClient(port)
    pipeline = threading.Thread(target=Pipeline(kit.settings(endpoint, publish__events=True)).run)
    pipeline.start()
    arguments = ["--book", str(book_of(kit)), "--serve", f"dv+tcp://127.0.0.1:{port}", "--topic", "gesture"]
    result = CliRunner().invoke(app, ["subscribe", endpoint, *arguments])
    pipeline.join()
    assert result.exit_code == 0, result.output
    assert_words(client.events(tmp_path)[1], Book.read(book_of(kit)))


def test_subscribe_serves_only_with_the_book(kit):
    result = CliRunner().invoke(app, ["subscribe", "tcp://127.0.0.1:1", "--serve", "dv+tcp://127.0.0.1:7777"])
    assert isinstance(result.exception, ConfigError)
    assert "give --book FILE, too" in str(result.exception)


@pytest.mark.parametrize(
    ("publish", "message"),
    [
        ({"serve": "dv+tcp://0.0.0.0:7777", "events": True}, "other machines could reach 0.0.0.0"),
        ({"serve": "7777", "events": True}, "expected dv.tcp://HOST:PORT"),
        ({"serve": "dv+tcp://127.0.0.1:7777"}, "set publish.events: true, too"),
        ({"serve": "dv+tcp://127.0.0.1:7777", "events": True, "keys": "line"}, "leave publish.keys out"),
        ({"serve": "dv+tcp://127.0.0.1:7777", "events": True, "bind": "tcp://127.0.0.1:*"}, "at a known port"),
    ],
)
def test_settings_that_cannot_be_served_are_refused(publish, message):
    with pytest.raises(ConfigError, match=message):
        run_settings({"sources": [SOURCE | {"stream": "0"}], "publish": publish}, name="test")


def test_two_sources_cannot_be_served():
    publish = {"serve": "dv+tcp://127.0.0.1:7777", "events": True}
    sources = [SOURCE | {"stream": "0"}, SOURCE | {"stream": "1"}]
    with pytest.raises(ConfigError, match="holds one camera, and there are 2 sources"):
        run_settings({"sources": sources, "publish": publish}, name="test")
