"""Real events through inversion and reconstruction: the Event-ReId sample, ten gesture trials, a face.

These tests show that the attacks run on recordings of cameras, and little more: there are few people and the networks
are trained for seconds.
"""

from __future__ import annotations

import math

import pytest
from small_audits import settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks.before_after import BeforeAndAfter
from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.attacks.inversion import Denoising, Inverting
from eventveil.audit.attacks.reconstruction import Comparison, RetrievalAttack
from eventveil.audit.figures import Attack, Figure, Likeness
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models import shipped
from eventveil.models.kinds import initialise
from eventveil.models.weights import load_weights
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Gaussian
from eventveil.training.networks.baselines import Unchanged as Unchanged

pytestmark = pytest.mark.timeout(600)  # seconds alone; far more next to trainings

SHORT = {"epochs": 1, "lr": 0.003}


def workspace_of(audit_settings, work, **anonymizers):
    subjects = [Subject("raw", Unchanged()), *(Subject(*item, audited=True) for item in anonymizers.items())]
    plan = AuditPlan(audit_settings, tuple(subjects), work, open_split(audit_settings.data, work, watch))
    return AuditWorkspace(plan, ProcessGroup(), Silent())


def attacks(values):
    return [Attack.model_validate(value) for value in values]


def likeness(workspace, name):
    return Likeness.model_validate(Comparison(name).run(workspace)["likeness"])


@pytest.mark.nightly
def test_the_event_reid_sample_goes_through_both(real_data, tmp_path):
    root = real_data / "event_reid"
    audit_settings = settings(
        root, linking=[1], batch=8,
        data={"val_people": 3, "queries": str(root / "query_list.txt"), "gallery": str(root / "gallery_list.txt")},
        window={"mode": "voxel", "bins": 5, "bin_us": 6_660, "size": [24, 48], "crop": "events", "offsets": 1},
        attackers=SHORT, inversion={"architectures": ["resnet18"], "width": 8, "layers": 3, **SHORT},
        reconstruction={"weights": str(real_data / "weights" / "firenet_1000.pth.tar")},
    )  # fmt: skip
    network = initialise("event_autoencoder", {}, seed=0)
    workspace = workspace_of(audit_settings, tmp_path, untrained=network, noise=Gaussian(3.0))
    assert len(workspace.test.draw) == 33
    raw, noise = likeness(workspace, "raw"), likeness(workspace, "noise")
    assert raw.ssim.value == pytest.approx(1, abs=1e-4)
    assert raw.ssim.chance < 0.7  # FireNet's pictures of two people differ
    assert noise.ssim.high < 0.5
    by_subject = RetrievalAttack("resnet18", 0, ("raw", "untrained")).run(workspace)["attacks"]
    assert next((a.way, a.people, a.queries) for a in attacks(by_subject["raw"])) == ("search", 5, 13)
    IdentityAttack("raw", "resnet18", 0, ("raw",)).run(workspace)
    alone = Inverting("untrained", 0, (("resnet18", 0),)).run(workspace)
    assert math.isfinite(Figure.model_validate(alone["restored"]).value)
    assert {a.knowledge for a in attacks(alone["attacks"])} == {"inverting"}
    together = Denoising("untrained", "resnet18", 0).run(workspace)
    assert {a.knowledge for a in attacks(together["attacks"])} == {"denoising"}


@pytest.mark.nightly
def test_ten_gestures_and_a_face_go_through_both(real_data, tmp_path):
    root = planted(tmp_path / "data", train=6, test=0)
    (root / "ibmGestureTest").mkdir()
    (root / "ibmGestureTest" / "user00_unknown").symlink_to(real_data / "dvs_gesture/ibmGestureTest/user00_unknown")
    firenet = real_data / "weights" / "firenet_1000.pth.tar"
    audit_settings = settings(
        root, linking=[1],
        window={"bins": 10, "bin_us": 100_000, "size": [32, 32], "offsets": 1, "per_trial": 1},
        inversion={"architectures": ["plain"], "width": 8, "layers": 3, **SHORT},
        reconstruction={"weights": str(firenet)},
    )  # fmt: skip
    network = load_weights(shipped.NOISY_CHANNEL).model
    workspace = workspace_of(audit_settings, tmp_path / "work", shipped=network, noise=Gaussian(0.1))
    assert len(workspace.test.draw) == 10
    raw, published, noise = (likeness(workspace, name) for name in ("raw", "shipped", "noise"))
    assert raw.ssim.value == pytest.approx(1, abs=1e-4)
    assert noise.ssim.value > 0.5 > published.ssim.value  # weak noise keeps the picture; the noisy channel does not
    restored = Figure.model_validate(Inverting("shipped", 0, ()).run(workspace)["restored"])
    assert restored.high < 0.5
    face = real_data / "recordings" / "tonic_sample.aedat4"
    BeforeAndAfter("shipped", face, firenet).run(workspace)
    sheet = tmp_path / "work" / "pictures" / "recording-shipped.png"
    assert sheet.read_bytes()[1:4] == b"PNG"
