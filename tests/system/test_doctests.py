"""The examples in docstrings run and print what they say; every public name has one."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
from public_names import PUBLIC

WITHOUT_BEHAVIOUR = {"HistogramStats", "Mode", "__version__"}
ILLUSTRATED = [(module, name) for module, names in PUBLIC.items() for name in names if name not in WITHOUT_BEHAVIOUR]
ROOMS = ("eventveil", *(f"eventveil.{room}" for room in ("audit", "io", "models", "replay", "stream", "training")))


def modules_with_examples():
    """Find modules by their source: in a checkout, packages are in separate folders that `eventveil.__path__` lacks."""
    for room in ROOMS:
        folder = Path(importlib.import_module(room).__file__).parent
        for path in sorted(folder.rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(folder).with_suffix("").parts
                yield ".".join((room, *(part for part in parts if part != "__init__")))


@pytest.mark.parametrize("name", sorted(set(modules_with_examples())))
def test_the_examples_of_a_module_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(("module", "name"), ILLUSTRATED)
def test_every_public_name_has_an_example(module, name):
    assert ">>> " in (getattr(importlib.import_module(module), name).__doc__ or "")
