"""All files are created in core/host/files.py, so that every new one is private and follows no link."""

from __future__ import annotations

import ast
import inspect
from importlib.util import find_spec
from pathlib import Path

import pytest

import eventveil.host.files

PACKAGES = (
    "audit",
    "cli",
    "configs",
    "deploy",
    "doctor",
    "figures",
    "host",
    "io",
    "models",
    "replay",
    "service",
    "stream",
    "training",
)

CREATE = {
    # names of functions and methods that create files or folders; `open` is judged by its mode
    "mkdir", "makedirs", "mkfifo", "mknod", "touch", "write_text", "write_bytes", "symlink_to", "hardlink_to", "link",
    "symlink", "mkstemp", "NamedTemporaryFile", "TemporaryFile", "open_memmap", "memmap", "tofile", "save", "savez",
    "savez_compressed", "savetxt", "save_file", "savefig", "imsave", "SummaryWriter", "FileHandler", "dump",
}  # fmt: skip

ALLOWED = {
    # into an open file of `atomic_file`
    ("cli/subscribe.py", "savez_compressed"),
    ("stream/archive/table_writers.py", "h5py.File"),
    ("stream/archive/table_writers.py", "open"),
    ("stream/archive/table_writers.py", "copyfileobj"),
    ("replay/simulation/dataset.py", "save"),
    ("stream/owner/calibration/image.py", "save"),
    ("training/book/sheet.py", "save"),
    ("training/engine/checkpoint.py", "save"),
    ("training/stages/plots.py", "savefig"),
    ("audit/report/image_grid.py", "savefig"),
    ("training/data/windows.py", "memmap"),
    # an empty folder, private and removed at once
    ("host/kernel_cache.py", "mkdir"),
    # into memory
    ("training/table_figure.py", "savefig"),
    ("stream/owner/show/sheet.py", "save"),
    ("audit/report/plots.py", "savefig"),
    ("models/weights.py", "save"),
    ("models/book_format.py", "save"),
    # methods and functions of ours that use core/host/files.py
    ("stream/owner/show/app.py", "save"),
    ("stream/preprocess/view.py", "save"),
    ("training/data/split.py", "save"),
    ("stream/batch/manifest.py", "save"),
    # made private right away, in a private folder
    ("training/engine/logs.py", "SummaryWriter"),
    # the counters in shared memory: a new file, 0600, that a successor of a stage opens again
    ("stream/runtime/accounting.py", "os.open"),
    # /dev/null
    ("cli/run_output.py", "os.open"),
    ("stream/publisher/connections.py", "os.open"),
    # an existing folder, to lock it
    ("stream/publisher/listener.py", "os.open"),
}  # fmt: skip


def sources():
    base = Path(find_spec("eventveil").submodule_search_locations[0])
    yield from ((path.name, path) for path in base.glob("*.py"))
    for name in PACKAGES:
        folder = Path(find_spec(f"eventveil.{name}").submodule_search_locations[0])
        named = ((f"{name}/{path.relative_to(folder)}", path) for path in folder.rglob("*.py"))
        yield from ((name, path) for name, path in named if name != "host/files.py")


def creations(text):
    """Yield the name and the line of each call that may create a file."""
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call):
            continue
        function = call.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else ""
        if name == "open":
            if owner == "os":
                yield "os.open", call.lineno
            elif _writes(call, method=isinstance(function, ast.Attribute)):
                yield "open", call.lineno
        elif name == "File" and owner == "h5py":
            if call.args[1].value != "r":
                yield "h5py.File", call.lineno
        elif name in CREATE or (owner == "shutil" and name.startswith(("copy", "move"))):
            yield name, call.lineno


def _writes(call, *, method):
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    if not method:
        modes = modes[-1:] if len(call.args) > 1 or call.keywords else []
    return any(set(mode) & set("wxa+") and set(mode) <= set("rwxabt+U") for mode in modes)


def test_files_and_folders_are_created_in_one_place():
    found = {(name, call): line for name, path in sources() for call, line in creations(path.read_text("utf-8"))}
    strangers = {f"{name}:{line}: {call}" for (name, call), line in found.items() if (name, call) not in ALLOWED}
    assert not strangers, "create files with eventveil.host.files, or say above why not"
    assert not ALLOWED - found.keys(), "remove these exceptions"


@pytest.mark.parametrize(
    "text",
    [
        'open(path, "w")', 'open(path, mode="ab")', 'path.open("x")', 'path.open(mode="r+b")', "path.mkdir()",
        "os.open(path, flags)", "path.write_text(text)", "np.save(path, array)", 'h5py.File(path, "w")',
        'np.lib.format.open_memmap(path, "w+")', "figure.savefig(path)", "shutil.copy(a, b)", "SummaryWriter(path)",
    ],
)  # fmt: skip
def test_the_search_finds(text):
    assert list(creations(text))


@pytest.mark.parametrize("text", ["open(path)", 'path.open("rb")', 'h5py.File(path, "r")', "Image.open(file)"])
def test_the_search_leaves_readers_alone(text):
    assert not list(creations(text))


def test_the_one_place_creates_private_files_only():
    source = inspect.getsource(eventveil.host.files)
    modes = [call for call, _ in creations(source)]
    assert (eventveil.host.files.PRIVATE_FILE, eventveil.host.files.PRIVATE_FOLDER) == (0o600, 0o700)
    # The last one opens a folder, to lock it.
    assert sorted(modes) == ["TemporaryFile", "link", "mkdir", "open", "open", "os.open", "os.open", "os.open"]
