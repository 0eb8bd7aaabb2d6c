"""Files in the working directory with the names of packages: no command imports them, nor does any process it starts.

Every command of the program is called in such a folder, as its installed script calls it. All share one process,
because the imports of one take seconds; most of them fail early, for want of the file that they name.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
import typer
from all_formats import EVENTS, SENSOR, write_hdf5

from eventveil.cli import app

DRIVERS = ("metavision_hal", "sitecustomize", "usercustomize")  # imported if present
ARGUMENTS = {
    "demo": ["--seconds", "0"],  # refused; its pipeline is that of `run`
    "info": ["events.h5"],  # read by a process of its own
    "run": ["events.h5", "--speed=max", "--weights=shipped", "--set=line.run_as=processes",
            "--set=publish.bind=ipc://public"],
    "simulate": ["events.h5"],  # not a folder
    "show": ["missing"],
    "view": ["missing", "--http=127.0.0.1:0"],
}  # fmt: skip
SCRIPT = """
import ast, sys
from eventveil.cli import app

for arguments in ast.literal_eval(sys.argv.pop()) if __name__ == "__main__" else ():
    print(*arguments, flush=True)
    try:
        app(arguments)
    except (Exception, SystemExit) as error:
        print(type(error).__name__, error, file=sys.stderr)
"""


def commands(command, path=()):
    """Every command of the program, with arguments."""
    if not hasattr(command, "commands") or getattr(command, "invoke_without_command", False):
        required = [
            text
            for parameter in command.params
            if parameter.required
            for text in ([] if parameter.param_type_name == "argument" else [parameter.opts[0]]) + ["missing"]
        ]
        yield [*path, *ARGUMENTS.get(" ".join(path), required)]
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


@pytest.fixture
def planted(tmp_path):
    """A folder with a file for each installed package, which says that it was imported."""
    folder = tmp_path / "planted"
    folder.mkdir()
    names = {*packages_distributions(), *DRIVERS} - {"eventveil"}
    for name in filter(str.isidentifier, names):
        text = f"import os; open({str(folder / 'imported')!r}, 'a').write({name!r} + chr(10))"
        (folder / f"{name}.py").write_text(text)
    write_hdf5(folder / "events.h5", EVENTS, SENSOR)
    return folder


def test_no_command_imports_a_file_of_the_working_directory(tmp_path, planted):
    script = tmp_path / "script.py"  # like the installed one, it lies in another folder
    script.write_text(SCRIPT)
    calls = list(commands(typer.main.get_command(app)))
    command = [sys.executable, str(script), repr(calls)]
    done = subprocess.run(command, cwd=planted, capture_output=True, text=True, timeout=200, check=False)
    assert [line for line in done.stdout.splitlines() if line in {" ".join(call) for call in calls}] == [
        " ".join(call) for call in calls
    ]
    assert "Traceback" not in done.stderr
    assert not (planted / "imported").exists(), (planted / "imported").read_text()


def test_the_planted_files_are_imported_where_nothing_prevents_it(planted):
    subprocess.run([sys.executable, "-c", "import zmq"], cwd=planted, capture_output=True, check=True)
    assert (planted / "imported").read_text() == "zmq\n"
