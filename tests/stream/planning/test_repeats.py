"""The same events in two streams of a pipeline are refused, under whatever name they come; a loop is announced."""

from __future__ import annotations

import shutil

import numpy as np
import pipeline_setup
import pytest
from dataset_makers import events_of, tonic

from eventveil.errors import ConfigError, DatasetError
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.planning.repeats import loop_remarks, refuse_same_events
from eventveil.stream.settings.pipeline import SourceSettings

COLUMNS = "?columns=t,x,y,p"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two recordings, a copy, a link, a dataset and another one with one of its trials."""
    folder = tmp_path_factory.mktemp("sources")
    np.save(folder / "first.npy", events_of(1))
    np.save(folder / "second.npy", events_of(2))
    shutil.copy(folder / "first.npy", folder / "copy.npy")
    (folder / "link.npy").symlink_to(folder / "first.npy")
    tonic(folder / "people", people=(("ibmGestureTrain", (1,)), ("ibmGestureTest", (60,))), classes=(3,))
    tonic(folder / "others", people=(("ibmGestureTrain", (30,)), ("ibmGestureTest", (90,))), classes=(3,))
    tonic(folder / "again", people=(("ibmGestureTrain", (1,)), ("ibmGestureTest", (120,))), classes=(3,))
    return folder


def sources(folder, *uris, **both):
    """Two sources, with FOLDER replaced in their URIs; a URI may come as (URI, its further keys)."""
    pairs = [(uri, {}) if isinstance(uri, str) else uri for uri in uris]
    return [
        SourceSettings.model_validate({"uri": uri.replace("FOLDER", str(folder)), "stream": str(number)} | both | own)
        for number, (uri, own) in enumerate(pairs)
    ]


FIRST = "FOLDER/first.npy" + COLUMNS
TRIAL = "FOLDER/people/ibmGestureTrain/user01_natural/3.npy?columns=x,y,p,t&unit=ms"


@pytest.mark.parametrize(
    "uris",
    [
        (FIRST, FIRST),
        (FIRST, "FOLDER/copy.npy"),
        (FIRST, "FOLDER/link.npy"),
        (FIRST, "FOLDER/people/../first.npy"),
        (FIRST, "file://FOLDER/first.npy"),
        (FIRST, "FOLDER/second.npy", "FOLDER/copy.npy"),
        ((FIRST, {"stop_s": 0.5}), (FIRST, {"start_s": 0.4})),
        ((FIRST, {"stop_s": 0.5}), ("FOLDER/copy.npy", {"start_s": 0.5})),
        ("dvs-gesture:FOLDER/people", "dvs-gesture:FOLDER/people"),
        ("dvs-gesture:FOLDER/people", "dvs-gesture:FOLDER/people?split=test"),
        ("dvs-gesture:FOLDER/people", "dvs-gesture:FOLDER/again"),
        ("dvs-gesture:FOLDER/people", TRIAL),
        ("dv://DXB00010", "dv://DXB00010?driver=dv-processing"),
        ("dv+tcp://localhost:7777", "dv+tcp://127.0.0.1:7777"),
        ("dv+unix:///run/dv/events.sock", "dv+unix:///run/dv/../dv/events.sock"),
    ],
)
def test_two_sources_of_the_same_events_are_refused(folder, uris):
    with pytest.raises(ConfigError, match=r"would publish the same events, .* refused; give each") as caught:
        refuse_same_events(sources(folder, *uris))
    assert str(folder) not in str(caught.value)  # a path may name a person
    assert "user" not in str(caught.value)


@pytest.mark.parametrize(
    "uris",
    [
        (FIRST,),
        (FIRST, "FOLDER/second.npy"),
        (FIRST, "FOLDER/missing.npy"),
        ((FIRST, {"stop_s": 0.5}), (FIRST, {"start_s": 0.5})),
        ("dvs-gesture:FOLDER/people?split=train", "dvs-gesture:FOLDER/people?split=test"),
        ("dvs-gesture:FOLDER/people", "dvs-gesture:FOLDER/others"),
        ("dvs-gesture:FOLDER/people?split=test", TRIAL),
        ("dv://", "dv://"),
        ("dv://DXB00010", "dv://DXB00011"),
        ("dv+tcp://localhost:7777", "dv+tcp://localhost:7778"),
        ("simulate:", "simulate:"),
    ],
)
def test_sources_of_other_events_are_not(folder, uris):
    refuse_same_events(sources(folder, *uris))


def test_a_dataset_that_cannot_be_listed_is_named_without_its_trials(tmp_path):
    tonic(tmp_path, people=(("ibmGestureTest", (24,)),), classes=(3,))
    (tmp_path / "ibmGestureTest" / "user24_natural" / "3.npy").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="cannot be listed; `eventveil datasets check") as caught:
        refuse_same_events(sources(tmp_path, "dvs-gesture:FOLDER", "FOLDER/a.npy"))
    assert "user24" not in str(caught.value)


def test_a_loop_is_announced(folder):
    once, again = sources(folder, FIRST, ("FOLDER/second.npy", {"loop": True}))
    (remark,) = loop_remarks([once, again])
    assert "stream 1 loops: each pass publishes the same events" in remark


def test_a_pipeline_of_both_is_refused_before_it_starts_and_tells_of_a_loop(tmp_path):
    kit = pipeline_setup.make_kit(tmp_path, seconds=0.2)
    loop = {"uri": str(kit.recording), "stream": "a", "loop": True}
    endpoint = f"ipc://{tmp_path}/public"
    with pytest.raises(ConfigError, match="the streams a and b would publish the same events"):
        Pipeline(kit.settings(endpoint, sources=[loop, loop | {"stream": "b"}]))
    assert "stream a loops" in Pipeline(kit.settings(endpoint, sources=[loop])).plan.remarks[-1]
