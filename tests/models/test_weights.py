"""Weights files: what is saved is what is loaded, and files are complete or absent."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from weights_helpers import anonymizer, anonymizer_file, classifier

from eventveil.errors import WeightsError
from eventveil.models import load_weights, save_weights
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata, TrainedScene
from eventveil.models.weights import digest_of


@pytest.fixture
def file(tmp_path):
    return anonymizer_file(tmp_path / "a.safetensors")


@pytest.mark.parametrize("make", [anonymizer, classifier])
def test_what_is_saved_is_loaded(tmp_path, make):
    model, metadata = make(note="näive ☂")
    digest = save_weights(tmp_path / "w", model, metadata)
    weights = load_weights(str(tmp_path / "w"))
    assert type(weights.model) is type(model)
    assert weights.model.config == model.config
    assert not weights.model.training
    assert not any(parameter.requires_grad for parameter in weights.model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(weights.model.state_dict()[name], tensor)
        assert weights.model.state_dict()[name].device.type == "cpu"
    assert weights.digest == digest == weights.metadata.identity
    assert weights.metadata.digests.tensors == digest_of(model.state_dict())
    assert weights.metadata.model_dump(exclude={"digests"}) == metadata.model_dump(exclude={"digests"})
    assert weights.metadata.digests.certificate is None


def test_a_channels_last_model_is_saved_as_any_other(tmp_path):
    model, metadata = anonymizer()
    plain = save_weights(tmp_path / "plain", model, metadata)
    assert save_weights(tmp_path / "last", model.to(memory_format=torch.channels_last), metadata) == plain
    assert load_weights(tmp_path / "last").digest == plain


def test_half_precision_halves_the_file_and_rounds_each_value(tmp_path):
    model, metadata = anonymizer()
    whole = save_weights(tmp_path / "whole", model, metadata)
    assert save_weights(tmp_path / "half", model, metadata, half=True) != whole
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "whole").stat().st_size
    rounded = load_weights(tmp_path / "half").model.state_dict()
    for name, tensor in model.state_dict().items():
        expected = torch.from_numpy(tensor.numpy().astype("float16").astype("float32"))
        assert rounded[name].dtype == torch.float32
        assert torch.equal(rounded[name], expected)


def test_half_precision_refuses_values_that_it_cannot_hold(tmp_path):
    model, metadata = anonymizer()
    next(model.parameters()).data.flatten()[0] = 1e5
    with pytest.raises(WeightsError, match="not finite"):
        save_weights(tmp_path / "half", model, metadata, half=True)
    assert list(tmp_path.iterdir()) == []


def test_loaded_weights_do_not_change_with_the_file(file):
    weights = load_weights(file)
    with file.open("r+b") as opened:  # in place: the same inode
        size = opened.seek(0, os.SEEK_END)
        opened.seek(size // 2)
        opened.write(bytes(size - size // 2))
    assert digest_of(weights.model.state_dict()) == weights.metadata.digests.tensors


def test_the_digest_knows_every_name_type_shape_and_bit():
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(1)}
    digest = digest_of(tensors)
    assert digest == digest_of(dict(reversed(tensors.items())))
    flipped = tensors["a"].clone()
    flipped[1, 2] = 1e-45
    for other in (
        {"a": tensors["a"], "c": tensors["b"]},
        {"a": tensors["a"].reshape(3, 2), "b": tensors["b"]},
        {"a": tensors["a"].to(torch.int32), "b": tensors["b"]},
        {"a": flipped, "b": tensors["b"]},
        {"a": tensors["a"]},
    ):
        assert digest_of(other) != digest


def test_the_digest_of_weights_covers_all_that_decides_what_they_do(tmp_path):
    model, metadata = anonymizer()
    plain = save_weights(tmp_path / "plain", model, metadata)
    for remark in ({"note": "other"}, {"trained": not metadata.trained}):
        assert save_weights(tmp_path / "remark", model, metadata.model_copy(update=remark)) == plain
    width, height = metadata.size
    for windows in ({"bin_us": metadata.bin_us + 1}, {"size": (width + 8, height)}, {"hop": metadata.hop + 1}):
        assert save_weights(tmp_path / "windows", model, metadata.model_copy(update=windows)) != plain

    # The view, and with `min_density: trained` the gestures.
    for field, density in (((64, 48), None), ((64, 64), None), (None, (1.0, 2.0, 3.0))):
        scene = metadata.model_copy(update={"scene": TrainedScene(field=field, density=density)})
        assert save_weights(tmp_path / "scene", model, scene) != plain

    def digest_of_rule(**rule):
        """Save the same tensors with another number that only the config holds."""
        one = initialise("noisy_channel", {"channels": 2, "width": 2, "pen": 2, **rule}, seed=0)
        windows = {"bins": 1, "bin_us": 1000, "hop": 1, "size": (16, 16)}
        described = Metadata.of(one, role="anonymizer", trained=False, **windows)
        digest = save_weights(tmp_path / "rule", one, described)
        return digest, load_weights(tmp_path / "rule").metadata.digests.tensors

    (first, tensors), (second, same) = digest_of_rule(limit=3.0), digest_of_rule(limit=100.0)
    assert tensors == same
    assert first != second


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(file):
    readers_saw = []
    done = threading.Event()

    def read():
        while not done.is_set():
            readers_saw.append(load_weights(file).metadata.note)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(5):
        save_weights(file, *anonymizer(note=str(number)))
    done.set()
    reader.join(timeout=60)
    assert not reader.is_alive()
    assert set(readers_saw) <= {
        "",
        "0",
        "1",
        "2",
        "3",
        "4",
    }  # and load_weights never raised, or the thread would have ended
    assert len(readers_saw) >= 1
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(WeightsError, match="cannot be written"):
        save_weights(tmp_path / "no" / "w", *anonymizer())
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(WeightsError, match="cannot be written"):
        save_weights(tmp_path / "folder", *anonymizer())
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_saving_refuses_metadata_of_another_model_and_values_that_are_not_finite(tmp_path):
    model, _ = anonymizer()
    with pytest.raises(WeightsError, match=r"Metadata\.of"):
        save_weights(tmp_path / "w", model, classifier()[1])
    model.convs1[0].bias.data[3] = float("inf")
    with pytest.raises(WeightsError, match=r"convs1\.0\.bias .*not finite"):
        save_weights(tmp_path / "w", model, anonymizer()[1])
    assert not (tmp_path / "w").exists()
