"""`eventveil weights`: init, show and import."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner
from weights_helpers import anonymizer, anonymizer_file, published_anonymizer, published_classifier, saved

from eventveil.cli import app
from eventveil.errors import ConfigError, EventError, WeightsError
from eventveil.models import load_weights
from eventveil.models.published import GESTURES


@pytest.fixture
def file(tmp_path):
    return anonymizer_file(tmp_path / "a.safetensors")


def run(*arguments):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_init_makes_untrained_weights_that_load(tmp_path):
    out = tmp_path / "a.safetensors"
    assert run("init", "anonynoise", "--out", out, "--seed", 3, "--bins", 2, "--size", "16x12").exit_code == 0
    weights = load_weights(out)
    assert not weights.metadata.trained
    assert weights.metadata.window_shape == (2, 2, 12, 16)
    assert (weights.metadata.bin_us, weights.metadata.hop) == (20_000, 2)
    again, other = tmp_path / "b", tmp_path / "c"
    run("init", "anonynoise", "--out", again, "--seed", 3, "--bins", 2, "--size", "16x12")
    run("init", "anonynoise", "--out", other, "--seed", 4, "--bins", 2, "--size", "16x12")
    assert load_weights(again).digest == weights.digest != load_weights(other).digest


def test_init_knows_every_kind(tmp_path):
    assert run("init", "event_autoencoder", "--out", tmp_path / "e").exit_code == 0
    assert load_weights(tmp_path / "e").metadata.representation == "voxel"
    narrow = ("--width", 4, "--depth", 18)
    assert run("init", "resnet_classifier", "--out", tmp_path / "c", *narrow, "--labels", "wave, clap").exit_code == 0
    assert load_weights(tmp_path / "c").metadata.labels == ("wave", "clap")
    assert run("init", "resnet_classifier", "--out", tmp_path / "c", *narrow, "--force").exit_code == 0
    assert load_weights(tmp_path / "c").metadata.labels == GESTURES
    assert run("init", "denoiser", "--out", tmp_path / "d").exit_code == 0
    for error, arguments in (
        (ConfigError, ("spiking", "--out", tmp_path / "s")),
        (ConfigError, ("resnet_classifier", "--out", tmp_path / "s", "--depth", 20)),
        (ConfigError, ("anonynoise", "--out", tmp_path / "s", "--labels", "a,b")),
        (EventError, ("anonynoise", "--out", tmp_path / "s", "--size", "16")),
    ):
        assert isinstance(run("init", *arguments).exception, error)
    assert not (tmp_path / "s").exists()


def test_show_prints_what_a_file_holds(file):
    shown = run("show", file, "--json")
    assert shown.exit_code == 0
    contents = json.loads(shown.stdout)
    assert contents["kind"] == "anonynoise"
    assert contents["size"] == [16, 12]
    assert contents["trained"] is True
    assert contents["parameters"] == sum(p.numel() for p in anonymizer()[0].parameters())
    assert contents["digest"] == load_weights(file).digest
    assert contents["digests"]["certificate"] is None
    table = run("show", file).stdout
    assert "anonynoise" in table
    file.write_bytes(b"x")
    assert isinstance(run("show", file).exception, WeightsError)


def test_import_takes_the_papers_settings_by_default(tmp_path):
    path = saved(tmp_path, published_anonymizer(), "gesture.pth")
    assert run("import", "anonynoise", path).exit_code == 0
    metadata = load_weights(tmp_path / "gesture.safetensors").metadata
    assert (metadata.mode, metadata.bins, metadata.bin_us, metadata.size) == ("recording", 5, None, (128, 128))
    assert metadata.trained
    assert "gesture.pth" in metadata.note
    out = tmp_path / "live"
    assert run("import", "anonynoise", path, "--out", out, "--bin-us", 9000, "--size", "64x48").exit_code == 0
    metadata = load_weights(out).metadata
    assert (metadata.mode, metadata.bin_us, metadata.hop, metadata.size) == ("windows", 9000, 5, (64, 48))
    assert isinstance(run("import", "anonynoise", path, "--role", "spy").exception, ConfigError)
    assert isinstance(run("import", "anonynoise", path, "--hop", 2).exception, ConfigError)


def test_import_names_the_gestures(tmp_path):
    path = saved(tmp_path, published_classifier(18, 11))
    assert run("import", "anonynoise", path).exit_code == 0
    assert load_weights(tmp_path / "w.safetensors").metadata.labels == GESTURES
    assert run("import", "anonynoise", path, "--role", "identity", "--force").exit_code == 0
    assert load_weights(tmp_path / "w.safetensors").metadata.labels == ()
    assert isinstance(run("import", "anonynoise", path, "--labels", "a,b").exception, ConfigError)
