"""The owner's page over real sockets: who gets what, and what is left on the disk."""

from __future__ import annotations

import io
import json
import socket
import stat
import tempfile
import threading
import time
import urllib.request

import numpy as np
import pytest
import typer
from moving_disc import moving_disc
from page_helpers import PATIENCE_S, decoded, get
from PIL import Image
from pipeline_setup import make_kit
from show_helpers import TOKEN, plan_of, show_page
from stand_in_helpers import make_stand_in_kit
from typer.testing import CliRunner

from eventveil import Sensor
from eventveil.cli import app
from eventveil.errors import ConfigError, LineError
from eventveil.stream.owner.show import reel
from eventveil.stream.owner.show.app import FILES
from eventveil.stream.owner.show.serve import serve_show
from eventveil.stream.owner.show.sheet import save

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PRIVATE = ("/state", "/pictures/0/1", "/save/png/0/1", "/save/gif/0/1", "/other")


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return make_stand_in_kit(tmp_path_factory.mktemp("kit"), moving_disc(Sensor(64, 64), 1.5))


@pytest.fixture(scope="module")
def served(kit, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("out"), []
    noisy = make_kit(tmp_path_factory.mktemp("noisy"), seconds=0.1)
    plans = {"shipped": plan_of(kit.recording, kit.anonymizer), "noisy": plan_of(kit.recording, noisy.anonymizer)}
    with show_page(plans, out, say=said.append) as (reel, address):
        yield reel, address, out, said


def post(address, path, **headers):
    """Return status and text of a POST."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{address[1]}", "Connection: close", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(address, PATIENCE_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        with connection.makefile("rb") as answer:
            head, _, text = answer.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), text.decode()


def test_without_the_token_there_is_only_an_empty_page(served):
    _, address, out, _ = served
    for path in ("/", *(f"/{name}" for name in FILES)):
        status, headers, text = get(address, path)
        assert status == 200
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert TOKEN not in text
    for path in PRIVATE:
        for headers in ({}, {"Authorization": "Bearer " + TOKEN[::-1]}, {"Authorization": "Bearer "}):
            assert get(address, path, **headers)[0] == 401
            assert post(address, path, **headers)[0] == 401
        assert get(address, f"{path}?token={TOKEN}")[0] == 401
    assert not list(out.iterdir())


def test_a_page_elsewhere_gets_nothing_even_with_the_token(served):
    _, address, _, _ = served
    for path in (*PRIVATE, "/"):
        assert get(address, path, Host="elsewhere.example", **BEARER)[0] == 403
        assert get(address, path, Origin="http://elsewhere.example", **BEARER)[0] == 403
    assert post(address, "/save/png/0/1", Origin="http://elsewhere.example", **BEARER)[0] == 403


def test_the_owner_sees_both_sides(served):
    reel, address, _, _ = served
    state = json.loads(get(address, "/state", **BEARER)[2])
    assert (state["first"], state["end"], state["names"]) == (0, len(reel.span), ["shipped", "noisy"])
    assert (state["over"], state["failed"], state["live"], state["step_ms"]) == ("The whole source", False, False, 100)
    for number, column in ((3, 1), (11, 2)):
        url = f"http://127.0.0.1:{address[1]}/pictures/{number}/{column}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=BEARER), timeout=PATIENCE_S) as answer:
            _, header, payload = decoded(answer.read())
        shown = [reel.step(number).columns[at] for at in (0, column)]
        assert [one["name"] for one in header["columns"]] == [one.name for one in shown]
        assert [tuple(one["events"]) for one in header["columns"]] == [one.events.shape for one in shown]
        assert payload == b"".join(one.events.tobytes() for one in shown)
    for path in ("/pictures/999/1", "/pictures/0/0", "/pictures/0/3", "/pictures/x/1", "/../app.py", "/app.py"):
        assert get(address, path, **BEARER)[0] == 404
    assert post(address, "/save/exe/0/1", **BEARER)[0] == 404


def test_saved_pictures_are_private_and_replace_nothing(served):
    reel, address, out, said = served
    files = []
    for kind, number in (("png", 2), ("png", 3), ("gif", 5)):
        status, text = post(address, f"/save/{kind}/{number}/1", **BEARER)
        assert status == 200
        files.append(out / json.loads(text)["file"].rpartition("/")[2])
    assert sorted(out.iterdir()) == sorted(files)
    assert len(set(files)) == 3
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert [str(file) in line for file, line in zip(files, said, strict=True)] == [True] * 3
    picture = np.asarray(Image.open(files[0]))
    events = np.asarray(Image.fromarray(reel.step(2).columns[0].events).resize((256, 256), Image.Resampling.NEAREST))
    assert (np.lib.stride_tricks.sliding_window_view(picture, (256, 256))[38:39, 8:9] == events).all()
    with Image.open(files[2]) as moving:
        assert moving.n_frames == min(30, len(reel.span) - 5)
        assert moving.info["duration"] == 100


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"cannot be written .*check --out"):
        save(tmp_path / "gone", "png", b"")


def test_it_listens_on_loopback_alone_and_says_so_only_to_its_owner(kit, tmp_path, monkeypatch):
    """The whole command: nothing but the address is said, and nothing but what is saved is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    bound, said, done = [], [], threading.Event()
    create = socket.create_server

    def bind(address, **more):
        bound.append(address)
        return create(address, **more)

    monkeypatch.setattr(socket, "create_server", bind)
    plans = {"shipped": plan_of(kit.recording, kit.anonymizer)}

    def stop():
        done.set()
        return True

    serve_show(plans, firenet=None, port=0, out=tmp_path, say=said.append, aloud=True, stop=stop)
    assert done.is_set()
    assert [host for host, _ in bound] == ["127.0.0.1"]
    (line,) = said
    url, _, token = line.rpartition(" ")[2].partition("#")
    assert url.startswith("http://127.0.0.1:")
    assert len(token) == 43  # 256 bits
    assert not list(tmp_path.iterdir())
    serve_show(plans, firenet=None, port=0, out=tmp_path, say=said.append, aloud=True, stop=stop)
    assert token not in said[1]


def test_without_a_terminal_the_token_is_in_a_private_file_and_in_no_log(kit, tmp_path, monkeypatch):
    """The command with its output in files, as a service or `nohup` has it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said, found = [], []

    def stop():
        (path,) = tmp_path.glob("eventveil-show-*/address")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        found.append((str(path), path.read_text().strip()))
        return True

    plans = {"shipped": plan_of(kit.recording, kit.anonymizer)}
    serve_show(plans, firenet=None, port=0, out=tmp_path, say=said.append, aloud=False, stop=stop)
    ((name, address),) = found
    url, _, token = address.partition("#")
    assert url.startswith("http://127.0.0.1:")
    assert len(token) == 43
    assert said == [f"eventveil: for you alone, open the address in {name}"]
    assert not list(tmp_path.glob("eventveil-show-*"))


def test_an_error_while_the_page_is_served_is_not_taken_for_one_of_the_private_file(kit, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def stop():
        raise OSError("of the terminal")

    plans = {"shipped": plan_of(kit.recording, kit.anonymizer)}
    with pytest.raises(OSError, match="of the terminal"):
        serve_show(plans, firenet=None, port=0, out=tmp_path, say=lambda text: None, aloud=False, stop=stop)
    assert not list(tmp_path.glob("eventveil-show-*"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_our_own_ends_the_page(kit, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(reel, "in_steps", fail)
    plans = {"stand-in": plan_of(kit.recording, kit.anonymizer)}
    deadline = time.monotonic() + PATIENCE_S
    with pytest.raises(LineError, match="the source is no longer read"):
        serve_show(
            plans, firenet=None, port=0, out=tmp_path, say=lambda text: None, aloud=True,
            stop=lambda: time.monotonic() > deadline,
        )  # fmt: skip


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_the_command_says_the_token_to_terminals_alone(kit, tmp_path, monkeypatch, words):
    monkeypatch.setattr("eventveil.cli.show.on_signals", lambda stop: stop())
    command = ["show", str(kit.recording), "--weights", str(kit.anonymizer), "--out", str(tmp_path), *words]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "open the address in " in done.output
    assert "#" not in done.output


def test_no_option_names_another_address():
    command = typer.main.get_command(app).commands["show"]
    assert {option.name for option in command.params} == {
        "source", "weights", "book", "firenet", "start", "sensor", "on_disorder", "on_damage", "port", "out", "json",
    }  # fmt: skip
    for words in (["--http", "0.0.0.0:80"], ["--port", "0.0.0.0:80"], ["--bind", "*"], ["--port", "70000"]):
        assert CliRunner().invoke(app, ["show", "x.aedat4", *words]).exit_code == 2


def test_what_cannot_be_shown_is_refused_before_anything_is_served(kit, tmp_path):
    for words, message in (
        ((str(tmp_path / "gone.aedat4"),), "gone.aedat4"),
        ((str(kit.recording), "--weights", "shipped", "--weights", "shipped"), "given twice"),
        ((str(kit.recording), "--weights", str(kit.anonymizer), "--firenet", str(tmp_path / "gone.pth")), "gone.pth"),
    ):
        error = CliRunner().invoke(app, ["show", *words]).exception
        assert message in str(error)


def test_a_png_needs_no_browser(served):
    reel, *_ = served
    from eventveil.stream.owner.show.sheet import png

    with Image.open(io.BytesIO(png(reel.step(0), reel.names))) as picture:
        assert picture.size == (3 * 264 + 8, 302)
