"""What is shown: the raw events as they are, and of each anonymizer what a pipeline publishes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moving_disc import moving_disc
from pipeline_setup import make_kit
from show_helpers import plan_of, read_to_the_end
from stand_in_helpers import WORDS, book_of, make_stand_in_kit

from eventveil import Sensor
from eventveil.errors import AnonymizerError, ConfigError
from eventveil.io import open_events
from eventveil.models import Anonymizer, Book
from eventveil.models.reconstruction import FireNet
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.stream.owner.show import reel as reel_module
from eventveil.stream.owner.show.panels import Scale, panel_of
from eventveil.stream.owner.show.reel import RAW, Reel
from eventveil.stream.owner.show.steps import STEP_US


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    """A stand-in and a noisy anonymizer, with the same recording of 2.5 seconds; and untrained weights of FireNet."""
    folder = tmp_path_factory.mktemp("kits")
    stand_in = make_stand_in_kit(folder, moving_disc(Sensor(64, 64), 2.5))
    noisy = make_kit(folder, seconds=0.2)
    torch.manual_seed(1)
    torch.save(FireNet().state_dict(), folder / "firenet.pth")
    return stand_in, noisy, folder / "firenet.pth"


def reel_of(recording, *weights, firenet=None):
    with Reel({path.stem: plan_of(recording, path) for path in weights}, firenet) as reel:
        read_to_the_end(reel)
    return reel


def signed_of(recording):
    """Return ON minus OFF events of each step, straight from the file."""
    with open_events(recording) as source:
        packets, sensor = list(source), source.sensor
    t, x, y, p = (np.concatenate([getattr(packet, name) for packet in packets]) for name in ("t", "x", "y", "p"))
    steps = np.zeros((int(t[-1] // STEP_US - t[0] // STEP_US) + 1, sensor.height, sensor.width), np.int64)
    np.add.at(steps, (t // STEP_US - t[0] // STEP_US, y, x), np.where(p, 1, -1))
    return steps


def test_raw_events_are_shown_as_they_are(kits):
    stand_in, noisy, _ = kits
    reel = reel_of(stand_in.recording, stand_in.anonymizer, noisy.anonymizer)
    want, scale = signed_of(stand_in.recording), Scale()
    assert len(reel.span) == len(want)
    for number, signed in enumerate(want):
        step = reel.step(number)
        assert [one.name for one in step.columns] == [RAW, "stand_in", "anonymizer"]
        np.testing.assert_array_equal(step.columns[0].events, scale.grey(signed.astype(np.float32)))
        assert ((step.columns[0].events > 128) == (signed > 0)).all()


def test_of_a_stand_in_the_words_of_its_book_are_shown(kits, monkeypatch):
    stand_in, _, _ = kits
    numbers = iter([0, 0, 1, 1, 2, 2, 3, 3] * 9)
    monkeypatch.setattr(StandInRuntime, "__call__", lambda self, counts, *_: [next(numbers) for _ in counts])
    reel = reel_of(stand_in.recording, stand_in.anonymizer)
    book, scale, seen = Book.read(book_of(stand_in)), Scale(), set()
    for number in reel.span:
        step = reel.step(number)
        shown = step.columns[1]
        words = [k for k, word in enumerate(WORDS) if word.label == shown.label]
        if not words:  # before its first decision
            assert (shown.events == 128).all()
            continue
        window = book.window(words[0], step.end_us - STEP_US)
        np.testing.assert_array_equal(shown.events, scale.grey(window[1] - window[0]))
        seen.add(words[0])
    assert seen == {0, 1, 2, 3}


def test_of_other_anonymizers_their_windows_are_shown_once_they_are_complete(kits, monkeypatch):
    _, noisy, _ = kits
    monkeypatch.setattr(Anonymizer, "__call__", lambda self, counts: (np.stack(counts) * 2.0).reshape(
        len(counts), -1, *counts[0].shape[2:]).astype(np.float32))  # fmt: skip
    plan = plan_of(noisy.recording, noisy.anonymizer)
    panel = panel_of("noisy", plan, Sensor(64, 64), None)
    histogrammer = plan.window.histogrammer(panel_view(plan))
    from eventveil.stream.owner.show.steps import in_steps

    with open_events(noisy.recording) as source:
        for packet in in_steps(iter(source)):
            want = np.zeros((32, 32), np.float32)
            for window in histogrammer.push(packet):
                want += 2.0 * (window.counts[:, 1].astype(np.float32) - window.counts[:, 0]).sum(0)
            np.testing.assert_array_equal(panel.see(packet)[0], want)


def panel_view(plan):
    from eventveil.stream.preprocess.view import View

    return View.of(Sensor(64, 64), plan.settings.sources[0].scene, plan.window.size, plan.window.field)


def test_firenet_sees_both_sides_and_keeps_its_state(kits):
    stand_in, noisy, firenet = kits
    reel = reel_of(noisy.recording, stand_in.anonymizer, noisy.anonymizer, firenet=firenet)
    last = reel.step(reel.span[-1])
    assert [one.picture.shape for one in last.columns] == [(64, 64), (20, 24), (32, 32)]
    assert all(one.picture.dtype == np.uint8 and one.picture.std() > 0 for one in (last.columns[0], last.columns[2]))
    assert reel_of(stand_in.recording, stand_in.anonymizer).step(3).columns[0].picture is None


def test_a_large_sensor_is_shown_small(tmp_path):
    from pipeline_setup import write_recording

    kit = make_kit(tmp_path, seconds=0.1)
    wide = Sensor(1280, 720)
    write_recording(tmp_path / "wide.aedat4", moving_disc(wide, 0.25), wide)
    step = reel_of(tmp_path / "wide.aedat4", kit.anonymizer).step(0)
    assert step.columns[0].events.shape == (144, 256)


def test_a_failing_anonymizer_ends_it_and_shows_nothing_of_the_step(kits, monkeypatch):
    _, noisy, _ = kits
    monkeypatch.setattr(Anonymizer, "__call__", lambda self, counts: (_ for _ in ()).throw(AnonymizerError("broken")))
    with pytest.raises(AnonymizerError, match="broken"):
        reel_of(noisy.recording, noisy.anonymizer)


def test_memory_is_bounded(kits, monkeypatch):
    stand_in, _, _ = kits
    monkeypatch.setattr(reel_module, "MAX_BYTES", 20_000)  # four steps: 64 x 64 and 24 x 20 bytes each
    reel = reel_of(stand_in.recording, stand_in.anonymizer)
    assert (reel.span, reel.end) == (range(5), reel_module.FULL)
    with Reel({"x": plan_of(stand_in.recording, stand_in.anonymizer)}, None) as live:
        live.live = True  # as of a camera: the oldest steps go
        read_to_the_end(live)
    assert live.end == "The whole source"
    assert live.span.stop >= 24
    assert len(live.span) == 4
    assert live.step(0) is None
    assert live.step(live.span.stop) is None


def test_an_anonymizer_of_whole_recordings_is_refused(kits):
    _, noisy, _ = kits
    plan = plan_of(noisy.recording, noisy.anonymizer)
    object.__setattr__(plan.window, "bin_us", None)
    with pytest.raises(ConfigError, match="whole recordings"):
        panel_of("noisy", plan, Sensor(64, 64), None)


def test_pictures_stay_out_of_logs(kits):
    stand_in, _, _ = kits
    step = reel_of(stand_in.recording, stand_in.anonymizer).step(0)
    assert "array" not in repr(step)
