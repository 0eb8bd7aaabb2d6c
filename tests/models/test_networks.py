"""The networks against slow twins, and against the sizes, keys and variants of the papers and published code."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest
import reference_models as reference
import torch

from eventveil.models import AnonyNoise, Denoiser, EventAutoencoder, ResNetClassifier
from eventveil.models.autoencoder import normalise_nonzero
from eventveil.models.configs import AnonyNoiseConfig, DenoiserConfig, EventAutoencoderConfig, ResNetConfig
from eventveil.models.kinds import KINDS, build, describe, initialise
from eventveil.models.noise import SeededNoise

INPUTS = ("histogram+noise", "histogram")
OUTPUTS = ("x+f*n", "f", "x+f", "mean_std")
CPU = torch.device("cpu")


def counts(batch, channels=10, size=(9, 7), seed=0):
    return torch.from_numpy(np.random.default_rng(seed).poisson(0.5, (batch, channels, *size)).astype(np.float32))


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_anonynoise_has_the_size_and_keys_of_the_published_one():
    model = AnonyNoise()
    assert parameters(model) == 755_210
    layers = ("convs1.0", "convs1.2", "convs2.0", "convs2.2", "convs3.0", "convs3.2")
    assert list(model.state_dict()) == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_anonynoise_is_the_papers_formula_in_every_variant(inputs, output):
    model = initialise("anonynoise", {"channels": 4, "inputs": inputs, "output": output}, seed=1)
    x, noise = counts(2, 4), SeededNoise(2).normal((2, 4, 9, 7), CPU) * 3
    with torch.no_grad():
        got = model(x, noise)
    for index in range(2):
        want = reference.anonynoise(
            model.state_dict(), x[index].numpy(), noise[index].numpy(), inputs=inputs, output=output
        )
        np.testing.assert_allclose(got[index], want, rtol=1e-4, atol=1e-5)


def test_anonynoise_scales_its_noise_and_draws_it_from_what_is_given():
    model = AnonyNoise(AnonyNoiseConfig(channels=2, noise_std=32.0))
    x = counts(3, 2)
    noise = model.draw_noise(x.shape, SeededNoise(5))
    torch.testing.assert_close(noise, 32 * SeededNoise(5).normal(x.shape, CPU))
    torch.testing.assert_close(model.anonymize(x, SeededNoise(5)), model(x, noise))
    assert not torch.equal(model.anonymize(x, SeededNoise(6)), model(x, noise))


def test_windows_of_a_batch_do_not_touch_each_other():
    model = AnonyNoise(AnonyNoiseConfig(channels=2))
    x, noise = counts(3, 2), SeededNoise(1).normal((3, 2, 9, 7), CPU)
    alone = torch.cat([model(x[i : i + 1], noise[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(x, noise), alone)


def test_counts_above_256_survive_bfloat16():
    model = AnonyNoise(AnonyNoiseConfig(channels=2)).to(torch.bfloat16)
    x = torch.full((1, 2, 4, 4), 60_001.0)
    out = model(x, torch.zeros_like(x))
    assert out.dtype == torch.float32
    assert torch.equal(out, x)


@pytest.mark.parametrize(
    ("model", "good"),
    [
        (AnonyNoise(), (1, 10, 8, 8)),
        (EventAutoencoder(), (1, 5, 8, 8)),
        (Denoiser(), (1, 10, 8, 8)),
        (ResNetClassifier(ResNetConfig(depth=18, width=4)).eval(), (1, 10, 32, 32)),
    ],
)
def test_wrong_shapes_are_refused_by_name(model, good):
    arguments = 2 if isinstance(model, AnonyNoise) else 1
    model(*[torch.zeros(good)] * arguments)
    for bad in ((good[1] + 1, *good[2:]), (1, good[1] + 1, *good[2:]), good[1:]):
        with pytest.raises(ValueError, match=f"expected .*{good[1]}, H, W"):
            model(*[torch.zeros(bad)] * arguments)


def test_anonynoise_refuses_noise_of_another_shape():
    with pytest.raises(ValueError, match="noise"):
        AnonyNoise()(torch.zeros(2, 10, 8, 8), torch.zeros(1, 10, 8, 8))


@pytest.mark.parametrize("shape", [(3, 3), (3, 9), (8, 11)])
def test_the_autoencoder_keeps_the_size_and_stays_between_0_and_1(shape):
    out = EventAutoencoder()(torch.randn(2, 5, *shape))
    assert out.shape == (2, 5, *shape)
    assert 0 <= out.min() <= out.max() <= 1


def test_the_autoencoder_has_four_convolutions_of_the_published_sizes():
    convs = [module for module in EventAutoencoder().modules() if isinstance(module, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convs] == [
        (into, out, (3, 3), (1, 1)) for into, out in ((5, 64), (64, 16), (16, 64), (64, 5))
    ]


def test_the_autoencoder_sees_normalised_voxels():
    model, x = EventAutoencoder(), counts(2, 5) * 100
    torch.testing.assert_close(model.anonymize(x, SeededNoise(0)), model(normalise_nonzero(x)))


@pytest.mark.parametrize("case", ["mixed", "empty", "one value", "equal values", "negative"])
def test_normalisation_is_its_twin(case):
    x = torch.zeros(2, 3, 4, 5)
    if case in ("mixed", "negative"):
        x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
        x -= 3.0 * (case == "negative") * (x != 0)
    elif case == "one value":
        x[0, 1, 2, 3] = 5.0
    elif case == "equal values":
        x[:, 0] = 0.3
    for got, window in zip(normalise_nonzero(x), x, strict=True):
        np.testing.assert_allclose(got, reference.normalised(window.numpy()), atol=1e-5)


def test_the_denoiser_is_15_convolutions_of_128():
    modules = list(Denoiser().modules())
    convs = [module for module in modules if isinstance(module, torch.nn.Conv2d)]
    assert len(convs) == 15
    assert [c.out_channels for c in convs] == [128] * 14 + [10]
    assert {c.kernel_size for c in convs} == {(3, 3)}
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in modules) == 13
    assert Denoiser(DenoiserConfig(channels=2))(torch.zeros(1, 2, 8, 6)).shape == (1, 2, 8, 6)
    small = Denoiser(DenoiserConfig(channels=2, width=4, layers=3))
    assert [tuple(p.shape) for p in small.parameters() if p.ndim == 4] == [(4, 2, 3, 3), (4, 4, 3, 3), (2, 4, 3, 3)]


# 25,557,032 and so on are torchvision's own counts; without fc, and with 10 input channels for 3.
@pytest.mark.parametrize(("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_backbones_have_the_size_of_torchvisions(depth, count):
    with torch.device("meta"):
        model = ResNetClassifier(ResNetConfig(depth=depth))
    features = 2048 if depth == 50 else 512
    assert parameters(model.backbone) == count - (features * 1000 + 1000) + 7 * 64 * 49
    assert model.linear_block[0].in_features == features


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_classifier_takes_any_batch_in_eval_mode(depth, batch):
    config = {"depth": depth, "width": 4, "channels": 3, "classes": 5, "embedding": 8}
    model = initialise("resnet_classifier", config, seed=0)
    embedding, logits = model(torch.randn(batch, 3, 33, 40))
    assert embedding.shape == (batch, 8)
    assert logits.shape == (batch, 5)
    torch.testing.assert_close(logits, model.classifier(embedding))


def test_a_classifier_of_logarithms_sees_counts_and_their_opposites_compressed():
    config = {"depth": 18, "width": 4, "channels": 2, "classes": 3, "embedding": 8}
    plain = initialise("resnet_classifier", config, seed=0)
    compressed = initialise("resnet_classifier", config | {"logarithm": True}, seed=0)
    x = counts(2, 2, (33, 40)) * torch.tensor([300.0, -3.0]).view(1, 2, 1, 1)
    logarithms = torch.where(x < 0, -torch.log(1 - x), torch.log(1 + x.clamp(min=0)))
    torch.testing.assert_close(compressed(x).logits, plain(logarithms).logits)
    assert not torch.allclose(compressed(x).logits, plain(x).logits)


def test_the_classifier_says_why_one_window_cannot_train_it():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ResNetClassifier(ResNetConfig(depth=18, width=4)).train()(torch.zeros(1, 10, 32, 32))


def test_every_kind_is_rebuilt_from_its_own_description():
    small = {"resnet_classifier": {"depth": 18, "width": 4, "embedding": 8}, "stand_in": {"book": "0" * 64, "width": 4}}
    for name, kind in KINDS.items():
        config = small.get(name, {})
        model = initialise(name, config, seed=3)
        assert isinstance(model, kind.model)
        assert describe(model)[0] == name
        again = build(*describe(model))
        assert {k: v.shape for k, v in again.state_dict().items()} == {
            k: v.shape for k, v in model.state_dict().items()
        }
    with pytest.raises(TypeError, match="Linear"):
        describe(torch.nn.Linear(1, 1))


def test_initialising_follows_the_seed_and_leaves_pytorchs_generator_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    weights = [initialise("event_autoencoder", {}, seed=seed).encoder[0].weight for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (AnonyNoiseConfig, {"output": "x*n"}),
        (AnonyNoiseConfig, {"inputs": "noise"}),
        (AnonyNoiseConfig, {"noise_std": -1}),
        (AnonyNoiseConfig, {"noise_std": float("nan")}),
        (AnonyNoiseConfig, {"chanels": 10}),
        (EventAutoencoderConfig, {"channels": 0}),
        (ResNetConfig, {"depth": 101}),
        (ResNetConfig, {"classes": 0}),
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(config, settings):
    with pytest.raises(pydantic.ValidationError, match=next(iter(settings))):
        config(**settings)
