"""The notebooks run from top to bottom, in small: on planted people, and with networks that learn for a moment.

A cell is executed as it stands, a line of it that starts with `!` as the command line of ours. Only the cell with the
tag `parameters` is replaced, as papermill does.
"""

from __future__ import annotations

import json
import re
import shlex
import threading
from pathlib import Path

import pytest
from pipeline_helpers import gesture, state, window
from small_trainings import planted
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.host.addresses import free_port
from eventveil.stream.protocol.wire import decode

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
pytestmark = pytest.mark.skipif(not NOTEBOOKS.is_dir(), reason="only a checkout has the notebooks")
NETWORKS = "{name}.depth=18 {name}.width=8 {name}.embedding=8"
TRAIN = (
    "batch=8 window.size=[8,8] window.bins=2 window.bin_us=60000 window.straddle=0 data.val_people=2 data.workers=1 "
    f"{NETWORKS.format(name='target')} {NETWORKS.format(name='identity')} pretrain.epochs=1 adversarial.epochs=1 "
    "attack.epochs=1 run.tensorboard=false run.pictures=false run.device=cpu"
)
AUDIT = (
    "data.root=people data.simulate=null data.val_people=2 data.workers=1 against=[raw] linking=[1] averaging=0 "
    "batch=8 attackers.architectures=[plain] attackers.epochs=1 attackers.pool=2 conditions.names=[] "
    "inversion.architectures=[] probes.probes=[] guesses=0 run.device=cpu sequences=[10]"
)


def options(settings):
    return " ".join(f"--set {shlex.quote(setting)}" for setting in settings.split())


PARAMETERS = {
    "live.ipynb": None,
    "train.ipynb": f"PEOPLE, STDS, SMALL = '', (4,), {options(TRAIN)!r}",
    "audit.ipynb": f"SETTINGS = {'--config quick ' + options(AUDIT)!r}",
}
STATUS = {"audit": (1, 2)}  # a quick audit never passes


def cells(name):
    """Yield the source of the code cells, with small parameters."""
    for cell in json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            replaced = "parameters" in cell["metadata"].get("tags", ())
            yield PARAMETERS[name] if replaced else "".join(cell["source"])


def execute(name, **changes):
    """Run a notebook in the working folder; return its variables."""
    variables = {}
    for source in cells(name):
        for old, new in changes.items():
            source = source.replace({"endpoint": "tcp://127.0.0.1:5556"}[old], new)
        if source.startswith("!"):
            command(source[1:], variables)
        else:
            exec(compile(source, name, "exec"), variables)
    return variables


def command(line, variables):
    """Run a command of ours as IPython would: `{NAME}` is a variable."""
    program, *words = shlex.split(re.sub(r"\{(\w+)\}", lambda found: variables[found[1]], line))
    assert program == "eventveil"
    if words[0] == "simulate":  # filming takes a minute
        planted(Path(words[2]), train=6, test=2)
        return
    done = CliRunner().invoke(app, words)
    expected = STATUS.get(words[0], (0,)) if words[1] != "verify" else (0,)
    assert done.exit_code in expected, (done.output, done.exception)


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    plots = pytest.importorskip("matplotlib", reason="no matplotlib here: pip install '.[train]'")
    plots.use("agg")
    monkeypatch.chdir(tmp_path)
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_results(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert path.name in PARAMETERS
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None]
    assert {cell["cell_type"] for cell in notebook["cells"]} == {"code", "markdown"}


def test_live_in_ten_lines(tmp_path, capsys):
    from pipeline_setup import make_kit

    from eventveil.stream.pipeline.pipeline import Pipeline

    (lines, *_) = cells("live.ipynb")
    assert len([line for line in lines.splitlines() if line.strip()]) <= 10
    kit, endpoint = make_kit(tmp_path, seconds=2.5), f"tcp://127.0.0.1:{free_port()}"
    pipeline = Pipeline(kit.settings(endpoint, line__run_as="threads"))
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        variables = execute("live.ipynb", endpoint=endpoint)
    finally:
        pipeline.stop()
        thread.join(60)
    assert " ms: " in capsys.readouterr().out
    assert variables["window"].ndim == 3


def test_live_draws_a_window_whatever_the_pipeline_says_about_itself(monkeypatch):
    frames = (window(0), gesture(0), state(state="certificate", certificate="{}"))
    monkeypatch.setattr("eventveil.stream.subscribe", lambda *_, **__: map(decode, frames))
    assert execute("live.ipynb")["window"].ndim == 3


@pytest.mark.nightly
def test_training_ends_with_a_frontier(capsys):
    variables = execute("train.ipynb")
    assert set(variables["results"]) == {"raw", "anonymizer", "gaussian-4"}
    printed = capsys.readouterr().out
    assert all(f"{name}: finds " in printed for name in variables["results"])


@pytest.mark.nightly
def test_an_audit_ends_with_a_report(capsys):
    planted(Path("people"), train=6, test=3)
    variables = execute("audit.ipynb")
    assert {subject["name"] for subject in variables["report"]["subjects"]} >= {"raw"}
    assert "the strongest attack has an advantage of" in capsys.readouterr().out
