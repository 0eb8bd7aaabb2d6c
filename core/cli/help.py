"""Help texts: what Typer prints, without the type of options that take no value, which it calls `<bool>`."""

from __future__ import annotations

from typing import Any

import typer


def program_of(app: typer.Typer) -> Any:
    """Return the program of an app: its command, with the help of all commands tidied."""
    program = typer.main.get_command(app)
    _tidy(program, None)
    return program


def _tidy(command: Any, parent: Any) -> None:
    context = command.context_class(command, info_name=command.name, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _tidy(inner, context)
