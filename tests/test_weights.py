"""Weights files: whole or not at all, checked before they are believed; published weights; the commands on both."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import threading

import pydantic
import pytest
import reference_models as reference
import safetensors.torch
import torch
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import ConfigError, EventError, WeightsError
from eventveil.models import AnonyNoise, EventAutoencoder, ResNetClassifier, load_weights, save_weights
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.noise import SeededNoise
from eventveil.models.published import GESTURES, import_anonynoise, load_torchvision, read_state_dict
from eventveil.models.resnet import ResNetConfig
from eventveil.models.weights import METADATA_KEY, Weights, check_fit, digest_of

NARROW = {"depth": 18, "width": 4, "channels": 4, "classes": 3, "embedding": 8}
WINDOW = {"bins": 2, "bin_us": 1000, "hop": 2, "size": (16, 12)}


def anonymizer(**changes):
    model = initialise("anonynoise", {"channels": 4}, seed=1)
    return model, Metadata.of(model, **{"role": "anonymizer", "trained": True, **WINDOW, **changes})


def classifier(**changes):
    model = initialise("resnet_classifier", NARROW, seed=1)
    return model, Metadata.of(model, **{"role": "target", "trained": True, "labels": tuple("abc"), **WINDOW, **changes})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, *anonymizer())
    return path


def rewrite(path, tensors=None, text=None, **changes):
    """Write a file with tensors or metadata changed by hand."""
    with safetensors.safe_open(path, framework="pt") as opened:
        metadata = json.loads(opened.metadata()[METADATA_KEY])
    tensors = tensors or safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, {METADATA_KEY: text or json.dumps(metadata | changes)})


# --- what is saved is what is loaded


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
    assert weights.digest == digest == weights.metadata.digests.tensors
    assert weights.metadata.model_dump(exclude={"digests"}) == metadata.model_dump(exclude={"digests"})
    assert weights.metadata.digests.certificate is None


def test_a_channels_last_model_is_saved_as_any_other(tmp_path):
    model, metadata = anonymizer()
    plain = save_weights(tmp_path / "plain", model, metadata)
    assert save_weights(tmp_path / "last", model.to(memory_format=torch.channels_last), metadata) == plain
    assert load_weights(tmp_path / "last").digest == plain


def test_loaded_weights_do_not_change_with_the_file(file):
    weights = load_weights(file)
    with file.open("r+b") as opened:  # in place: the same inode
        size = opened.seek(0, os.SEEK_END)
        opened.seek(size // 2)
        opened.write(bytes(size - size // 2))
    assert digest_of(weights.model.state_dict()) == weights.digest


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
    assert set(readers_saw) <= {"", "0", "1", "2", "3", "4"}  # and load_weights never raised: the list went on
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


# --- what is wrong is refused


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
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
        ({"format_version": 2}, "weights format 2, this eventveil knows 1; update"),
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
def test_metadata_that_is_no_json_object_is_refused(file, text):
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


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_a_file_that_claims_a_huge_network_costs_no_memory(tmp_path):
    path = tmp_path / "c"
    save_weights(path, *classifier())
    refusal(tmp_path)  # whatever is imported once is in memory now
    rewrite(path, config={**NARROW, "width": 256, "depth": 50})  # 1.5 GB, if it were built
    before = peak_memory_mb()
    assert "backbone" in refusal(path)
    assert peak_memory_mb() - before < 500


def peak_memory_mb():
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- metadata agrees with itself, files with each other and with the line


def test_labels_name_the_classes_of_a_classifier():
    for labels in ((), "ab", "abcd", "aab"):
        with pytest.raises(pydantic.ValidationError, match="label"):
            classifier(labels=tuple(labels))
    assert classifier(role="identity", labels=())[1].labels == ()


def test_window_shape_follows_representation():
    assert anonymizer()[1].window_shape == (2, 2, 12, 16)
    voxels = Metadata.of(
        EventAutoencoder(), role="anonymizer", trained=False, representation="voxel", bin_us=1, hop=5, size=(16, 12)
    )
    assert voxels.window_shape == (5, 12, 16)
    assert voxels.channels == 5


def weights(make, **changes):
    return Weights(*make(**changes), digest="")


def test_files_made_for_the_same_windows_fit():
    a = weights(anonymizer)
    check_fit(a)
    check_fit(a, weights(classifier, hop=1))
    check_fit(a, weights(classifier, mode="recording", bin_us=None, hop=None))
    check_fit(a, weights(classifier), representation="histogram", bins=2, bin_us=1000, size=(16, 12))


@pytest.mark.parametrize(
    ("key", "changes"), [("size", {"size": (12, 16)}), ("bin_us", {"bin_us": 999}), ("role", {"role": "identity"})]
)
def test_files_made_for_other_windows_do_not_fit(key, changes):
    with pytest.raises(WeightsError, match=key if key != "role" else "identity"):
        check_fit(weights(anonymizer), weights(classifier, **changes))


def test_files_of_other_bins_do_not_fit():
    model = initialise("resnet_classifier", NARROW | {"channels": 6}, seed=0)
    metadata = Metadata.of(model, role="target", labels=tuple("abc"), trained=True, **WINDOW | {"bins": 3})
    with pytest.raises(WeightsError, match="bins 2, the classifier has 3"):
        check_fit(weights(anonymizer), Weights(model, metadata, ""))


@pytest.mark.parametrize("line", [{"bins": 3}, {"size": (12, 16)}, {"bin_us": 2}, {"representation": "voxel"}])
def test_a_line_of_other_windows_does_not_fit(line):
    with pytest.raises(WeightsError, match=f"{next(iter(line))} .*the line"):
        check_fit(weights(anonymizer), **line)


def test_a_classifier_does_not_anonymize():
    with pytest.raises(WeightsError, match="anonymizer, got target"):
        check_fit(weights(classifier), weights(anonymizer))


# --- published weights


def published_anonymizer(channels_in=20, channels_out=10):
    """A state dict as the code of AnonyNoise saves it: keys and shapes from its description."""
    sizes = [channels_in, 64, 128, 256, 128, 64, channels_out]
    layers = ("convs1.0", "convs1.2", "convs2.0", "convs2.2", "convs3.0", "convs3.2")
    generator = torch.Generator().manual_seed(0)
    state = {}
    for layer, into, out in zip(layers, sizes, sizes[1:], strict=False):
        state[f"{layer}.weight"] = torch.randn(out, into, 3, 3, generator=generator) * 0.05
        state[f"{layer}.bias"] = torch.randn(out, generator=generator) * 0.05
    return state


def published_classifier(depth, classes):
    """torchvision's ResNet without `fc`, its children numbered, and the head."""
    order = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    state = {}
    for name, tensor in reference.torchvision_state(depth).items():
        child, rest = name.split(".", 1)
        if child != "fc":
            state[f"backbone.{order.index(child)}.{rest}"] = tensor
    stem = state["backbone.0.weight"]
    state["backbone.0.weight"] = torch.cat([stem] * 4, dim=1)[:, :10]
    features = 2048 if depth == 50 else 512
    state["linear_block.0.weight"] = torch.randn(512, features)
    for name in ("linear_block.0.bias", "linear_block.1.weight", "linear_block.1.bias", "linear_block.1.running_mean"):
        state[name] = torch.randn(512)
    state["linear_block.1.running_var"] = torch.rand(512) + 0.5
    state["linear_block.1.num_batches_tracked"] = torch.tensor(3)
    state["classifier.0.weight"], state["classifier.0.bias"] = torch.randn(classes, 512), torch.randn(classes)
    return state


def saved(tmp_path, state, name="w.pth"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_anonymizer_comes_in_unchanged(tmp_path, prefix):
    state = published_anonymizer()
    model, role = import_anonynoise(saved(tmp_path, {prefix + name: t for name, t in state.items()}))
    assert role == "anonymizer"
    assert isinstance(model, AnonyNoise)
    assert model.config == AnonyNoise().config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    x, noise = SeededNoise(0).normal((2, 10, 6, 5), torch.device("cpu")).split(1)
    want = reference.anonynoise(state, x[0].numpy(), noise[0].numpy(), inputs="histogram+noise", output="x+f*n")
    torch.testing.assert_close(model(x, noise)[0].double(), torch.from_numpy(want), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("into", "out", "asked", "inputs", "output"),
    [
        (10, 10, "x+f", "histogram", "x+f"),
        (20, 20, "x+f*n", "histogram+noise", "mean_std"),
        (10, 20, "x+f*n", "histogram", "mean_std"),
    ],
)
def test_variants_are_known_by_their_channels(tmp_path, into, out, asked, inputs, output):
    path = saved(tmp_path, published_anonymizer(into, out))
    model, _ = import_anonynoise(path, output=asked, noise_std=8)
    assert (model.config.channels, model.config.inputs, model.config.output) == (10, inputs, output)
    assert model.config.noise_std == 8


@pytest.mark.parametrize("depth", [18, 34])
def test_a_published_classifier_comes_in_unchanged(tmp_path, depth):
    state = published_classifier(depth, 7)
    model, role = import_anonynoise(saved(tmp_path, state))
    assert role == "target"
    assert model.config == ResNetConfig(depth=depth, channels=10, classes=7, embedding=512, width=64)
    assert set(model.state_dict()) == set(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert import_anonynoise(saved(tmp_path, state), role="identity")[1] == "identity"


def test_a_published_denoiser_comes_in_unchanged(tmp_path):
    state = initialise("denoiser", {}, seed=4).state_dict()
    assert {"dncnn.0.weight", "dncnn.2.weight", "dncnn.3.running_mean", "dncnn.41.bias"} <= set(state)
    model, role = import_anonynoise(saved(tmp_path, state))
    assert role == "denoiser"
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_one_network_is_taken_out_of_several(tmp_path):
    denoiser = initialise("denoiser", {}, seed=4).state_dict()
    both = {f"anonnet.{name}": tensor for name, tensor in published_anonymizer().items()}
    both |= {f"denoisenet.{name}": tensor for name, tensor in denoiser.items()}
    path = saved(tmp_path, both)
    assert isinstance(import_anonynoise(path, role="anonymizer")[0], AnonyNoise)
    assert import_anonynoise(path, role="denoiser")[1] == "denoiser"
    with pytest.raises(WeightsError, match="say which role"):
        import_anonynoise(path)
    with pytest.raises(WeightsError, match="nothing for the role target"):
        import_anonynoise(path, role="target")


class Evil:
    """A pickle that leaves a trace if it is run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    torch.save({"convs1.0.weight": Evil(trace)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Evil(trace)))
    for name in ("zip.pth", "bare.pth"):
        with pytest.raises(WeightsError, match=rf"{name}: .*not\s+run"):
            read_state_dict(tmp_path / name)
    assert not trace.exists()


def test_files_that_are_no_state_dicts_are_refused(tmp_path):
    whole = saved(tmp_path, published_anonymizer()).read_bytes()
    (tmp_path / "part.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_bytes(b"not a pickle at all")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    torch.save({}, tmp_path / "nothing.pth")
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pth")
    for name in ("part", "empty", "text", "list", "nothing", "checkpoint", "absent"):
        with pytest.raises(WeightsError, match=rf"{name}\.pth: "):
            import_anonynoise(tmp_path / f"{name}.pth")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("convs2.0.bias"), "convs2.0.bias is missing"),
        (lambda s: s.update(more=torch.zeros(1)), "more is unknown"),
        (lambda s: s.pop("convs3.2.weight"), "other layers"),
        (lambda s: s.update({"convs1.0.weight": torch.zeros(())}), "other layers"),
        (lambda s: [s.pop(name) for name in list(s)[:2]], "not a state dict"),
    ],
)
def test_state_dicts_of_other_networks_are_refused(tmp_path, change, words):
    state = published_anonymizer()
    change(state)
    with pytest.raises(WeightsError, match=re.escape(words)):
        import_anonynoise(saved(tmp_path, state))


def test_bins_and_role_must_be_those_of_the_file(tmp_path):
    path = saved(tmp_path, published_anonymizer())
    with pytest.raises(WeightsError, match="4 bins are 8 channels, the file has 10"):
        import_anonynoise(path, bins=4)
    with pytest.raises(WeightsError, match="role anonymizer, not target"):
        import_anonynoise(path, role="target")
    with pytest.raises(WeightsError, match=r"w\.pth: anonymizer: output: "):
        import_anonynoise(path, output="x*n")


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("counters", [True, False])
def test_a_torchvision_backbone_computes_what_torchvisions_does(tmp_path, depth, counters):
    state = reference.torchvision_state(depth, counters=counters)
    config = {"depth": depth, "channels": 10, "classes": 2, "embedding": 4}
    model = initialise("resnet_classifier", config, seed=0)
    load_torchvision(model, state, tmp_path / "resnet.pth")
    x = torch.randn(2, 10, 32, 40, generator=torch.Generator().manual_seed(1))

    def widened(stem):
        return torch.stack([stem[:, channel % 3] for channel in range(10)], dim=1)

    with torch.no_grad():
        got = model.backbone(x).flatten(1)
        want = reference.resnet_pooled(state, x, depth, widened)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * want.abs().max().item())


def test_another_resnet_is_refused(tmp_path):
    model = ResNetClassifier(ResNetConfig(depth=34, embedding=4))
    with pytest.raises(WeightsError, match="is missing"):
        load_torchvision(model, reference.torchvision_state(18), tmp_path / "r")


def test_a_real_checkpoint_of_another_network_is_read_safely_and_refused(real_data):
    with pytest.raises(WeightsError, match=r"firenet_1000\.pth\.tar"):
        import_anonynoise(real_data / "weights" / "firenet_1000.pth.tar")


# --- the commands


def run(*arguments):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_init_makes_untrained_weights_that_load(tmp_path):
    out = tmp_path / "a.safetensors"
    assert run("init", "anonynoise", out, "--seed", 3, "--bins", 2, "--size", "16x12").exit_code == 0
    weights = load_weights(out)
    assert not weights.metadata.trained
    assert weights.metadata.window_shape == (2, 2, 12, 16)
    assert (weights.metadata.bin_us, weights.metadata.hop) == (20_000, 2)
    again, other = tmp_path / "b", tmp_path / "c"
    run("init", "anonynoise", again, "--seed", 3, "--bins", 2)
    run("init", "anonynoise", other, "--seed", 4, "--bins", 2)
    assert load_weights(again).digest == weights.digest != load_weights(other).digest


def test_init_knows_every_kind(tmp_path):
    assert run("init", "event_autoencoder", tmp_path / "e").exit_code == 0
    assert load_weights(tmp_path / "e").metadata.representation == "voxel"
    narrow = ("--width", 4, "--depth", 18)
    assert run("init", "resnet_classifier", tmp_path / "c", *narrow, "--labels", "wave, clap").exit_code == 0
    assert load_weights(tmp_path / "c").metadata.labels == ("wave", "clap")
    assert run("init", "resnet_classifier", tmp_path / "c", *narrow).exit_code == 0
    assert load_weights(tmp_path / "c").metadata.labels == GESTURES
    assert run("init", "denoiser", tmp_path / "d").exit_code == 0
    for error, arguments in (
        (ConfigError, ("spiking", tmp_path / "s")),
        (ConfigError, ("resnet_classifier", tmp_path / "s", "--depth", 20)),
        (ConfigError, ("anonynoise", tmp_path / "s", "--labels", "a,b")),
        (EventError, ("anonynoise", tmp_path / "s", "--size", "16")),
    ):
        assert isinstance(run("init", *arguments).exception, error)
    assert not (tmp_path / "s").exists()


def test_show_prints_what_a_file_holds(file):
    shown = run("show", file, "--json")
    assert shown.exit_code == 0
    held = json.loads(shown.stdout)
    assert held["kind"] == "anonynoise"
    assert held["size"] == [16, 12]
    assert held["trained"] is True
    assert held["parameters"] == sum(p.numel() for p in anonymizer()[0].parameters())
    assert held["digests"] == {"tensors": load_weights(file).digest, "certificate": None}
    table = run("show", file).stdout
    assert "anonynoise" in table
    file.write_bytes(b"x")
    assert isinstance(run("show", file).exception, WeightsError)


def test_import_takes_the_papers_settings_unless_told_otherwise(tmp_path):
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
    assert run("import", "anonynoise", path, "--role", "identity").exit_code == 0
    assert load_weights(tmp_path / "w.safetensors").metadata.labels == ()
    assert isinstance(run("import", "anonynoise", path, "--labels", "a,b").exception, ConfigError)
