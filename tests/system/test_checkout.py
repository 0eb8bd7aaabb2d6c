"""Private files that lie in a checkout reach neither a container image nor a commit."""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (REPOSITORY / "core").is_dir(), reason="only a checkout has these files")

PLANTED = [
    # keys and tokens
    "keys/secret.key", "line/secret.key", "line/line.pub", "line/allowed/alice.pub", "key.pem", "audit/key.pem",
    "key.pem.looks",
    "metrics.token", "deploy/prometheus.token", "core/secret.key", "stream/protocol/secret.key", ".env",
    # recordings and windows
    "trial.aedat4", "trial.raw", "data/user01_led/3.npy", "received/window-0-0123456789abcdef-00000001.npz",
    "people/ibmGestureTrain/user01_led/0.npy", "people/simulated.json", "replay/datasets/trial.npy", "events.csv",
    "events.tsv", "image_0001.bin", "line.mcap", "anonymous/manifest.json",
    # runs and audits
    "runs/first/split.json", "runs/first/adversarial/last.pt", "runs/first/adversarial/windows.png",
    "runs/first/adversarial/steps.csv", "runs/first/settings.yaml", "mine/split.json", "mine/results.json",
    "audit/work/audit.json", "audit/work/pictures.html", "audit/report.html", "audit/report.json",
    "audit/certificate.json", ".digest.npy.0123abcd.part",
    # weights and pictures
    "anonymizer.safetensors", "models/mine.safetensors", "models/shipped/mine.safetensors", "gesture.pth", "seen.png",
    "docs/seen.png", "audit/report/seen.jpg",
    # the environment
    ".venv/bin/python",
]  # fmt: skip


def context_rules():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def in_context(name, rules):
    """Return whether a file is sent to the builder: the last rule that matches it, or a folder above it, decides."""
    parts, sent = PurePosixPath(name).parts, True
    for rule in rules:
        pieces = rule.removeprefix("!").split("/")
        if len(parts) >= len(pieces) and all(map(fnmatchcase, parts, pieces)):
            sent = rule.startswith("!")
    return sent


def folder_of(package):
    """Return the folder of a package, as in pyproject.toml: `eventveil` is in core/."""
    folders = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    nearest = max((name for name in folders if f"{package}.".startswith(f"{name}.")), key=len)
    return "/".join([folders[nearest], *package.removeprefix(nearest).strip(".").split(".")]).rstrip("/")


def test_the_build_context_is_the_sources_of_the_package_and_nothing_else():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    setup = project["tool"]["setuptools"]
    wanted = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    wanted |= {f"{folder_of(package)}/*.py" for package in setup["packages"]}
    wanted |= {f"{folder_of(package)}/{file}" for package, files in setup["package-data"].items() for file in files}
    rules = context_rules()
    assert rules[0] == "*"
    assert all(rule.startswith("!") for rule in rules[1:])
    assert sorted(rule.removeprefix("!") for rule in rules[1:]) == sorted(wanted)
    assert not any("*" in PurePosixPath(rule).parent.as_posix() for rule in rules), "planted folders could match"


def test_images_are_built_from_this_context_alone():
    copies = re.findall(
        r"^(?:COPY|ADD) (?!--from=build )(.*)$", (REPOSITORY / "deploy/Dockerfile").read_text(), re.MULTILINE
    )
    assert copies == [". /src"]
    compose = yaml.safe_load((REPOSITORY / "deploy/compose.yaml").read_text())
    builds = [service["build"] for service in compose["services"].values() if "build" in service]
    assert builds
    assert all((REPOSITORY / "deploy" / build["context"]).resolve() == REPOSITORY for build in builds)
    # A builder looks for it beside the Dockerfile.
    assert not list((REPOSITORY / "deploy").glob("*.dockerignore")), "it would take the place of .dockerignore"


def test_every_source_file_is_in_the_build_context():
    rules, rooms = context_rules(), {rule.removeprefix("!").split("/")[0] for rule in context_rules() if "/" in rule}
    sources = [path for room in rooms for path in (REPOSITORY / room).rglob("*.py")]
    names = [path.relative_to(REPOSITORY).as_posix() for path in sources]
    assert len(names) > 200
    assert not [name for name in names if not in_context(name, rules)]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_file_is_not_in_the_build_context(name):
    assert not in_context(name, context_rules())


def git(*arguments):
    # Without the ignored files that the user of this machine has chosen.
    command = ["git", "-C", str(REPOSITORY), "-c", "core.excludesFile=/dev/null", *arguments]
    return subprocess.run(command, input="\n".join(PLANTED), capture_output=True, text=True, check=False)


in_git = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a clone")


@in_git
def test_planted_files_are_not_committed():
    ignored = git("check-ignore", "--no-index", "--stdin").stdout.splitlines()
    assert [name for name in PLANTED if name not in ignored] == []


@in_git
def test_no_file_of_the_project_is_ignored():
    listed = git("ls-files", "--cached", "--ignored", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout == ""
