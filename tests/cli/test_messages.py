"""Messages say what is wrong, and nothing else: file names, formats, sources, topics."""

from __future__ import annotations

import errno
import socket

import pytest
import torch
import typer
from typer.testing import CliRunner

from eventveil.cli import info as info_command
from eventveil.cli import run as run_command
from eventveil.cli import subscribe as subscribe_command
from eventveil.errors import ConfigError, EventFileError, EventVeilError, TrainingError
from eventveil.stream import subscribe
from eventveil.stream.publisher.listener import _remedy
from eventveil.training.engine import checkpoint


def command(*words):
    """Run a command in this process; return its result, with an error of eventveil in `exception`."""
    app = typer.Typer()
    for module in (info_command, run_command, subscribe_command):
        module.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_file_name_is_printed_as_it_is(tmp_path):
    path = tmp_path / "n\u00f6:smile:.csv"
    path.write_text("t,x,y,p\n1,2,3,1\nwrong\n")
    assert "n\u00f6:smile:.csv" in command("info", path, "--sensor", "9x9").stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!AER-DAT1.0\r\n\0\1\0\0\0\1", "AEDAT 1.0 is not supported; convert it"),
        (b"#!AER-DAT2.1\r\n\0\1\0\0\0\1", "AEDAT 2.1 is not supported; convert it"),
        (b"#!AER-DAT3.0\r\n#Format: RAW\r\n", "AEDAT 3.0 is not supported; convert it"),
        (b"\0\1\0\0\0\1" * 9, "does not begin with #!AER-DAT2.0 or 3.1: perhaps AEDAT 1.0"),
    ],
)
def test_other_versions_of_aedat_are_named(tmp_path, content, message):
    (tmp_path / "a.aedat").write_bytes(content)
    error = command("info", tmp_path / "a.aedat").exception
    assert isinstance(error, EventFileError)
    assert message in str(error)


def test_aedat2_without_a_chip_asks_for_the_geometry(tmp_path):
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT2.0\r\n" + bytes(8) * 3)
    output = command("info", tmp_path / "a.aedat").stderr
    assert "does not name its chip" in output
    assert "65536" not in output


def test_a_tensor_is_not_a_checkpoint(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "a.pt")
    with pytest.raises(TrainingError, match="is not a training checkpoint"):
        checkpoint._read(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EADDRINUSE, "is another eventveil running there"),
        (errno.EACCES, "this user may not use it"),
        (errno.EADDRNOTAVAIL, "not an address of this machine"),
        (errno.EMFILE, "choose another address"),
    ],
)
def test_an_address_that_cannot_be_bound_says_why(number, message):
    remedy = _remedy(OSError(number, "reason"))
    assert message in remedy
    assert ("running there" in remedy) == (number == errno.EADDRINUSE)
    assert "not an address of this machine" in _remedy(socket.gaierror(-2, "unknown"))


def test_an_unknown_kind_of_source_is_named_with_those_that_are_known():
    error = command("run", "webcam://").exception
    assert isinstance(error, ConfigError)
    for known in ("'webcam'", "path of a recording", "simulate:", "dv://"):
        assert known in str(error)


def test_sources_that_are_not_a_list_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("sources: 5\n")
    error = command("run", tmp_path / "a.yaml").exception
    assert isinstance(error, ConfigError)
    assert "sources: expected a list" in str(error)


@pytest.mark.parametrize(("name", "message"), [("missing.npy", "no such file"), ("a.csv", "--sensor WxH")])
def test_a_source_that_cannot_be_played_is_reported_before_weights_are_read(tmp_path, name, message):
    (tmp_path / "a.csv").write_text("t,x,y,p\n1,2,3,1\n")
    result = command("run", tmp_path / name, "--weights", "nowhere.safetensors")
    assert isinstance(result.exception, EventVeilError)
    assert message in str(result.exception)
    assert "publish" not in result.stderr


def test_a_subscriber_that_heard_nothing_fails():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = command("subscribe", f"tcp://127.0.0.1:{port}", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "is a pipeline publishing" in result.stderr


def test_the_topics_of_the_help_are_those_of_the_error():
    with pytest.raises(ConfigError, match="unknown topic gestures: expected window, gesture or events"):
        next(iter(subscribe("tcp://127.0.0.1:1", ("gestures",))))
