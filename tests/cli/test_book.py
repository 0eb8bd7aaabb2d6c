"""`eventveil book`: make, show and check."""

from __future__ import annotations

import hashlib
import json

import pytest
from book_helpers import small_book
from PIL import Image
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import BookError, ConfigError
from eventveil.models.book import Book
from eventveil.replay.datasets.dvs_gesture import GESTURES, NO_GESTURE, NOBODY

MANY = [[n, 0] for n in range(20)]
TINY = ("--set", "person.sensor=24x20", "--set", "person.look=plain")


def run(*arguments):
    return CliRunner().invoke(app, ["book", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("book") / "b.safetensors"
    result = run("make", "gestures", "--out", out, "--json", *TINY)
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


@pytest.fixture
def file(tmp_path):
    small_book(note="[red]").write(tmp_path / "b")
    return tmp_path / "b"


@pytest.mark.kernel
def test_the_packaged_book_has_every_label_once(made):
    book = Book.read(made[0])
    assert [word.label for word in book.words] == [*GESTURES, NO_GESTURE, NOBODY]
    assert [word.label for word in book.words if not word.presence] == [NOBODY]
    assert (str(book.sensor), book.step_us, book.bins, book.clips, book.metadata.steps) == ("24x20", 100_000, 1, 13, 25)
    for number in range(13):
        assert sum(book.window(number, step * 100_000).sum() for step in range(25)) > 0


@pytest.mark.kernel
def test_a_book_has_the_same_bytes_on_every_machine(made):
    # Recorded on an AMD EPYC; a failure means that the arithmetic differs here, or that the simulation was changed.
    out, told = made
    assert told["digest"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert told["digest"] == "fa36134c0b71f4f442687f160fef14c1dc0e300195f9f8c1fd70c40bfdbd4b9d"


def test_make_refuses_before_it_films(tmp_path, file):
    for error, message, *arguments in (
        (ConfigError, "it exists already", "--out", file),
        (ConfigError, "person.colour: unknown key", "--set", "person.colour=1"),
        (ConfigError, "all different", "--set", "words.sizes=[1, 1]"),
        (BookError, "at most 4096 words", "--set", "words.phases=25", "--set", f"words.places={MANY}"),
        (BookError, "a whole number", "--set", "words.tempos=[[3, 1]]"),
    ):
        result = run("make", "gestures", "--out", tmp_path / "n", *arguments)
        assert isinstance(result.exception, error), result.output
        assert message in str(result.exception)
    assert "expected gestures" in str(run("make", "words", "--out", tmp_path / "n").exception)
    assert not (tmp_path / "n").exists()


def test_check_prints_the_digest_that_sha256sum_prints(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest in run("check", file).stdout
    assert json.loads(run("check", file, "--json").stdout) == {
        "file": str(file), "digest": digest, "words": 3, "labels": ["wave", "nobody"], "bits": 1.584963, "clips": 2,
        "seconds": 0.00048, "steps": 4, "step_us": 120, "bins": 2, "sensor": "7x5", "events": 120,
        "bytes": file.stat().st_size, "seed": 0, "note": "[red]",
    }  # fmt: skip


def test_check_refuses_a_damaged_book(file):
    data = bytearray(file.read_bytes())
    data[-1] = 255  # a row far below the sensor
    file.write_bytes(data)
    assert isinstance(run("check", file).exception, BookError)
    assert isinstance(run("show", file).exception, BookError)


def test_show_prints_the_words(file):
    shown = run("show", file)
    assert shown.exit_code == 0
    assert "[red]" in shown.stdout  # not taken for a colour
    words = json.loads(run("show", file, "--json").stdout)["words"]
    assert words[1] == {
        "label": "wave", "presence": True, "clip": 0, "dx": 2, "dy": -1, "tempo": [2, 3], "phase": 4, "size": 0.5,
        "amplitude": 1.0,
    }  # fmt: skip


def test_show_draws_the_clips(file, tmp_path):
    out = tmp_path / "b.png"
    assert run("show", file, "--out", out).exit_code == 0
    with Image.open(out) as picture:
        assert picture.size[0] > 2 * 5 * 7
    assert isinstance(run("show", file, "--out", out).exception, ConfigError)
    assert run("show", file, "--out", out, "--force").exit_code == 0
    assert isinstance(run("show", file, "--out", tmp_path / "none" / "b.png").exception, BookError)
