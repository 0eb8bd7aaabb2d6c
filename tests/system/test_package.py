"""The package: public names, allowed imports, and the contents of the wheel."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from public_names import PUBLIC

ROOMS = ["audit", "configs", "deploy", "io", "models", "replay", "stream", "training"]
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these(module):
    loaded = importlib.import_module(module)
    assert set(PUBLIC[module]) <= set(dir(loaded)) | {name for name in PUBLIC[module] if hasattr(loaded, name)}
    if hasattr(loaded, "__all__"):
        assert sorted(loaded.__all__) == sorted(PUBLIC[module])


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_installed_with_all_its_files(room):
    installed = files_below(Path(importlib.import_module(f"eventveil.{room}").__file__).parent)
    if (REPOSITORY / room).is_dir():
        assert installed == files_below(REPOSITORY / room)
    assert len(installed) > 1


def files_below(folder):
    suffixes = (".py", ".service", ".yaml", ".j2", ".safetensors", ".html", ".css", ".js")
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in suffixes}


@pytest.mark.skipif(not (REPOSITORY / "core").is_dir(), reason="only the repository can be compared with its list")
def test_no_room_is_missing_in_the_list_of_packages():
    import tomllib

    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [init for room in ("core", *ROOMS) for init in (REPOSITORY / room).rglob("__init__.py")]
    parts = [init.parent.relative_to(REPOSITORY).parts for init in inits]
    packages = {".".join(("eventveil", *(part for part in names if part != "core"))) for names in parts}
    assert packages == set(listed)


NOT_IMPORTED = {
    "numpy": ("eventveil",),
    "zmq": (
        "eventveil.io",
        "eventveil.models",
        "eventveil.replay.player.player",
        "eventveil.stream.histogram",
        "eventveil.audit.auditor",
        "eventveil.training.engine.loop",
    ),
    "torch": (
        "eventveil.io",
        "eventveil.models.header",
        "eventveil.stream.histogram",
        "eventveil.stream.subscriber.client",
        "eventveil.stream.clients.web.process",
        "eventveil.stream.pipeline.network_stages",
        "eventveil.stream.pipeline.pipeline",  # the supervisor, which also plans
    ),
    "numba": (
        "eventveil.replay.simulation.people",
        "eventveil.stream.subscriber.client",
        "eventveil.stream.pipeline.pipeline",
    ),
    "starlette": ("eventveil.stream.clients.web.process",),
    # Each process of a pipeline would hold its own copy.
    "asyncio": (
        "eventveil.stream.pipeline.pipeline",
        "eventveil.stream.stages.recording",
        "eventveil.stream.stages.camera",
        "eventveil.stream.subscriber.client",
    ),
    "PIL": (
        "eventveil.stream.pipeline.pipeline",
        "eventveil.stream.stages.recording",
        "eventveil.stream.stages.camera",
    ),
    "typer": ("eventveil.__main__", "eventveil.stream.stages.recording", "eventveil.stream.stages.camera"),
}
IMPORT_WITHOUT = """
import importlib, sys

package, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
    if package in sys.modules:
        sys.exit(f"{module} imports {package}")
"""


@pytest.mark.parametrize("package", NOT_IMPORTED)
def test_modules_do_not_import_these_packages(package):
    # In a fresh interpreter, because import-linter does not see the imports of an __init__.
    command = [sys.executable, "-c", IMPORT_WITHOUT, package, *NOT_IMPORTED[package]]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(not (REPOSITORY / "core").is_dir(), reason="reads pyproject.toml")
def test_the_script_of_the_command_which_every_stage_imports_does_not_import_the_program():
    import tomllib

    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"eventveil": "eventveil.__main__:main"}


@pytest.mark.parametrize("module", ["eventveil", "eventveil.cli"])
def test_the_program_prints_its_version_and_its_commands(module):
    program = [sys.executable, "-m", module]
    version = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.split() == ["eventveil", importlib.import_module("eventveil").__version__]
    help_text = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True).stdout
    for command in ("run", "subscribe", "view", "info", "convert", "weights", "demo"):
        assert command in help_text
