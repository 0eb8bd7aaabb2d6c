"""The presets start: with simulated people in place of the camera, each publishes the words of the shipped book."""

from __future__ import annotations

import threading

import pytest

from eventveil.config import packaged_configs, read_yaml, run_settings
from eventveil.host.addresses import free_port
from eventveil.models import shipped
from eventveil.stream import subscribe
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.keys import AllowList, new_keys, read_public

PRESETS = packaged_configs("presets")


def test_these_are_the_presets():
    assert sorted(PRESETS) == ["desk", "edge", "kiosk", "room"]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_publishes_with_simulated_people(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = read_yaml(PRESETS[name])
    camera = values["sources"][0]
    assert len(values["sources"]) == 1
    assert camera.pop("camera")["wait"]  # waits for the camera, and needs no one to start it again
    assert camera.pop("uri") in ("dv://", "prophesee://")
    new_keys(tmp_path / "keys", "line")
    client = new_keys(tmp_path / "alice")
    AllowList(tmp_path / "keys").allow(read_public(client))
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    assert values["line"]["delivery"] == "live"
    # Lossless and as fast as it goes: on a busy machine, live windows would be too late, and rightly withheld.
    changes = ["line.run_as=threads", "line.delivery=lossless", f"publish.bind={endpoint}", "publish.wait_for=1"]
    values["sources"] = [camera | {"uri": "simulate:", "stop_s": 1.5, "speed": "max"}]
    pipeline = Pipeline(run_settings(values, changes, name=name))
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    keys = (
        {"server_key": tmp_path / "keys" / "line.pub", "key": tmp_path / "alice" / "secret.key"}
        if name == "edge"
        else {}
    )
    try:
        messages = subscribe(endpoint, book=shipped.BOOK, timeout_s=60, **keys)
        words = {getattr(message.header, "word", None) for message in messages}
    finally:
        pipeline.stop()
        thread.join(60)
    assert pipeline.status.failure is None
    assert words - {None}
