"""The page over real sockets: what browsers receive, which requests are refused, and what a slow browser costs."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import threading
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from book_helpers import clip, small_book
from endpoint_helpers import make_keys, publishing, who
from page_helpers import PATIENCE_S, Publisher, browser, decoded, get, page
from pipeline_helpers import DIGEST, LABELS, RUN, pipeline_ended, state, window
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed, InvalidStatus

from eventveil.cli import app
from eventveil.errors import AccessError, BookError, ConfigError
from eventveil.stream.clients.web import server
from eventveil.stream.clients.web.app import FILES, MAX_BROWSERS
from eventveil.stream.clients.web.feed import Feed, WatchedPipeline
from eventveil.stream.clients.web.frames import PageFrame
from eventveil.stream.clients.web.newest import NewestFrames
from eventveil.stream.clients.web.serve import serve_page
from eventveil.stream.protocol.keys import new_keys
from eventveil.stream.protocol.wire import decode

TOKEN = "q0jRz9L0kQ2mX7uE5b1nVtYcH8s/pA+d=="
VALUES = np.arange(-6, 18, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def pipeline():
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def address(pipeline):
    with page(pipeline.endpoint) as served:
        pipeline.wait()
        yield served


@pytest.fixture
def guarded(pipeline):
    with page(pipeline.endpoint, TOKEN) as served:
        yield served


def refusal(address, **options):
    """Return the status with which a WebSocket is refused."""
    with pytest.raises(InvalidStatus) as caught, browser(address, **options):
        pass
    return caught.value.response.status_code


def test_the_page_and_its_files_are_served_and_nothing_else(address):
    for path in ("/", *(f"/{name}" for name in FILES)):
        status, headers, text = get(address, path)
        assert status == 200
        assert text
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not re.findall(r"https?://|[\"'(=]//", text)
    for path in ("/frames.py", "/../app.py", "/%2e%2e/app.py", "/app.py", "/page.html/x", "//etc/passwd"):
        assert get(address, path)[0] == 404
    assert "<script>" not in get(address)[2]  # none in the page itself, which the policy would block


def test_a_replay_is_not_shown_as_live(pipeline, address):
    """Browsers that come later learn it, too: it is in every window."""
    with browser(address) as one:
        pipeline.window(0, VALUES)
        assert one.next("window")[1]["replay"] == ""
        pipeline.send(pipeline_ended("replay", stream="0", reason="a replay"))
        pipeline.window(1, VALUES)
        assert one.next("window")[1]["replay"] == "a replay"
    assert "stream.window.replay) return [`Not live" in get(address, "/page.js")[2]


def test_a_browser_receives_windows_gestures_and_states(pipeline, address):
    with browser(address) as one:
        assert one.next("page")[1]["checks"] == {"keys": False, "book": False, "certificate": False}
        pipeline.window(3, VALUES)
        _, header, payload = one.next("window")  # before the next is sent, which might replace it
        assert (header["seq"], header["run"], header["anonymizer"]) == (3, RUN, DIGEST)
        assert (header["lost"], header["windows_per_s"]) == ({}, None)
        levels = np.frombuffer(payload, np.uint8).reshape(header["picture"])
        assert header["picture"] == header["shape"] == [2, 3, 4]
        seen = header["low"] + (header["high"] - header["low"]) * levels / 255
        assert np.abs(seen - VALUES).max() <= (17 + 6) / 255 / 2 + 1e-6
        pipeline.gesture(3)
        gesture = one.next("gesture")[1]
        assert (gesture["label"], gesture["probability"], gesture["labels"]) == ("wave", 0.5, list(LABELS))
        pipeline.window(6, VALUES, lost={"age": 1})
        assert one.next("window")[1]["lost"] == {"age": 1, "network": 1}
        pipeline.send(pipeline_ended("camera_lost", stream="0"))
        assert one.next("state")[1] == {"kind": "state", "stream": "0", "state": "camera_lost", "reason": ""}


def test_a_newcomer_sees_the_newest_at_once_and_nothing_of_an_earlier_run(pipeline, address):
    with browser(address) as first:
        for seq in range(3):
            pipeline.window(seq)
        pipeline.window(7, stream="door", run="ff" * 8)
        while first.next("window")[1]["stream"] != "door":
            pass
    with browser(address) as late:
        frames = [late.next("window", "line", "page")[1] for _ in range(3)]
    assert sorted(frame["kind"] for frame in frames) == ["line", "page", "window"]
    assert [(frame["stream"], frame["seq"]) for frame in frames if frame["kind"] == "window"] == [("door", 7)]


def test_a_large_window_becomes_a_smaller_picture_of_means(pipeline, address):
    values = np.zeros((1, 600, 500), np.float32)
    values[0, :3, :3] = 9
    with browser(address) as one:
        pipeline.window(0, values)
        _, header, payload = one.next("window")
    assert header["shape"] == [1, 600, 500]
    assert header["picture"] == [1, 200, 166]
    assert header["high"] == 9
    assert np.flatnonzero(np.frombuffer(payload, np.uint8)).tolist() == [0]


def test_what_is_not_a_number_is_shown_as_zero(pipeline, address):
    with browser(address) as one:
        pipeline.window(0, [[[np.nan, np.inf, -np.inf, 3e38, -3e38]]])
        _, header, payload = one.next("window")
    assert np.isfinite([header["low"], header["high"]]).all()
    assert payload[0] == payload[1] == payload[2]


def test_the_number_of_streams_is_limited(pipeline, address):
    with browser(address) as one:
        for number in range(40):
            pipeline.window(number, stream=f"s{number}")
        pipeline.window(40, stream="s0")
        streams = set()
        while one_header := one.next("window")[1]:
            streams.add(one_header["stream"])
            if one_header["seq"] == 40:
                break
    assert len(streams) == 32


def test_of_only_so_many_streams_states_are_kept():
    """A publisher without keys could be any program: a page that runs for weeks must not grow with their names."""
    feed = Feed(WatchedPipeline("tcp://127.0.0.1:5999"))
    for number in range(1000):
        feed._take(decode(state(stream=f"stream-{number}")))
        feed._take(decode(state(state="replay", stream=f"replay-{number}")))
    feed._take(decode(state(state="failed")))
    assert len(feed._newest) + len(feed._replays) <= 40
    assert ("state", "stream-0") in feed._newest
    assert ("state", "") in feed._newest


def test_a_program_that_pretends_to_be_ever_new_pipelines_fills_no_memory():
    """Each run has streams and reasons of its own, and one browser is halted all the time."""

    async def watch():
        feed = Feed(WatchedPipeline("tcp://127.0.0.1:5999"))
        with feed.watched() as halted:
            for number in range(200):
                about = {"stream": f"stream-{number}", "run": f"{number:016x}"}
                feed._take(decode(state(state="replay", stream=f"stream-{number}")))
                feed._take(replace(decode(window(0, **about)), missing={}))
            for seq in range(200):
                feed._take(replace(decode(window(seq, **about)), missing={f"reason-{seq}": 1}))
            return feed, len(halted._waiting), await halted.take()

    feed, waiting, first = asyncio.run(watch())
    assert len(feed._replays) + len(feed._newest) + waiting <= 40
    assert first
    ((_, stream),) = feed._streams.items()
    assert sum(stream._lost.values()) == 200
    assert len(stream._lost) <= 33


def test_a_browser_waits_again_after_its_frames_were_forgotten():
    async def watch():
        newest = NewestFrames(asyncio.get_running_loop())
        newest.put(PageFrame.of("window", "0"))
        newest.forget({"window"})
        waiting = asyncio.create_task(newest.take())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        newest.put(PageFrame.of("line"))
        return await waiting

    dropped, header, _ = decoded(asyncio.run(watch()))
    assert (dropped, header["kind"]) == (1, "line")


def test_a_halted_browser_of_ten_misses_frames_learns_how_many_and_delays_no_other(pipeline, address):
    """No clock: each window is sent when all others have the one before; if one had to wait, the test would hang."""
    values = np.random.default_rng(0).random((16, 256, 256)).astype(np.float32)  # a megabyte as a picture
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(address)
        plain.sendall(
            f"GET /frames HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert plain.recv(12) == b"HTTP/1.1 101"  # and now it is halted
        with ExitStack() as opened:
            others = [opened.enter_context(browser(address)) for _ in range(9)]
            for seq in range(15):  # the buffers of the kernel hold a few of them
                pipeline.window(seq, values)
                for other in others:
                    dropped, header, _ = other.next("window")
                    assert (dropped, header["seq"]) == (0, seq)
        received = read_websocket(plain, until=lambda frames: frames and frames[-1][1].get("seq") == 14)
    windows = [(dropped, header["seq"]) for dropped, header, _ in received if header["kind"] == "window"]
    assert windows[-1][1] == 14  # the newest is not among those it has missed
    missed = 15 - len(windows)
    assert missed > 0
    assert windows[-1][0] == missed


def read_websocket(plain, until):
    """Read frames from a raw connection, as RFC 6455 lays them out, until a condition is fulfilled."""
    plain.settimeout(PATIENCE_S)
    file = plain.makefile("rb")
    while file.readline() != b"\r\n":
        pass
    frames = []
    while not until(frames):
        start = file.read(2)
        size = start[1] & 127
        if size > 125:
            size = int.from_bytes(file.read(2 if size == 126 else 8))
        frames.append(decoded(file.read(size)))
    return frames


def test_only_local_names_are_answered_without_a_token(address):
    for host in ("evil.example", "evil.example:80", "192.0.2.1", "[2001:db8::1]:8765", "localhost.evil.example", ""):
        assert get(address, "/", Host=host)[0] in (400, 403)
        if host:
            assert refusal(address, host=host) == 403
    for host in ("localhost", f"127.0.0.1:{address[1]}", "[::1]:8765"):
        assert get(address, "/", Host=host)[0] == 200
        with browser(address, host=host) as one:
            one.next("page")


def test_pages_of_other_sites_cannot_open_the_socket(address):
    port = address[1]
    for origin in ("http://evil.example", "null", "http://localhost", f"http://127.0.0.1:{port + 1}", "file://",
                   f"http://127.0.0.1:{port}.evil.example", f"ftp://127.0.0.1:{port}"):  # fmt: skip
        assert refusal(address, origin=origin) == 403
        assert get(address, "/check", Origin=origin)[0] == 403
    with browser(address, origin=f"http://127.0.0.1:{port}") as one:
        one.next("page")


def test_with_a_token_no_frame_without_it(guarded):
    assert get(guarded, "/", Host="line.example")[0] == 200  # the page asks for it
    encoded = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    for wrong in ({}, {"subprotocols": ["eventveil", "eventveil.token."]},
                  {"subprotocols": ["eventveil", f"eventveil.token.{encoded[:-4]}"]},
                  {"subprotocols": ["eventveil.token.a"]},
                  {"additional_headers": {"Authorization": f"Bearer {TOKEN}x"}},
                  {"additional_headers": {"Authorization": TOKEN}}):  # fmt: skip
        assert refusal(guarded, **wrong) == 401
    assert get(guarded, "/check")[0] == 401
    assert get(guarded, "/check", Authorization=f"Bearer {TOKEN[:-1]}")[0] == 401
    assert get(guarded, "/check", Authorization=f"Bearer {TOKEN}")[0] == 204
    assert not any(TOKEN in get(guarded, f"/{name}")[2] for name in FILES)
    for right in ({"subprotocols": ["eventveil", f"eventveil.token.{encoded}"]},
                  {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}}):  # fmt: skip
        with browser(guarded, host="line.example", **right) as one:
            one.next("page")
    right = {"subprotocols": ["eventveil", f"eventveil.token.{encoded}"]}
    assert refusal(guarded, host="line.example", origin="http://evil.example", **right) == 403


def test_the_token_is_not_sent_back(guarded):
    encoded = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    with browser(guarded, subprotocols=["eventveil", f"eventveil.token.{encoded}"]) as one:
        assert one.socket.subprotocol == "eventveil"


def test_a_browser_has_nothing_to_say_and_their_number_is_limited(address):
    with browser(address) as one:
        one.next("page")
        one.socket.send("anything")
        with pytest.raises(ConnectionClosed):
            list(one.socket)
    with ExitStack() as open_browsers:
        for _ in range(MAX_BROWSERS):
            open_browsers.enter_context(browser(address)).next("page")
        assert refusal(address) == 503


def test_a_client_that_says_nothing_is_disconnected(pipeline, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S", 0.05)
    with page(pipeline.endpoint) as address, browser(address) as one:
        for begun in (
            b"",
            b"GET / HTTP/1.1\r\nHost: loc",
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
        ):
            with socket.create_connection(address, PATIENCE_S) as silent:
                silent.sendall(begun)
                while silent.recv(1000):
                    pass
        one.next("page")  # a WebSocket stays


def test_a_lost_publisher_is_found_again(pipeline, address):
    with browser(address) as one:
        pipeline.window(1)
        one.next("window")
        pipeline.close()
        with Publisher(pipeline.endpoint) as successor:
            successor.wait()
            successor.window(2, run="ff" * 8)
            assert one.next("window")[1]["run"] == "ff" * 8


def test_after_the_end_of_a_pipeline_the_next_one_is_awaited(pipeline, address):
    with browser(address) as one:
        pipeline.window(1)
        pipeline.send(pipeline_ended())
        assert one.next("state")[1]["state"] == "ended"
        while one.next("line")[1]["state"] != "waiting":
            pass
        pipeline.wait()
        pipeline.window(1, run="ff" * 8)
        assert one.next("window")[1]["run"] == "ff" * 8


def test_a_pipeline_that_is_not_that_of_the_book_ends_the_page_and_says_why(pipeline, tmp_path):
    clips = [clip(seed, length_us=400_000) for seed in (0, 1)]
    small_book(clips, step_us=100_000).write(tmp_path / "book")
    addresses, errors, known = [], [], threading.Event()

    def say(text):
        addresses.append(text)
        known.set()

    def run():
        try:
            serve_page(WatchedPipeline(pipeline.endpoint, book=tmp_path / "book"), "127.0.0.1:0", say=say)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert known.wait(PATIENCE_S)
    host, port = addresses[0].partition("http://")[2].rstrip("/").split(":")
    with browser((host, int(port))) as one:
        assert one.next("page")[1]["checks"]["book"]
        pipeline.wait()
        pipeline.window(0)
        while (said := one.next("line")[1])["state"] != "refused":
            pass
    thread.join(PATIENCE_S)
    assert said["reason"].startswith("refused: the pipeline publishes no words of a book")
    assert isinstance(errors[0], BookError)


def test_the_command_checks_what_it_is_asked_to_check(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("eventveil.cli.view.on_signals", lambda stop: None)
    clips = [clip(seed, length_us=400_000) for seed in (0, 1)]
    small_book(clips, step_us=100_000).write(tmp_path / "book")
    thread = threading.Thread(target=lambda: (pipeline.wait(), pipeline.window(0)))
    thread.start()
    options = ["--http", "127.0.0.1:0", "--book", str(tmp_path / "book")]
    done = CliRunner().invoke(app, ["view", pipeline.endpoint, *options])
    thread.join()
    assert isinstance(done.exception, BookError)
    assert "watch in a browser: http://127.0.0.1:" in done.output


def token_file(tmp_path, mode=0o600):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(mode)
    return path


def test_nothing_is_served_to_others_without_a_token(tmp_path):
    new_keys(tmp_path / "alice")
    key = {"server_key": tmp_path / "alice" / "alice.pub", "key": tmp_path / "alice" / "secret.key"}
    say = pytest.fail
    for http in ("0.0.0.0:0", "192.0.2.1:8765", "[::]:0"):
        with pytest.raises(ConfigError, match=r"other machines can open .* give --token FILE"):
            serve_page(WatchedPipeline("tcp://127.0.0.1:1"), http, say=say)
    with pytest.raises(ConfigError, match=r"other users of this machine could open .* only your key may receive"):
        serve_page(WatchedPipeline("tcp://127.0.0.1:1", **key), "127.0.0.1:0", say=say)
    with pytest.raises(AccessError, match="others can access it"):
        serve_page(WatchedPipeline("tcp://127.0.0.1:1", **key), "127.0.0.1:0", token_file(tmp_path, 0o644), say=say)
    with pytest.raises(ConfigError, match="expected an IP address of this machine and a port"):
        serve_page(WatchedPipeline("tcp://127.0.0.1:1"), "8765", say=say)


def test_an_address_in_use_is_reported(address):
    with pytest.raises(ConfigError, match="Address already in use; choose another"):
        serve_page(WatchedPipeline("tcp://127.0.0.1:1"), f"127.0.0.1:{address[1]}", say=pytest.fail)


def test_a_key_that_the_publisher_refuses_ends_the_page(tmp_path):
    keys = make_keys(tmp_path)
    with publishing(keys) as real, pytest.raises(AccessError, match="does not know this key"):
        serve_page(
            WatchedPipeline(real.endpoint, **who(keys, "bob")), "127.0.0.1:0", token_file(tmp_path), say=lambda _: None
        )
