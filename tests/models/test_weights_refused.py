"""Weights files that are damaged, foreign or inconsistent are refused."""

from __future__ import annotations

import json
import sys

import pytest
import safetensors.torch
import torch
from weights_helpers import NARROW, anonymizer_file, classifier

from eventveil.errors import WeightsError
from eventveil.models import load_weights, save_weights
from eventveil.models.header import METADATA_KEY, read_metadata


@pytest.fixture
def file(tmp_path):
    return anonymizer_file(tmp_path / "a.safetensors")


def rewrite(path, tensors=None, text=None, **changes):
    """Write a file with tensors or metadata changed by hand."""
    with safetensors.safe_open(path, framework="pt") as opened:
        metadata = json.loads(opened.metadata()[METADATA_KEY])
    tensors = tensors or safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, {METADATA_KEY: text or json.dumps(metadata | changes)})


def refusal(path, read=load_weights):
    with pytest.raises(WeightsError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message  # the remedy
    return message


def test_a_file_that_is_not_there_or_not_safetensors_is_refused(tmp_path, file):
    assert "cannot be read" in refusal(tmp_path / "nothing")
    assert "cannot be read" in refusal(tmp_path)
    for name, data in (("empty", b""), ("text", b"hello " * 99), ("part", file.read_bytes()[:-1])):
        (tmp_path / name).write_bytes(data)
        assert "safetensors" in refusal(tmp_path / name)
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    assert "eventveil weights import" in refusal(tmp_path / "a.pth")


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "bare")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other", {"format": "pt"})
    for name in ("bare", "other"):
        assert "without metadata of eventveil" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "weights format 2, this eventveil reads 1; update"),
        ({"format_version": 9, "no_such_key": 1}, "update eventveil"),
        ({"format_version": 0}, "format_version"),
        ({"format_version": None}, "format_version"),
        ({"no_such_key": 1}, "no_such_key"),
        ({"kind": "spiking"}, "kind"),
        ({"kind": "denoiser"}, "role of denoiser"),
        ({"kind": "denoiser", "role": "denoiser"}, "config of denoiser"),
        ({"config": {"channels": 4, "depth": 3}}, "depth"),
        ({"config": {"channels": "many"}}, "channels"),
        ({"config": {}}, "channels"),
        ({"role": "target"}, "role"),
        ({"bins": 3}, "6 channels"),
        ({"bins": 0}, "bins"),
        ({"size": [0, 4]}, "size"),
        ({"representation": "voxel"}, "histogram"),
        ({"mode": "recording"}, "bin_us"),
        ({"hop": None}, "hop"),
        ({"labels": ["a"]}, "labels"),
        ({"digests": {"tensors": None}}, "digest"),
        ({"digests": {"tensors": "0" * 64}}, "damaged"),
        ({"digests": {"tensors": "short"}}, "digests.tensors"),
    ],
)
def test_metadata_that_is_wrong_is_refused_by_its_key(file, changes, words):
    rewrite(file, **changes)
    assert words in refusal(file)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000])
def test_metadata_that_is_not_a_json_object_is_refused(file, text):
    rewrite(file, text=text or " ")
    assert "metadata" in refusal(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("convs2.0.bias"), "convs2.0.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is unknown"),
        (lambda t: t.update({"convs3.2.bias": torch.zeros(5)}), "(5,)"),
        (lambda t: t.update({"convs3.2.bias": torch.zeros(4, dtype=torch.float64)}), "float64"),
        (lambda t: t["convs3.2.bias"].fill_(float("nan")), "not finite"),
        (lambda t: t["convs3.2.bias"].add_(1e-3), "digest"),
    ],
)
def test_tensors_that_are_not_the_models_are_refused_by_name(file, change, words):
    tensors = safetensors.torch.load_file(file)
    change(tensors)
    rewrite(file, tensors)
    assert words in refusal(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("convs2.0.bias"),
        lambda t: t["convs3.2.bias"].fill_(float("nan")),
        lambda t: t["convs3.2.bias"].add_(1e-3),
    ],
)
def test_metadata_is_read_from_the_header_alone(file, change):
    metadata = load_weights(file).metadata
    tensors = safetensors.torch.load_file(file)
    change(tensors)
    rewrite(file, tensors)
    assert read_metadata(file) == metadata
    refusal(file)


def test_metadata_is_refused_in_the_words_of_loading(tmp_path, file):
    (tmp_path / "text").write_bytes(b"hello " * 99)
    (tmp_path / "part").write_bytes(file.read_bytes()[:-1])
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "bare")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other", {"format": "pt"})
    changes = (
        {"format_version": 9}, {"role": "target"}, {"no_such_key": 1}, {"digests": {"tensors": None}},
        {"config": {"channels": 4, "depth": 3}},
    )  # fmt: skip
    for number, change in enumerate(changes):
        rewrite(anonymizer_file(tmp_path / f"changed {number}"), **change)
    bad = [path for path in (*tmp_path.iterdir(), tmp_path / "nothing", tmp_path) if path != file]
    assert len(bad) == 12
    for path in bad:
        assert refusal(path, read_metadata) == refusal(path)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_a_file_that_claims_a_huge_network_costs_no_memory(tmp_path):
    path = tmp_path / "c"
    save_weights(path, *classifier())
    refusal(tmp_path)  # loads what is imported once into memory
    rewrite(path, config={**NARROW, "width": 256, "depth": 50})  # 1.5 GB, if it were built
    before = peak_memory_mb()
    assert "backbone" in refusal(path)
    assert peak_memory_mb() - before < 500


def peak_memory_mb():
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
