"""The parts of a live camera that need no camera: its URI, its queue, the frames of its process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil import Sensor
from eventveil.config import run_settings
from eventveil.errors import ConfigError
from eventveil.io.camera.device import CameraBatch, CameraInfo, to_records
from eventveil.io.camera.frames import (
    BACKLOG,
    EVENTS,
    LOST,
    OVERFLOW,
    Head,
    Totals,
    body_buffer,
    encode_json,
    make_frame,
)
from eventveil.io.camera.queue import CameraQueue
from eventveil.io.camera.uri import CameraUri
from eventveil.io.formats.aedat4 import RECORD
from eventveil.replay.player.sources import SourceUri, open_playlist

MS, S = 1_000_000, 1_000_000_000  # in nanoseconds


@pytest.mark.parametrize(
    ("uri", "kind", "name", "options"),
    [
        ("dv://", "dv", "", {}),
        ("dv://DXB00010", "dv", "DXB00010", {}),
        ("dv://?driver=neuromorphic-drivers", "dv", "", {"driver": "neuromorphic-drivers"}),
        ("prophesee://00050423?driver=metavision", "prophesee", "00050423", {"driver": "metavision"}),
        ("dv+tcp://10.0.0.1:7777", "dv+tcp", "10.0.0.1:7777", {}),
        ("dv+tcp://[::1]:7777", "dv+tcp", "[::1]:7777", {}),
        ("dv+tcp://a:1?certificate=/c.pem&key=/k.pem", "dv+tcp", "a:1", {"certificate": "/c.pem", "key": "/k.pem"}),
        ("dv+unix:///run/a.sock", "dv+unix", "/run/a.sock", {}),
    ],
)
def test_a_uri_is_read_and_written_as_it_was(uri, kind, name, options):
    parsed = CameraUri.parse(uri)
    assert (parsed.kind, parsed.name, dict(parsed.options)) == (kind, name, options)
    assert str(parsed) == uri


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("dv+tcp://host", "expected a host and a port"),
        ("dv+tcp://:7777", "expected a host and a port"),
        ("dv+tcp://host:70000", "expected a host and a port"),
        ("dv+tcp://host:1?certificate=a.pem", "TLS takes both"),
        ("dv+tcp://host:1?cert=a.pem", "unknown option cert; dv+tcp:// takes certificate, key"),
        ("dv+unix://run/a.sock", "three slashes"),
        ("dv+unix:///a.sock?x=1", "takes no options"),
        ("dv://?driver=metavision", "expected dv-processing or neuromorphic-drivers"),
        ("prophesee://?driver=dv-processing", "expected metavision or neuromorphic-drivers"),
        ("webcam://", "expected a camera as dv://"),
    ],
)
def test_what_is_not_a_camera_is_refused_with_examples_of_one(uri, complaint):
    with pytest.raises(ConfigError, match=r"(?s).*") as refused:
        CameraUri.parse(uri)
    assert complaint in str(refused.value)


def test_what_is_known_of_a_camera_travels_as_json():
    info = CameraInfo(driver="d", model="m", serial="1", sensor=Sensor(640, 480), uri="dv://1", problem="busy")
    assert CameraInfo.from_dict(info.to_dict()) == info
    bare = CameraInfo(driver="d", model="m")
    assert CameraInfo.from_dict(bare.to_dict()) == bare


# -- the queue ---------------------------------------------------------------------------------------------------------


def batch(n, received_ns=0, **what):
    return CameraBatch(to_records(range(n), [1] * n, [2] * n, [True] * n), received_ns, **what)


def taken(queue):
    got = []
    while queue:
        one, flags, totals = queue.take()
        got.append((len(one.events), flags, totals))
    return got


def test_what_waits_too_long_gives_way_and_is_counted():
    queue = CameraQueue(max_age_ns=100)
    for number in range(4):
        queue.put(batch(10 + number, received_ns=number * 50))
    queue.drop_old(now_ns=170)  # those of 0 and 50 are older than 100
    assert taken(queue) == [(12, BACKLOG, Totals(33, 21, 0)), (13, 0, Totals(46, 21, 0))]
    assert queue.totals == Totals(46, 21, 0)


def test_without_an_age_only_what_there_is_no_room_for_gives_way():
    queue = CameraQueue(max_age_ns=None, max_bytes=25 * RECORD.itemsize)
    for _ in range(4):
        queue.put(batch(10))
    queue.drop_old(now_ns=10**18)
    assert taken(queue) == [(10, BACKLOG, Totals(30, 20, 0)), (10, 0, Totals(40, 20, 0))]


def test_what_the_camera_lost_is_reported_with_the_next_events():
    queue = CameraQueue(max_age_ns=None)
    queue.put(batch(0, overflow=True))
    assert not queue
    queue.put(batch(0, discarded=7))
    queue.put(batch(3))
    assert taken(queue) == [(3, OVERFLOW | BACKLOG, Totals(3, 0, 7))]
    assert queue.flags() == 0


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "drop"]), st.integers(0, 30)), max_size=40))
def test_the_counters_balance_whatever_is_put_and_dropped(steps):
    queue, delivered = CameraQueue(max_age_ns=20, max_bytes=60 * RECORD.itemsize), 0
    for now_ns, (step, number) in enumerate(steps):
        if step == "put":
            queue.put(batch(number, received_ns=now_ns))
        elif step == "drop":
            queue.drop_old(now_ns + number)
        elif queue:
            one, _, totals = queue.take()
            delivered += len(one.events)
            assert totals.read == totals.dropped + delivered
    delivered += sum(n for n, _, _ in taken(queue))
    assert queue.totals.read == queue.totals.dropped + delivered


# -- the frames --------------------------------------------------------------------------------------------------------


def test_frames_arrive_as_they_left():
    events = batch(5).events
    head = Head(EVENTS, OVERFLOW, events.nbytes, 2**62, Totals(2**40, 3, 4))
    got = Head.unpack(head.pack())
    assert got == head or (got.kind, got.flags, got.size, got.stamp_ns, got.totals) == (
        head.kind, head.flags, head.size, head.stamp_ns, head.totals,
    )  # fmt: skip
    room = body_buffer(got)
    room.view(np.uint8)[:] = events.view(np.uint8)
    np.testing.assert_array_equal(make_frame(got, room).events, events)


def test_a_frame_that_says_something_says_it_again():
    body = encode_json({"found": "nothing", "passing": True})
    head = Head(LOST, 0, len(body), 0, Totals())
    room = body_buffer(head)
    room[:] = np.frombuffer(body, np.uint8)
    assert make_frame(head, room).content == {"found": "nothing", "passing": True}


@pytest.mark.parametrize(
    "head", [Head(9, 0, 0, 0, Totals()), Head(EVENTS, 0, 15, 0, Totals()), Head(LOST, 0, 2**31, 0, Totals())]
)
def test_what_is_not_a_frame_is_refused_before_memory_is_allocated(head):
    with pytest.raises(ValueError, match="not a frame"):
        Head.unpack(head.pack())


# -- settings ----------------------------------------------------------------------------------------------------------


def settings(*overrides, **source):
    return run_settings({"sources": [{"uri": "dv://"} | source]}, overrides, name="mine.yaml")


def test_a_camera_is_a_source_with_settings_of_its_own():
    camera = settings("sources.0.camera.biases={diff_on: 3}", camera={"wait": True, "roi": [1, 2, 3, 4]}).sources[0]
    assert camera.where.is_camera
    assert (camera.camera.wait, camera.camera.roi, camera.camera.biases) == (True, (1, 2, 3, 4), {"diff_on": 3})


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"uri": "dv+tcp://host"}, "expected a host and a port"),
        (
            {"uri": "a.aedat4", "camera": {"wait": True}},
            "camera is for live cameras, such as dv://, and 'a.aedat4' is not one",
        ),
        ({"sensor": "640x480"}, "a live camera reports its own geometry; leave sensor out"),
        ({"speed": 2}, "a live camera runs in real time; leave speed out"),
        ({"speed": "max"}, "a live camera runs in real time; leave speed out"),
        ({"start_s": 1}, "a live camera starts when it is opened; leave start_s out"),
        ({"loop": True}, "a live camera never ends; leave loop out"),
        ({"on_disorder": "sort"}, "times of a live camera are always corrected, and counted; leave on_disorder out"),
        ({"shuffle": True}, "shuffle is for the trials of a dataset"),
        ({"camera": {"quiet": 3}}, "known here: wait, reconnect_s, quiet_ms, biases, roi, max_event_rate"),
        ({"camera": {"max_event_rate": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_with_a_camera_is_refused(source, complaint):
    with pytest.raises(ConfigError) as refused:
        settings(**source)
    assert complaint in str(refused.value)


def test_a_camera_cannot_be_played():
    options = {"sensor": None, "on_disorder": "raise", "shuffle": False, "seed": None}
    with pytest.raises(ConfigError, match="dv://: is a live camera and cannot be replayed; `eventveil run dv://`"):
        open_playlist(SourceUri.parse("dv://"), **options)
