"""Findings of the fuzzer: each of these inputs once raised something other than one of our errors."""

from __future__ import annotations

import base64

import dataset_makers
import numpy as np
import pytest

from eventveil.audit.report.certificate import signing_key
from eventveil.cli import results
from eventveil.cli.retention import of_folder
from eventveil.config import read_yaml, run_settings
from eventveil.errors import AccessError, AuditError, ConfigError, DatasetError, EventFileError
from eventveil.io import open_events
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.retrieval import _json_rows
from eventveil.replay.datasets.see import _published_split
from eventveil.replay.datasets.splits import load_split
from eventveil.replay.player.sources import SourceUri
from eventveil.stream.archive.schemas import frames_of
from eventveil.stream.protocol.certificate import read_key
from eventveil.stream.protocol.keys import read_public

LONG = "natura1" * 100


@pytest.mark.parametrize(
    "text", ["[" * 600, "a: !!bool no-bool", "a: !!timestamp no-time", "a: !!int ''", "? [a]\n: b", "{[a]: b}", "\0"]
)
def test_yaml_whose_values_cannot_be_built(tmp_path, text):
    path = tmp_path / "line.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"line\.yaml: "):
        read_yaml(path)
    with pytest.raises(ConfigError, match="is not YAML"):
        run_settings({"sources": [{"uri": "a"}]}, [f"line.queue={text}"], name="test")


def test_a_place_in_a_list_with_thousands_of_digits():
    with pytest.raises(ConfigError, match="expected a number from 0 to 0"):
        run_settings({"sources": [{"uri": "a"}]}, [f"sources.{'9' * 5000}.speed=max"], name="test")


@pytest.mark.parametrize("t0", [1 << 62, 10**40, -(1 << 63), 1 << 63])
def test_a_recording_that_begins_at_no_time(tmp_path, t0):
    path = tmp_path / "a.raw"
    path.write_bytes(f"% evt 3.0\n% geometry 128x128\n% t0 {t0}\n% end\n".encode() + b"\0\x80\x7f\0\x7f\x20" * 9)
    with pytest.raises(EventFileError, match="its header is invalid"):
        open_events(path)


def test_a_source_with_too_long_a_name():
    with pytest.raises(ConfigError, match="unknown kind of source"):
        SourceUri.parse(f"{LONG}:")


@pytest.mark.parametrize("name", ["~nobody-of-that-name", "~no\0body", "~no\ud800body"])
def test_a_dataset_in_a_home_folder_that_nobody_has(name):
    with pytest.raises(ConfigError, match="the home folder of this user is unknown"):
        SourceUri.parse(f"dvs-gesture:{name}/set")


def test_a_key_file_with_a_key_that_has_no_value(tmp_path):
    path = tmp_path / "alice.pub"
    path.write_text("curve\n    public-key\n")
    with pytest.raises(AccessError, match="holds no public key"):
        read_public(path)


def test_a_list_of_recordings_with_too_long_a_name(tmp_path):
    root = dataset_makers.release(tmp_path / "set")
    (root / "trials_to_train.txt").write_text(f"{LONG}.aedat\n")
    with pytest.raises(DatasetError, match="unpack the release again"):
        open_dataset(root)


@pytest.mark.parametrize("line", ["/", ".", "../set/user01_natural.aedat", "./user01_natural.aedat"])
def test_a_list_of_recordings_that_names_none_beside_it(tmp_path, line):
    root = dataset_makers.release(tmp_path / "set")
    (root / "trials_to_train.txt").write_text(f"{line}\n")
    with pytest.raises(DatasetError, match=r"trials_to_train\.txt, line 1: expected the name of a file in the same"):
        open_dataset(root)


def test_a_recording_of_a_person_that_lasts_for_years(tmp_path):
    path = tmp_path / "set/001/cam01/events.txt"
    path.parent.mkdir(parents=True)
    path.write_text("0 1 1 0\n9999999999999999 1 1 0\n")
    with pytest.raises(DatasetError, match="lasts longer than 100000 windows"):
        open_dataset(tmp_path / "set")


def test_a_label_with_thousands_of_digits(tmp_path):
    root = dataset_makers.release(tmp_path / "set")
    for row in (f"{'9' * 5000},1,2", f"1,{'9' * 5000},2"):
        (root / "user01_natural_labels.csv").write_text(f"{dataset_makers.LABELS}\n{row}\n")
        with pytest.raises(DatasetError):
            open_dataset(root)


@pytest.mark.parametrize("header", [b"{'descr': '<i4', 'shape': (((((\n", b"{[]: 1}\n", b"(" * 60 + b"\n", b"\xff\n"])
def test_a_table_whose_header_is_not_python(tmp_path, header):
    root = dataset_makers.tonic(tmp_path / "set", people=(("ibmGestureTrain", (1,)),), classes=(0,))
    path = root / "ibmGestureTrain/user01_natural/0.npy"
    np.save(path, np.zeros((3, 4), np.int32))
    path.write_bytes(path.read_bytes()[:8] + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DatasetError, match="expected a table of numbers"):
        open_dataset(root)


def test_a_key_of_another_kind_that_is_too_short(tmp_path):
    x448 = bytes.fromhex("302e020100300506032b656f04220420") + bytes(32)  # 56 bytes would be right
    path = tmp_path / "key.pem"
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(x448) + b"-----END PRIVATE KEY-----\n")
    with pytest.raises(AuditError, match="expected an Ed25519 public key in PEM"):
        read_key(path)
    with pytest.raises(AuditError, match="expected an Ed25519 private key in PEM"):
        signing_key(path)


def test_json_that_is_nested_too_deeply(tmp_path):
    """Python's parser gives up with an error of its own kind, of which nobody had thought."""
    path, deep = tmp_path / "split.json", b"[" * 200_000
    path.write_bytes(deep)
    with pytest.raises(DatasetError, match="expected a split as JSON"):
        load_split(path)
    with pytest.raises(DatasetError, match="expected rows with a filename"):
        list(_json_rows(path, "query"))
    with pytest.raises(DatasetError, match="expected lists train, query and gallery"):
        _published_split(path)
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        results._read(path)
    with pytest.raises(ValueError, match="nested too deeply"):
        frames_of("gesture", deep)  # the reader of MCAP makes it an error of the file
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "audit.json").write_bytes(deep)
    (tmp_path / "split.json").unlink()
    with pytest.raises(ConfigError, match="nothing was deleted"):
        of_folder(tmp_path)
