"""Settings reach the driver's calls; one that a camera does not offer is refused, with a list of those it has."""

from __future__ import annotations

import numpy as np
import pytest
from camera_helpers import fake_camera, live

from eventveil.config import run_settings
from eventveil.errors import CameraError, ConfigError
from eventveil.io.camera.device import Tuning

URIS = {"neuromorphic": "prophesee://?driver=neuromorphic-drivers", "dv": "dv://", "metavision": "prophesee://"}
DAVIS = {"model": "iniVation DAVIS 346", "sensor": (346, 260)}


@pytest.fixture(autouse=True)
def _drivers():
    pytest.importorskip("neuromorphic_drivers")


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Return a function that opens a fake camera with a tuning; the fake has recorded its settings."""

    def open_tuned(driver, tuning, uri=None, **properties):
        fake = fake_camera(tmp_path, monkeypatch, driver, **properties)
        camera = live(uri or URIS[driver], Tuning(**tuning))
        camera.connect(within_s=None)  # retries a passing error forever, but not a refusal
        camera.close()
        return fake

    return open_tuned


# -- dv-processing -----------------------------------------------------------------------------------------------------


def test_a_dvxplorer_is_given_its_contrast_and_its_region(tuned):
    biases = {"contrast_threshold_on": 9, "contrast_threshold_off": 7}
    fake = tuned("dv", {"biases": biases, "roi": (0, 0, 320, 240)})
    assert [fake.recorded(name) for name in ("contrast_on", "contrast_off", "crop")] == [9, 7, [0, 0, 320, 240]]


def test_a_dvs128_is_given_its_biases(tuned):
    fake = tuned("dv", {"biases": {"DIFF_ON": 482443}}, model="DVS128", sensor=(128, 128))
    assert fake.recorded("bias-DIFF_ON") == 482443


def test_a_davis346_is_given_its_biases_and_its_region(tuned):
    tuning = {"biases": {"On": 6 * 256 + 28, "Off": 0}, "roi": (10, 20, 100, 50)}
    fake = tuned("dv", tuning, model="DAVIS", sensor=(346, 260))
    assert [fake.recorded(name) for name in ("bias-On", "bias-Off", "crop")] == [[6, 28], [0, 0], [10, 20, 100, 50]]


def test_the_names_here_are_those_of_dv_processing():
    camera = pytest.importorskip("dv_processing").io.camera
    assert {"DAVIS346"} <= set(camera.DAVIS.SensorModel.__members__)
    assert {"On", "Off"} <= set(camera.DAVIS.Davis346BiasCF.__members__)
    assert {"DIFF_ON", "DIFF_OFF"} <= set(camera.DVS128.Bias.__members__)
    for kind, name in (
        (camera.DAVIS, "getSensorModel"),
        (camera.DAVIS, "setDavis346BiasCoarseFine"),
        (camera.DVS128, "setBias"),
        (camera.DVXplorer, "setContrastThresholdOn"),
        (camera.DVXplorerM, "setContrastThresholdOff"),
        (camera.CameraInputBase, "setCropArea"),
    ):
        assert hasattr(kind, name)
    for kind in (camera.DVXplorer, camera.DVXplorerM):  # which distinguish the cameras
        assert not hasattr(kind, "Bias")
        assert not hasattr(kind, "SensorModel")
    assert not hasattr(camera.DAVIS, "Bias")


# -- neuromorphic-drivers ----------------------------------------------------------------------------------------------


def test_neuromorphic_drivers_tells_a_davis346_its_biases_and_its_region(tuned):
    tuning = {"biases": {"onbn": 1500}, "roi": (10, 20, 100, 50)}
    kind, sent = tuned("neuromorphic", tuning, "dv://?driver=neuromorphic-drivers", **DAVIS).recorded("configuration")
    import neuromorphic_drivers as nd

    wanted = nd.inivation_davis346.Configuration()
    wanted.biases.onbn = 1500
    wanted.region_of_interest = nd.inivation_davis346.RegionOfInterest(10, 20, 100, 50)
    assert (kind, bytes(sent)) == ("inivation_davis346", wanted.serialize())


@pytest.mark.parametrize(
    ("model", "name"), [("Prophesee EVK4", "prophesee_evk4"), ("Prophesee EVK3 HD", "prophesee_evk3_hd")]
)
def test_a_camera_of_prophesee_is_given_its_biases_its_region_and_its_rate(model, name, tuned):
    x, y, width, height = roi = (100, 30, 300, 200)
    tuning = {"biases": {"diff_on": 5}, "roi": roi, "max_event_rate": 20_000_000}
    kind, sent = tuned("neuromorphic", tuning, model=model).recorded("configuration")
    import neuromorphic_drivers as nd

    wanted = getattr(nd, name).Configuration(rate_limiter=getattr(nd, name).RateLimiter(1000, 20_000))
    wanted.biases.diff_on = 5
    wanted.x_mask = words([not x <= column < x + width for column in range(1280)])
    # The driver counts rows from below; github.com/EventLAB-Team/eventcv saw that on an EVK4.
    wanted.y_mask = words([not y <= 719 - row < y + height for row in range(720)])
    assert not wanted.mask_intersection_only  # columns or rows that are masked, and not only where they cross
    assert (kind, bytes(sent)) == (name, wanted.serialize())


def words(masked):
    """Pack one bit per column or row into words of 64, the lowest bit first."""
    bits = np.zeros(-(-len(masked) // 64) * 64, bool)
    bits[: len(masked)] = masked
    return tuple(np.packbits(bits, bitorder="little").view("<u8").tolist())


def test_biases_of_dvxplorers_are_numbers_and_switches(tuned):
    properties = {"model": "iniVation DVXplorer", "sensor": (640, 480)}
    tuning = {"biases": {"on": 4, "log": 1}}
    kind, sent = tuned("neuromorphic", tuning, "dv://?driver=neuromorphic-drivers", **properties).recorded(
        "configuration"
    )
    import neuromorphic_drivers as nd

    wanted = nd.inivation_dvxplorer.Configuration(nd.inivation_dvxplorer.Biases(on=4, log=True))
    assert (kind, bytes(sent)) == ("inivation_dvxplorer", wanted.serialize())


# -- Metavision --------------------------------------------------------------------------------------------------------


def test_metavision_is_given_biases_region_and_rate(tuned):
    fake = tuned("metavision", {"biases": {"bias_fo": -20}, "roi": (1, 2, 3, 4), "max_event_rate": 1_000_000})
    assert [fake.recorded(name) for name in ("bias_fo", "roi", "rate", "enabled")] == [
        -20,
        [1, 2, 3, 4],
        1_000_000,
        True,
    ]


# -- refused -----------------------------------------------------------------------------------------------------------

VGA = {"model": "CenturyArks VGA", "sensor": (640, 480)}
XPLORER = {"uri": "dv://?driver=neuromorphic-drivers", "model": "iniVation DVXplorer", "sensor": (640, 480)}
TRITON = {"model": "Lucid Triton"}
OLD = {"model": "DAVIS", "chip": "DAVIS240C", "sensor": (240, 180)}


@pytest.mark.parametrize(
    ("driver", "tuning", "properties", "complaint"),
    [
        ("dv", {"biases": {"diff_on": 1}}, {}, "bias diff_on: this camera has contrast_threshold_off, contrast_thr"),
        ("dv", {"biases": {"on": 1}}, {"model": "DAVIS"}, "bias on: this camera has Off, On"),
        ("dv", {"biases": {"On": 2048}}, {"model": "DAVIS"}, "bias On=2048: its driver rejected it"),
        ("dv", {"biases": {"On": 1}}, OLD, "bias On: this camera has no adjustable biases"),
        ("dv", {"biases": {"contrast_threshold_on": 256}}, {}, "on=256: its driver raised TypeError"),
        ("dv", {"roi": (600, 0, 41, 10)}, {}, "roi [600, 0, 41, 10]: [x, y, width, height] does not lie on its 640x4"),
        ("dv", {"max_event_rate": 1}, {}, "max_event_rate: dv-processing cannot limit the event rate"),
        ("neuromorphic", {"biases": {"bias_diff": 1}}, {}, "bias bias_diff: this camera has diff, diff_off, diff_on"),
        ("neuromorphic", {"biases": {"diff_on": 40_000}}, {}, "bias diff_on=40000: its driver raised OverflowError"),
        ("neuromorphic", {"biases": {"log": 2}}, XPLORER, "bias log=2: it is 0 or 1"),
        ("neuromorphic", {"roi": (0, 700, 9, 21)}, {}, "does not lie on its 1280x720 pixels"),
        (
            "neuromorphic",
            {"roi": (0, 0, 9, 9)},
            XPLORER,
            "roi: neuromorphic-drivers cannot set it for this camera; use scene.crop",
        ),
        (
            "neuromorphic",
            {"roi": (0, 0, 9, 9)},
            TRITON,
            "roi: neuromorphic-drivers cannot set it for this camera; use scene.crop",
        ),
        (
            "neuromorphic",
            {"max_event_rate": 9},
            XPLORER,
            "max_event_rate: neuromorphic-drivers cannot limit its event rate",
        ),
        ("neuromorphic", {"biases": {"diff": 9}}, VGA, "max_event_rate: neuromorphic-drivers accepts and ignores them"),
        ("metavision", {"biases": {"bias_fo": 999}}, {}, "bias bias_fo=999: its driver rejected it"),
        ("metavision", {"biases": {"fo": 1}}, {}, "bias fo: this camera has bias_diff_on, bias_fo"),
        ("metavision", {"roi": (-1, 0, 9, 9)}, {}, "does not lie on its 1280x720 pixels"),
        ("metavision", {"max_event_rate": 900_000_000}, {}, "max_event_rate 900000000: its driver raised RuntimeError"),
    ],
)
def test_settings_that_a_camera_does_not_offer_are_refused(driver, tuning, properties, complaint, tuned):
    with pytest.raises(CameraError) as refused:
        tuned(driver, tuning, **properties)
    assert complaint in str(refused.value)
    assert not refused.value.passing
    assert "cannot set " in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("bias", {"on": 1}, "bias"),
        ("biases", {"on": 1.5}, "biases"),
        ("roi", [1, 2, 3], "roi"),
        ("max_event_rate", 0, "max_event_rate"),
        ("max_event_rate", 2_000_000_000, "max_event_rate"),
    ],
)
def test_a_configuration_that_says_it_wrongly_is_refused_before_any_camera_is_opened(key, value, complaint):
    with pytest.raises(ConfigError, match=complaint):
        run_settings({"sources": [{"uri": "dv://", "camera": {key: value}}]}, [], name="test")
