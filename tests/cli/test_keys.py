"""`eventveil keys`, and a pipeline that publishes with keys, as users run them."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from pipeline_setup import PROGRAM, make_kit, subscriber
from typer.testing import CliRunner
from zmq.utils import z85

from eventveil.cli import app
from eventveil.errors import AccessError
from eventveil.stream import subscribe


def keys(*arguments):
    """Run a `keys` command in this process; return its exception, or None, and its standard output."""
    done = CliRunner().invoke(app, ["keys", *map(str, arguments)])
    return done.exception, done.stdout


@pytest.fixture
def folder(tmp_path):
    for name in ("line", "alice", "bob"):
        assert keys("new", tmp_path / name)[0] is None
    return tmp_path


def test_new_keys_say_where_they_are_and_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = CliRunner().invoke(app, ["keys", "new", "alice"]).stderr.splitlines()
    assert output[0] == "alice/secret.key: secret key; keep it private"
    assert output[1].startswith("alice/alice.pub: public key; share it over a trusted channel")
    assert "  eventveil keys allow alice/alice.pub --keys line" in output
    assert "  eventveil subscribe tcp://HOST:5556 --server-key line.pub --key alice/secret.key" in output
    assert "  --set publish.keys=alice" in output


def test_a_public_key_that_is_missing_is_looked_for_in_the_folder_of_its_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for wrong in ("alice.pub", "alice", folder / "alice.pub"):
        error = keys("allow", wrong, "--keys", "line")[0]
        right = folder / "alice" / "alice.pub" if wrong == folder / "alice.pub" else "alice/alice.pub"
        assert isinstance(error, AccessError)
        assert str(error) == f"{wrong}: no such file; did you mean {right}?"
    assert "cannot be read" in str(keys("allow", "carol.pub", "--keys", "line")[0])
    assert listed(folder)["allowed"] == {}


def listed(folder):
    return json.loads(keys("list", "--keys", folder / "line", "--json")[1])


def test_keys_are_made_allowed_listed_and_revoked(folder):
    made = json.loads(keys("new", folder / "carol", "--json")[1])
    assert made["public"] == str(folder / "carol" / "carol.pub")
    assert made["secret"] == str(folder / "carol" / "secret.key")
    assert listed(folder)["allowed"] == {}
    keys("allow", made["public"], folder / "bob" / "bob.pub", "--keys", folder / "line")
    assert listed(folder)["allowed"]["carol"] == made["key"]
    assert sorted(listed(folder)["allowed"]) == ["bob", "carol"]
    output = keys("list", "--keys", folder / "line")[1]
    assert listed(folder)["publisher"] in output
    assert f"{made['key']}  {made['fingerprint']}  carol" in output
    keys("revoke", "bob.pub", "--keys", folder / "line")
    assert sorted(listed(folder)["allowed"]) == ["carol"]


def test_new_allow_and_list_print_the_same_fingerprint_of_a_key(folder):
    made = json.loads(keys("new", folder / "carol", "--json")[1])
    runs = [
        CliRunner().invoke(app, ["keys", *map(str, arguments)])
        for arguments in (
            ("new", folder / "dave", "--name", "dave"),
            ("allow", folder / "dave" / "dave.pub", made["public"], "--keys", folder / "line"),
            ("list", "--keys", folder / "line"),
        )
    ]
    new, allow, listing = (re.findall("(?:[A-Z2-7]{4}-){4}[A-Z2-7]{4}", run.output) for run in runs)
    assert allow == [*new, made["fingerprint"]]
    assert listing[1:] == [made["fingerprint"], *new]  # by name, after the publisher's
    as_json = listed(folder)
    assert as_json["fingerprints"][as_json["publisher"]] == listing[0]
    assert as_json["fingerprints"][as_json["allowed"]["dave"]] == new[0]
    assert len({*listing}) == 3


@pytest.mark.parametrize("number", [0, 1, 2**255 - 20, 2**255 - 19, 2**255])
def test_a_key_that_anyone_could_use_is_refused_wherever_keys_are_read(folder, number):
    weak = folder / "weak.pub"
    weak.write_text(f'curve\n    public-key = "{z85.encode(number.to_bytes(32, "little")).decode()}"\n')
    weak.chmod(0o600)
    assert "weak.pub: is a weak key, with which anyone could connect: refused" in str(
        keys("allow", weak, "--keys", folder / "line")[0]
    )
    with pytest.raises(AccessError, match="is a weak key"):
        next(subscribe("tcp://127.0.0.1:5999", server_key=weak, key=folder / "alice" / "secret.key"))
    allowed = folder / "line" / "allowed"
    allowed.mkdir(mode=0o700)
    weak.rename(allowed / "weak.pub")
    assert "is a weak key" in str(keys("list", "--keys", folder / "line")[0])


def test_what_cannot_be_done_is_said(folder):
    for arguments, words in (
        (("new", folder / "line"), "a key exists already"),
        (("allow", folder / "alice" / "secret.key", "--keys", folder / "line"), "holds a secret key"),
        (("allow", folder / "alice" / "alice.pub", "--keys", folder / "none"), "No such file"),
        (("revoke", "alice", "--keys", folder / "line"), "on it: no key"),
        (("list", "--keys", folder / "line" / "line.pub"), "is not a folder"),
    ):
        assert words in str(keys(*arguments)[0])


def test_a_pipeline_under_keys_reaches_whom_it_allows_and_tells_the_others_why_not(folder, tmp_path_factory):
    kit = make_kit(tmp_path_factory.mktemp("kit"), seconds=0.3)
    endpoint = f"ipc://{folder}/public"
    keys("allow", folder / "alice" / "alice.pub", "--keys", folder / "line")
    key_options = ["--server-key", str(folder / "line" / "line.pub"), "--key"]
    weights = ["--weights", str(kit.anonymizer), "--allow-untrained", "--wait-for", "1"]
    publish_options = ["--set", f"publish.bind={endpoint}", "--set", f"publish.keys={folder / 'line'}", "--json"]
    with (
        subscriber(endpoint, *key_options, str(folder / "bob" / "secret.key")) as bob,
        subscriber(endpoint) as keyless,
        subprocess.Popen(
            [*PROGRAM, "run", str(kit.recording), *weights, *publish_options], stdout=subprocess.PIPE
        ) as pipeline,
    ):
        bob.finish()
        keyless.finish()
        errors = [one.process.stderr.read() for one in (bob, keyless)]
        with subscriber(endpoint, *key_options, str(folder / "alice" / "secret.key")) as alice:
            alice.finish()
        pipeline.communicate(timeout=60)
    assert [bob.process.returncode, keyless.process.returncode, alice.process.returncode] == [2, 2, 0]
    assert "eventveil keys allow" in errors[0]
    assert "--server-key and --key" in errors[1]
    assert pipeline.returncode == 0
    assert len(alice.topic("window")) == 3


def test_a_public_address_without_keys_is_refused_before_anything_starts(folder):
    done = subprocess.run(
        [*PROGRAM, "run", "none.npy", "--set", "publish.bind=tcp://*:5556"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "eventveil keys new" in done.stderr
    assert "Traceback" not in done.stderr
