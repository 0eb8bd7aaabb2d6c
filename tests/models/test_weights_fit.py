"""Consistency of metadata, of weights files with each other, and with the pipeline."""

from __future__ import annotations

import pydantic
import pytest
from weights_helpers import NARROW, WINDOW, anonymizer, classifier

from eventveil.errors import WeightsError
from eventveil.models import EventAutoencoder
from eventveil.models.header import check_fit
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata


def test_labels_name_the_classes_of_a_classifier():
    for labels in ((), "ab", "abcd", "aab"):
        with pytest.raises(pydantic.ValidationError, match="label"):
            classifier(labels=tuple(labels))
    assert classifier(role="identity", labels=())[1].labels == ()


@pytest.mark.parametrize("label", ["a\nb", "\x1b[2J", "x" * 257])
def test_a_label_that_no_header_may_hold_is_refused_before_a_pipeline_runs(label):
    with pytest.raises(pydantic.ValidationError, match=r"labels\.1"):
        classifier(labels=("a", label, "c"))


def test_window_shape_follows_representation():
    assert anonymizer()[1].window_shape == (2, 2, 12, 16)
    voxels = Metadata.of(
        EventAutoencoder(), role="anonymizer", trained=False, representation="voxel", bin_us=1, hop=5, size=(16, 12)
    )
    assert voxels.window_shape == (5, 12, 16)
    assert voxels.channels == 5


def header(make, **changes):
    return make(**changes)[1]


def test_files_made_for_the_same_windows_fit():
    a = header(anonymizer)
    check_fit(a)
    check_fit(a, header(classifier, hop=1))
    check_fit(a, header(classifier, mode="recording", bin_us=None, hop=None))
    check_fit(a, header(classifier), representation="histogram", bins=2, bin_us=1000, size=(16, 12))


@pytest.mark.parametrize(
    ("key", "changes"), [("size", {"size": (12, 16)}), ("bin_us", {"bin_us": 999}), ("role", {"role": "identity"})]
)
def test_files_made_for_other_windows_do_not_fit(key, changes):
    with pytest.raises(WeightsError, match=key if key != "role" else "identity"):
        check_fit(header(anonymizer), header(classifier, **changes))


def test_files_of_other_bins_do_not_fit():
    model = initialise("resnet_classifier", NARROW | {"channels": 6}, seed=0)
    metadata = Metadata.of(model, role="target", labels=tuple("abc"), trained=True, **WINDOW | {"bins": 3})
    with pytest.raises(WeightsError, match="bins 2, the classifier has 3"):
        check_fit(header(anonymizer), metadata)


@pytest.mark.parametrize("pipeline", [{"bins": 3}, {"size": (12, 16)}, {"bin_us": 2}, {"representation": "voxel"}])
def test_a_pipeline_of_other_windows_does_not_fit(pipeline):
    with pytest.raises(WeightsError, match=f"{next(iter(pipeline))} .*the pipeline"):
        check_fit(header(anonymizer), **pipeline)


def test_a_classifier_does_not_anonymize():
    with pytest.raises(WeightsError, match="anonymizer, got target"):
        check_fit(header(classifier), header(anonymizer))
