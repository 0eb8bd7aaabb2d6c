"""`eventveil audit` as users run it: from weights to a report, a certificate and an exit status."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import yaml
from small_audits import values
from small_trainings import planted
from typer.testing import CliRunner

from eventveil.audit.settings import AuditSettings
from eventveil.cli import app
from eventveil.config import checked, read_yaml
from eventveil.errors import EventVeilError


def run(*arguments):
    """Run a command in this process, since starting one takes seconds; `main` turns errors into a line and status 2."""
    return CliRunner().invoke(app, arguments)


@pytest.mark.timeout(600)  # seconds alone; far more while other tests train
def test_untrained_weights_go_through_an_audit_and_come_out_with_papers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    root = planted(tmp_path / "planted", train=5, test=3)
    few = {"architectures": ["plain"], "epochs": 1}
    settings = values("elsewhere", linking=[1], averaging=0, attackers=few, window={"per_trial": 2, "bins": 7})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    window = ("--size", "16x16", "--bins", "2", "--bin-us", "60000")
    made = run("weights", "init", "anonynoise", "--out", "mine.safetensors", *window)
    assert made.exit_code == 0, made.exception
    audit = ("audit", "--weights", "mine.safetensors", "--data", str(root), "--config", "mine.yaml", "--out", "out")
    done = run(*audit, "--threshold", "0.99", "--json")
    # Three test people after one epoch: the result is no evidence, and the program must say so.
    assert done.exit_code == 2, done.stderr
    (line,) = done.stdout.splitlines()
    output = json.loads(line)
    assert output["status"] == 2
    assert output["report"]["threshold"] == 0.99
    assert output["report"]["settings"]["window"]["bins"] == 2  # the weights decide
    assert "job 1 of 11: informed plain, seed 0, on raw" in done.stderr
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "report.json", "report.schema.json", "report.html", "certificate.json", "certificate.html", "public.pem",
        "key.pem", "key.pem.looks", "work",
    }  # fmt: skip
    assert json.loads((out / "report.json").read_text()) == output["report"]
    checked = run("audit", "verify", "out/certificate.json", "--weights", "mine.safetensors",
                       "--report", "out/report.json", "--key", "out/key.pem", "--json")  # fmt: skip
    assert checked.exit_code == 0, checked.exception
    assert json.loads(checked.stdout)["certificate"]["subjects"][0]["status"] == 2
    again = run(*audit)
    assert isinstance(again.exception, EventVeilError)
    assert "continue it with --resume" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected --weights FILE and --out DIR"),
        (("--weights", "none.safetensors", "--out", "out", "--data", "."), "cannot be read"),
        (("--weights", "x", "--out", "out", "--set", "threshold=2"), "threshold: Input should be less than 1"),
        (("--weights", "x", "--out", "out", "--set", "against=[scramble]"), "expected raw"),
        (("--weights", "x", "--out", "out", "--set", "linking=[5, 1]"), "numbers of windows that begin with 1"),
        (
            ("--weights", "x", "--out", "out", "--set", "attackers.architectures=[oracle]"),
            "expected one or more of resnet18",
        ),
        (("--weights", "x", "--out", "out", "--set", "attackers.pool=5"), "a pool that divides the batch of 32"),
        (("verify", "none.json"), "cannot be read"),
        (
            ("--weights", "x", "--out", "out", "--config", "quick", "--set", "threshold=2"),
            "quick.yaml: threshold: Input",
        ),
        (("--weights", "x", "--out", "out", "--config", "slow"), "slow: unknown configuration; expected full, quick"),
    ],
)
def test_what_cannot_be_audited_is_reported(arguments, words):
    result = run("audit", *arguments)
    assert isinstance(result.exception, EventVeilError)
    assert words in str(result.exception)


@pytest.mark.parametrize("name", ["full", "quick"])
def test_the_ready_configurations_name_every_key(name):
    path = files("eventveil.configs") / "audit" / f"{name}.yaml"
    config = read_yaml(path, AuditSettings)
    settings = checked(AuditSettings, config, name=name)
    assert settings.evidence == (name == "full")

    def keys(value, before=""):
        if not isinstance(value, dict):
            return {before}
        return {key for name, below in value.items() for key in keys(below, f"{before}.{name}")}

    assert keys(config) == keys(settings.model_dump(mode="json"))
