"""Optional packages: imported where they are installed, and explained where they are not."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from eventveil.errors import AuditError, ConfigError
from eventveil.host.extras import install_hint, require

REPOSITORY = Path(__file__).parents[2]


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    message = "absent_package is not installed; pip install '.[audit]' in a checkout of eventveil"
    with (
        pytest.raises(AuditError, match=f"^{re.escape(message)}$"),
        require("absent_package", extra="audit", error=AuditError),
    ):
        import absent_package  # noqa: F401


def test_by_default_the_configuration_is_wrong():
    with pytest.raises(ConfigError), require("absent_package", extra="train"):
        import absent_package  # noqa: F401


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), require("numpy", extra="train"):
        1 / 0  # noqa: B018


@pytest.mark.skipif(not (REPOSITORY / "core").is_dir(), reason="only the repository has its sources")
def test_every_extra_that_the_code_names_exists():
    known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rooms = ("audit", "core", "io", "models", "replay", "stream", "training")
    named = set()
    for path in (path for room in rooms for path in (REPOSITORY / room).rglob("*.py")):
        source = path.read_text()
        named |= set(re.findall(r'require\([^)]*extra="(\w+)"', source))
        named |= {
            name for names in re.findall(r"install_hint\(['\"]([\w,]+)['\"]\)", source) for name in names.split(",")
        }
    assert {"audit", "cluster", "line", "prophesee", "train"} <= named <= set(known)
    assert install_hint("train") == "pip install '.[train]' in a checkout of eventveil"
    assert install_hint() == "pip install . in a checkout of eventveil"
