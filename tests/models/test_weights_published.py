"""Published weights: imported unchanged, with the same output as the originals; code in them never runs."""

from __future__ import annotations

import os
import pickle
import re

import pytest
import reference_models as reference
import torch
from weights_helpers import published_anonymizer, published_autoencoder, published_classifier, saved

from eventveil.errors import WeightsError
from eventveil.models import AnonyNoise, ResNetClassifier
from eventveil.models.configs import ResNetConfig
from eventveil.models.kinds import initialise
from eventveil.models.noise import SeededNoise
from eventveil.models.published import import_anonynoise, import_event_reid, load_torchvision, read_state_dict


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
    ("into", "out", "given", "inputs", "output"),
    [
        (10, 10, "x+f", "histogram", "x+f"),
        (20, 20, "x+f*n", "histogram+noise", "mean_std"),
        (10, 20, "x+f*n", "histogram", "mean_std"),
    ],
)
def test_variants_are_known_by_their_channels(tmp_path, into, out, given, inputs, output):
    path = saved(tmp_path, published_anonymizer(into, out))
    model, _ = import_anonynoise(path, output=given, noise_std=8)
    assert (model.config.channels, model.config.inputs, model.config.output) == (10, inputs, output)
    assert model.config.noise_std == 8


@pytest.mark.parametrize(
    ("into", "out", "inputs", "output"),
    [
        (into, out, inputs, output)
        for into, inputs in ((10, "histogram"), (20, "histogram+noise"))
        for out, output in ((10, "x+f*n"), (10, "f"), (10, "x+f"), (20, "mean_std"))
    ],
)
def test_every_published_variant_computes_the_papers_equation_for_the_same_noise(tmp_path, into, out, inputs, output):
    state = published_anonymizer(into, out)
    given = "x+f*n" if output == "mean_std" else output
    model, _ = import_anonynoise(saved(tmp_path, state), output=given, noise_std=3)
    x = 3 * SeededNoise(1).normal((2, 10, 6, 5), torch.device("cpu")).abs().round()
    noise = model.draw_noise(x.shape, SeededNoise(2))
    torch.testing.assert_close(noise, 3 * SeededNoise(2).normal(x.shape, torch.device("cpu")))
    got = model.anonymize(x, SeededNoise(2))
    for index in range(2):
        want = reference.anonynoise(state, x[index].numpy(), noise[index].numpy(), inputs=inputs, output=output)
        torch.testing.assert_close(got[index].double(), torch.from_numpy(want), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [18, 34])
def test_a_published_classifier_comes_in_unchanged(tmp_path, depth):
    state = published_classifier(depth, 7)
    model, role = import_anonynoise(saved(tmp_path, state))
    assert role == "target"
    assert model.config == ResNetConfig(depth=depth, channels=10, classes=7, embedding=512, width=64)
    assert set(model.state_dict()) == set(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert import_anonynoise(saved(tmp_path, state), role="identity")[1] == "identity"


@pytest.mark.parametrize("depth", [18, 50])
def test_a_published_classifier_computes_what_its_layers_say(tmp_path, depth):
    model, _ = import_anonynoise(saved(tmp_path, published_classifier(depth, 7)))
    state = {name: tensor.double() for name, tensor in model.state_dict().items()}
    x = SeededNoise(3).normal((2, 10, 32, 40), torch.device("cpu"))
    with torch.no_grad():
        got = model(x)
        embedding, logits = reference.classified(state, x.double(), depth)
    for ours, theirs in ((got.embedding, embedding), (got.logits, logits)):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_a_published_denoiser_comes_in_unchanged(tmp_path):
    state = initialise("denoiser", {}, seed=4).state_dict()
    assert {"dncnn.0.weight", "dncnn.2.weight", "dncnn.3.running_mean", "dncnn.41.bias"} <= set(state)
    model, role = import_anonynoise(saved(tmp_path, state))
    assert role == "denoiser"
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_published_denoiser_computes_what_its_layers_say(tmp_path):
    state = initialise("denoiser", {}, seed=4).state_dict()
    for number, name in enumerate(name for name in state if "running" in name or state[name].shape == (128,)):
        state[name] = torch.rand(128, generator=torch.Generator().manual_seed(number)) + 0.5
    model, _ = import_anonynoise(saved(tmp_path, state))
    x = SeededNoise(0).normal((2, 10, 6, 5), torch.device("cpu"))
    with torch.no_grad():
        got = model(x)
    for index in range(2):
        want = reference.denoised(state, x[index].numpy())
        torch.testing.assert_close(got[index].double(), torch.from_numpy(want), rtol=1e-3, atol=1e-3 * abs(want).max())


def test_one_network_is_taken_out_of_several(tmp_path):
    denoiser = initialise("denoiser", {}, seed=4).state_dict()
    both = {f"anonnet.{name}": tensor for name, tensor in published_anonymizer().items()}
    both |= {f"denoisenet.{name}": tensor for name, tensor in denoiser.items()}
    path = saved(tmp_path, both)
    assert isinstance(import_anonynoise(path, role="anonymizer")[0], AnonyNoise)
    assert import_anonynoise(path, role="denoiser")[1] == "denoiser"
    with pytest.raises(WeightsError, match="state the role"):
        import_anonynoise(path)
    with pytest.raises(WeightsError, match="nothing for the role target"):
        import_anonynoise(path, role="target")


class Evil:
    """A pickle that leaves a trace when it runs."""

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


def test_files_that_are_not_state_dicts_are_refused(tmp_path):
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


def test_the_autoencoder_of_event_reid_computes_what_the_published_one_does(tmp_path):
    state, path = published_autoencoder(), tmp_path / "net_59.pth"
    torch.save(state, path)
    model = import_event_reid(path)
    functional = torch.nn.functional

    def conv(x, name, padding=1):
        return functional.conv2d(x, state[f"model_ae.{name}.weight"], state[f"model_ae.{name}.bias"], padding=padding)

    x = 3 * torch.randn(2, 5, 20, 14, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = functional.max_pool2d(conv(x, "encoder.0").clamp(min=0), 2, stride=1)
        y = functional.max_pool2d(conv(y, "encoder.3").clamp(min=0), 2, stride=1)
        want = torch.sigmoid(conv(conv(y, "decoder.1").clamp(min=0), "decoder.4", padding=2))
        got = model.anonymize(x, SeededNoise(0))  # windows come normalised
    torch.testing.assert_close(got, want)
    torch.save({"encoder.0.weight": torch.zeros(64, 5, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"expected encoder\.0, encoder\.3, decoder\.1 and decoder\.4"):
        import_event_reid(path)
