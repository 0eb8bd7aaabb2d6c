"""`eventveil --help` names every command with the words of its own help, and loads none of them."""

from __future__ import annotations

import subprocess
import sys

import typer
from typer.testing import CliRunner

from eventveil.cli import SUMMARIES, app, index

SLOW = {"numpy", "torch", "numba", "pydantic", "zmq", "http.client", "rich.progress"}


def test_the_list_of_commands_is_that_of_the_whole_program():
    whole = typer.main.get_command(app)
    assert list(SUMMARIES) == list(whole.commands)
    for name, command in whole.commands.items():
        assert " ".join(command.help.split()).startswith(SUMMARIES[name]), name


def test_what_the_short_program_says_of_itself_is_what_the_whole_one_says():
    short, whole = (CliRunner().invoke(program, ["--help"]).stdout.split("Commands")[0] for program in (index(), app))
    assert short == whole


def run_and_list_modules(*arguments):
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from eventveil.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, set(done.stderr.split())


def test_help_loads_nothing_that_takes_long():
    text, loaded = run_and_list_modules("--help")
    assert "subscribe" in text
    assert "typer" in loaded
    assert loaded.isdisjoint(SLOW | {f"eventveil.cli.{name}" for name in SUMMARIES})


def test_a_command_loads_no_other():
    _, loaded = run_and_list_modules("keys", "--help")
    assert loaded & {f"eventveil.cli.{name}" for name in SUMMARIES} == {"eventveil.cli.keys"}
