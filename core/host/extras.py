"""Packages that only some commands need, and how to install them: the extras of pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from eventveil.errors import ConfigError, EventVeilError


def install_hint(extra: str | None = None) -> str:
    """Return the command that installs eventveil with an extra, or without one."""
    source = "." if extra is None else f"'.[{extra}]'"
    return f"pip install {source} in a checkout of eventveil"


@contextmanager
def require(package: str, *, extra: str, error: type[EventVeilError] = ConfigError) -> Iterator[None]:
    """Import optional packages inside the block; explain how to install them where they are missing.

        with require("matplotlib", extra="audit", error=AuditError):
            from matplotlib.figure import Figure

    Args:
        package: the name to report.
        extra: the extra that contains it.
        error: what to raise, a subclass of `EventVeilError` that takes a message.

    Raises:
        EventVeilError: of the given type: the package is not installed.
    """
    try:
        yield
    except ImportError:
        raise error(f"{package} is not installed; {install_hint(extra)}") from None


def require_line(command: str) -> None:
    """Check that what runs networks is installed, without importing it.

    Args:
        command: what needs it, for the message.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("torch") is None:
        raise ConfigError(f"{command} needs PyTorch, which is not installed; {install_hint('line')}")
