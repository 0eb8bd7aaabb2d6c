"""Hostile clients against a running publisher, with keys and without: it survives, does not grow, and counts all.

Of the seven crowds that a publisher with keys has to throw out, two come in every run, and all in the nightly one.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections import Counter

import pytest
from hostile_peers import (
    ATTACKS,
    HANDSHAKE,
    MIB,
    attack,
    attacks_after_hello,
    clients,
    crowd,
    frame,
    greeting,
    hello,
    memory,
    noise,
)
from pipeline_setup import PROGRAM, make_kit

from eventveil.stream import subscribe
from eventveil.stream.protocol.keys import AllowList, new_keys, read_folder, read_public
from eventveil.stream.subscriber.client import NETWORK

pytestmark = [
    pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is measured on Linux"),  # noqa: PTH110
    pytest.mark.timeout(300),
]

PATIENCE_S = 60


class RunningPipeline:
    """`eventveil run` in its own process, with few descriptors and the right to more; `keyed`, it allows alice."""

    def __init__(self, folder, *, keyed):
        kit = make_kit(folder, seconds=0.5)
        self.keys, key_options = {}, []
        if keyed:
            for name in ("line", "alice", "mallory"):
                new_keys(folder / name)
            AllowList(folder / "line").allow(read_public(folder / "alice" / "alice.pub"))
            self.keys = {"server_key": folder / "line" / "line.pub", "key": folder / "alice" / "secret.key"}
            self.key, self.stranger = read_folder(folder / "line").public, read_folder(folder / "mallory")
            key_options = ["--set", f"publish.keys={folder / 'line'}"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = free.getsockname()
        self.endpoint = f"tcp://127.0.0.1:{self.address[1]}"
        command = [*PROGRAM, "run", str(kit.recording), "--loop", "--weights", str(kit.anonymizer), "--allow-untrained"]
        self.process = subprocess.Popen(
            [*command, "--json", "--set", f"publish.bind={self.endpoint}", *key_options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (128, 4096))
        self._status, self._beats = {}, 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._status = json.loads(line)
            self._beats += 1

    def counts(self):
        """Return the publisher's counts, as of the last second."""
        return self._status["stages"]["publish"]["counts"]

    def counts_now(self):
        """Return counts that include everything until now: a heartbeat comes once a second, about the second before."""
        beats = self._beats
        self.wait_until(lambda _: self._beats > beats + 2)
        return self.counts()

    def wait_until(self, holds):
        deadline = time.monotonic() + PATIENCE_S
        while "stages" not in self._status or not holds(self.counts()):
            assert time.monotonic() < deadline, self._status
            assert self.process.poll() is None
            time.sleep(0.05)

    def listen(self):
        """Subscribe with an allowed key."""
        return contextlib.closing(subscribe(self.endpoint, ("window",), timeout_s=PATIENCE_S, **self.keys))

    def window(self):
        """Return the next window that a new subscriber receives."""
        with self.listen() as messages:
            return next(messages)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
        self._reader.join()
        with self.process.stdout, self.process.stderr:
            return self.process.stderr.read()


OPEN, KEYED = "without keys", "with keys"
only_open, only_keyed = (pytest.mark.parametrize("pipeline", [kind], indirect=True) for kind in (OPEN, KEYED))


@pytest.fixture(scope="module", params=[OPEN, KEYED])
def pipeline(request, tmp_path_factory):
    running = RunningPipeline(tmp_path_factory.mktemp("kit"), keyed=request.param == KEYED)
    running.window()
    yield running
    log = running.end()
    assert running.process.returncode == 0, log
    assert "Traceback" not in log
    assert "could not connect" in log


@contextlib.contextmanager
def unharmed(pipeline, growth=64 * MIB):
    """Check that the pipeline still publishes to new and old subscribers afterwards, and has not grown.

    Meanwhile, an old subscriber loses nothing.
    """
    with pipeline.listen() as old:
        seq, before = next(old).header.seq, memory(pipeline.process.pid)
        yield
        assert pipeline.process.poll() is None
        now = pipeline.window().header.seq
        assert now > seq
        missing = Counter()
        while seq < now:
            message = next(old)
            seq = message.header.seq
            missing.update(message.missing)
        assert not missing[NETWORK]
        assert memory(pipeline.process.pid) < before + growth


def test_each_attack_leaves_the_pipeline_as_it_was_and_is_counted(pipeline):
    pipeline.wait_until(lambda counts: counts["handshakes"])
    before = pipeline.counts()
    with unharmed(pipeline):
        for payload in ATTACKS.values():
            attack(pipeline.address, payload, answer_s=0.02)
        pipeline.wait_until(lambda counts: counts["connections"] >= before["connections"] + len(ATTACKS))
    for reason in ("handshakes_wrong_mechanism", "handshakes_garbled", "handshakes_left"):
        pipeline.wait_until(lambda counts, reason=reason: counts[reason] > before[reason])


@only_keyed
def test_each_attack_after_the_first_encrypted_command_is_counted_and_admits_no_one(pipeline):
    pipeline.wait_until(lambda counts: counts["handshakes"])
    attacks = attacks_after_hello(pipeline.key)
    # For frames that are too large, libzmq reports only the connection.
    expected = {"handshakes_wrong_key": 2, "handshakes_garbled": 6, "handshakes_left": 1, "connections": len(attacks)}
    with unharmed(pipeline):
        before = pipeline.counts_now()
        for payload in attacks.values():
            attack(pipeline.address, payload, answer_s=0.02)
        pipeline.wait_until(lambda now: all(now[each] >= before[each] + expected[each] for each in expected))
        assert pipeline.counts_now()["handshakes"] == before["handshakes"]


@only_keyed
@pytest.mark.parametrize("words", [*(pytest.param(few, marks=pytest.mark.nightly) for few in (0, 1)), 2])
def test_hundreds_who_never_end_their_handshake_are_thrown_out_and_counted(pipeline, words):
    payload = b"".join([greeting(b"CURVE"), hello(pipeline.key)][:words])
    with unharmed(pipeline):
        before = pipeline.counts_now()
        with crowd(pipeline.address, 300, payload) as opened:
            assert opened > 250
            pipeline.wait_until(lambda now: now["handshakes_left"] >= before["handshakes_left"] + opened)


@only_keyed
@pytest.mark.parametrize(
    ("reasons", "options"),
    [
        pytest.param(
            ["not_allowed"], lambda pipeline: {"curve_serverkey": pipeline.key}, id="a key that is not on the list"
        ),
        pytest.param(
            ["wrong_key"],
            lambda pipeline: {"curve_serverkey": pipeline.stranger.public},
            id="another publisher's key",
            marks=pytest.mark.nightly,
        ),
        # Both ends notice, and the first one hangs up.
        pytest.param(
            ["wrong_mechanism", "left"],
            lambda _: {"plain_username": b"alice", "plain_password": b"secret"},
            id="PLAIN",
            marks=pytest.mark.nightly,
        ),
        pytest.param(["wrong_mechanism", "left"], lambda _: {}, id="NULL", marks=pytest.mark.nightly),
    ],
)
def test_hundreds_who_knock_and_may_not_are_counted_and_kept_out(pipeline, reasons, options):
    """Regular libzmq clients that have only the wrong key or mechanism."""
    pipeline.wait_until(lambda counts: counts["handshakes"])
    client_options = options(pipeline)
    if "curve_serverkey" in client_options:
        client_options |= {"curve_publickey": pipeline.stranger.public, "curve_secretkey": pipeline.stranger.secret}
    counts = [f"handshakes_{reason}" for reason in reasons]
    with unharmed(pipeline):
        before = pipeline.counts_now()
        with clients(pipeline.endpoint, 200, **client_options):
            pipeline.wait_until(lambda now: sum(now[count] - before[count] for count in counts) >= 200)
        assert pipeline.counts_now()["handshakes"] == before["handshakes"]


def test_noise_from_a_thousand_connections_leaves_the_pipeline_as_it_was(pipeline):
    pipeline.wait_until(lambda counts: counts["handshakes"])
    before = pipeline.counts()["connections"]
    with unharmed(pipeline):
        for seed in range(1000):
            attack(pipeline.address, noise(seed))
        pipeline.wait_until(lambda counts: counts["connections"] >= before + 1000)


@pytest.mark.parametrize(
    "payload", [b"", greeting(), greeting(b"CURVE"), HANDSHAKE], ids=["silent", "greeting", "CURVE", "idle"]
)
def test_a_crowd_that_stays_takes_no_descriptor_that_the_pipeline_needs(pipeline, payload):
    with unharmed(pipeline), crowd(pipeline.address, 500, payload) as opened:
        assert opened > 450  # the kernel's own queue may be full for a moment
        pipeline.window()


@only_open  # with keys: tests/stream/publisher/test_authenticator.py
@pytest.mark.parametrize("length", [8, 1000])
def test_a_client_that_subscribes_to_anything_is_disconnected(pipeline, length):
    pipeline.wait_until(lambda counts: True)
    before = pipeline.counts()["subscribers_expelled"]
    flood = b"".join(frame(b"\x01%d-" % number + os.urandom(length)) for number in range(200_000))
    # All of it would take ten gigabytes for texts of a kilobyte. libzmq takes some in before the client is ended.
    with unharmed(pipeline, growth=64 * MIB if length < 1000 else 128 * MIB):
        attack(pipeline.address, (HANDSHAKE, flood))
        pipeline.wait_until(lambda counts: counts["subscribers_expelled"] > before)


@only_open
def test_a_client_that_subscribes_to_one_topic_without_end_is_disconnected(pipeline):
    before = pipeline.counts()["subscribers_expelled"]
    with unharmed(pipeline):
        attack(pipeline.address, (HANDSHAKE, frame(b"\x01window") * 200_000))
        pipeline.wait_until(lambda counts: counts["subscribers_expelled"] > before)


@only_open
@pytest.mark.parametrize("wanted", [b"\x01%d", b"\x01window"], ids=["anything", "one topic"])
def test_clients_that_subscribe_without_end_and_leave_at_once_harm_nobody(pipeline, wanted):
    """Whoever has left cannot be disconnected, but what it sent waits in libzmq until it is read."""
    flood = b"".join(frame(wanted % number if b"%" in wanted else wanted) for number in range(3000))
    until_s = time.monotonic() + 5

    def keep_attacking():
        while time.monotonic() < until_s:
            attack(pipeline.address, (HANDSHAKE, flood))

    with unharmed(pipeline):
        attackers = [threading.Thread(target=keep_attacking) for _ in range(4)]
        for each in attackers:
            each.start()
        for each in attackers:
            each.join()
