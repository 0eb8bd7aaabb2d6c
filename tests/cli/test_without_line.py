"""Without the extra `line`, what runs networks says how to install it, before anything else; all else works."""

from __future__ import annotations

import re
import sys

import pytest
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import ConfigError

NEEDY = (
    "run simulate: --weights shipped",
    "run /no/such/file.yaml",
    "demo",
    "anonymize /no/such/file --out out --weights shipped",
    "train all simulated_small",
    "train stand-in stand_in",
    "train table anonynoise_1",
    "show simulate:",
    "audit --weights shipped --out out",
    "audit selftest --out out",
    "weights init anonynoise --out out.safetensors",
    "weights half /no/such/file out.safetensors",
    "weights import anonynoise /no/such/file",
    "weights import event-reid /no/such/file",
    "weights show /no/such/file",
)


@pytest.mark.parametrize("command", NEEDY)
def test_a_command_that_runs_networks_names_the_extra_that_it_needs(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    done = CliRunner().invoke(app, command.split())
    assert isinstance(done.exception, ConfigError)
    assert re.fullmatch(
        r"eventveil [a-z -]+ needs PyTorch, which is not installed; pip install '\.\[line\]' in a checkout.*",
        str(done.exception),
    )
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
