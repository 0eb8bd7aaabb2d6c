"""The page of a real pipeline: in a process of its own, which sees only what is published."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import numpy as np
import pipeline_setup
import pytest
from canary import BINARY_SPELLINGS, COUNTS, canary_events, canary_in
from page_helpers import PATIENCE_S, Publisher, browser, decoded, get, page
from websockets.exceptions import ConnectionClosed

from eventveil.cli import demo
from eventveil.config import run_settings
from eventveil.errors import ConfigError
from eventveil.host.addresses import free_port
from eventveil.stream.clients.web.frames import picture_of
from eventveil.stream.clients.web.process import page_of
from eventveil.stream.pipeline.pipeline import Pipeline

AS_LEVELS = np.pad(np.rint(COUNTS * (255 / COUNTS.max())).astype(np.uint8), 2).tobytes()
"""The canary in a picture of raw counts, with two empty cells on each side. In random bytes, 8 bytes: 2^24 * 2^-64."""


def watch(messages, address):
    """Collect all that a browser receives until the server ends."""
    with browser(address) as one, contextlib.suppress(ConnectionClosed):
        while True:
            messages.append(one.socket.recv(PATIENCE_S))


def assert_no_canary(messages):
    for message in messages:
        assert not canary_in(message)
        assert AS_LEVELS not in message


def test_the_canary_does_not_reach_a_browser(tmp_path):
    kit = pipeline_setup.make_kit(tmp_path)
    pipeline_setup.write_recording(kit.recording, canary_events(), pipeline_setup.SENSOR)
    endpoint, messages = f"ipc://{tmp_path}/public", []
    with page(endpoint) as address:
        reader = threading.Thread(target=watch, args=(messages, address))
        reader.start()
        status = Pipeline(kit.settings(endpoint)).run()
        deadline = time.monotonic() + PATIENCE_S
        while not any(decoded(each)[1].get("state") == "ended" for each in messages):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pages = [get(address, path)[2] for path in ("/", "/page.js", "/check", "/nothing")]
    reader.join(PATIENCE_S)
    assert status.failure is None
    assert any(decoded(each)[1]["kind"] == "window" for each in messages)
    assert_no_canary([*messages, *(text.encode() for text in pages)])


def test_a_raw_window_would_be_found():
    """Prove that the search can fail: a raw window with the canary, as a publisher without a boundary would send it."""
    counts = np.zeros((2, 32, 32), np.float32)
    counts[1, 10, 10:14] = COUNTS
    assert BINARY_SPELLINGS[0] in counts.astype(np.uint16).tobytes()
    with Publisher() as pipeline, page(pipeline.endpoint) as address, browser(address) as one:
        pipeline.wait()
        pipeline.window(0, counts)
        _, _, payload = one.next("window")
    assert payload == picture_of(counts)[1]
    with pytest.raises(AssertionError):
        assert_no_canary([payload])


@pytest.fixture
def said():
    """What the page's process says, and an event for each line."""
    return []


def wait_for_address(said):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"http://(127\.0\.0\.1):(\d+)/", "".join(said))):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return found[1], int(found[2])


def test_its_process_serves_the_page_and_its_end_leaves_the_pipeline_alone(said):
    with Publisher() as pipeline, page_of(pipeline.endpoint, ("127.0.0.1", 0), say=said.append):
        address = wait_for_address(said)
        pipeline.wait()
        with browser(address) as one:
            pipeline.window(4)
            assert one.next("window")[1]["seq"] == 4
    assert len(said) == 1  # its regular end is no news
    with pytest.raises(OSError, match="refused"), browser(address):
        pass
    with page_of("tcp://nowhere", ("127.0.0.1", 0), say=said.append):
        deadline = time.monotonic() + PATIENCE_S
        while "the page ended with exit status 2; the pipeline goes on" not in said[-1]:
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
    assert any("cannot connect to 'tcp://nowhere'" in line for line in said)


def test_the_demo_prints_the_address_of_a_page(said, monkeypatch):
    monkeypatch.setattr(demo, "say", said.append)
    with Publisher() as pipeline, ExitStack() as opened:
        demo._open_page(pipeline.endpoint, opened)
        assert get(wait_for_address(said))[0] == 200


PARENT = """
import sys, time
from eventveil.stream.clients.web.process import page_of

with page_of("tcp://127.0.0.1:1", ("127.0.0.1", 0), say=lambda text: print(text, flush=True)):
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_its_process_ends_with_the_pipelines_however_that_ends():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        address = wait_for_address([parent.stdout.readline()])
        os.kill(parent.pid, signal.SIGKILL)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.suppress(OSError):
        while True:
            get(address)
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"watch": {"view": "0.0.0.0:8765"}}, "other machines can reach 0.0.0.0"),
        ({"watch": {"view": "8765"}}, "expected an IP address"),
        ({"watch": {"view": "127.0.0.1:8765"}, "publish": {"keys": "line"}}, "run `eventveil view`, which takes keys"),
        ({"watch": {"view": "127.0.0.1:8765"}, "publish": {"bind": "tcp://127.0.0.1:*"}}, "at a known port"),
    ],
)
def test_settings_with_which_a_page_cannot_be_served_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        run_settings({"sources": [{"uri": "simulate:"}]} | values, name="test")


def test_run_shows_the_page_of_its_pipeline(tmp_path):
    kit = pipeline_setup.make_kit(tmp_path)
    bind = f"tcp://127.0.0.1:{free_port()}"
    command = [*pipeline_setup.PROGRAM, "run", str(kit.recording), "--loop", "--weights", str(kit.anonymizer)]
    command += ["--allow-untrained", "--view", "127.0.0.1:0", "--set", f"publish.bind={bind}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as pipeline:
        try:
            said = []
            while "watch in a browser" not in "".join(said):
                said.append(pipeline.stderr.readline())
                assert said[-1], said
            with browser(wait_for_address(said)) as one:
                assert one.next("window")[1]["picture"] == [10, 32, 32]
        finally:
            pipeline.terminate()
            _, errors = pipeline.communicate(timeout=PATIENCE_S)
    assert pipeline.returncode == 0, errors
