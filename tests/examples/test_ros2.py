"""The ROS 2 node publishes gestures, and nothing of what a pipeline says about itself. ROS 2 is a stand-in here."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pipeline_helpers import gesture, state

from eventveil.stream.protocol.wire import decode

NODE = Path(__file__).parents[2] / "examples" / "ros2" / "gestures_node.py"
pytestmark = pytest.mark.skipif(not NODE.is_file(), reason="only a checkout has the examples")


def test_only_gestures_are_published(monkeypatch):
    published = []

    class Node:
        def __init__(self, name):
            self.name = name

        def create_publisher(self, _kind, topic, _depth):
            return SimpleNamespace(publish=lambda message: published.append((topic, message.data)))

    ros = {
        "rclpy": SimpleNamespace(init=lambda: None, spin=lambda _: None, ok=lambda: True, try_shutdown=lambda: None),
        "rclpy.node": SimpleNamespace(Node=Node),
        "std_msgs": SimpleNamespace(),
        "std_msgs.msg": SimpleNamespace(String=SimpleNamespace),
    }
    for name, module in ros.items():
        monkeypatch.setitem(sys.modules, name, module)
    frames = (state(state="camera_lost", stream="0"), gesture(0), state())
    monkeypatch.setattr("eventveil.stream.subscribe", lambda *_, **__: map(decode, frames))
    monkeypatch.setattr(sys, "argv", [str(NODE)])
    runpy.run_path(str(NODE), run_name="__main__")
    assert published == [("eventveil/stream_0/gesture", "wave")]
