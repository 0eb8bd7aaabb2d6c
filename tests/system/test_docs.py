"""README.md and docs/ are correct: their commands run, their snippets run, and what they link to exists.

A command that takes seconds is run for real, for a moment, in a folder that holds the files it names. One that needs a
camera, another machine or hours is parsed by the real command line, and its settings are checked. A command that no
rule below covers fails: run it, or add a rule that says why not.
"""

from __future__ import annotations

import re
import shutil
import signal
import threading
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest
import typer
import yaml
from book_helpers import small_book
from camera_helpers import as_dv, fake_camera
from dataset_makers import tonic
from documentation import (
    PAGES,
    REPOSITORY,
    WALKS,
    anchors_of,
    blocks,
    blocks_of,
    inline_commands,
    links_of,
    name_of,
    paths_of,
)
from moving_disc import moving_disc
from pipeline_helpers import window
from pipeline_setup import make_kit, write_recording
from recordings import make_events
from typer.testing import CliRunner

from eventveil import Sensor
from eventveil.cli import app
from eventveil.config import checked, read_yaml, run_settings
from eventveil.errors import CameraError, ConfigError
from eventveil.host.addresses import free_port
from eventveil.models import shipped
from eventveil.replay.datasets import open_dataset
from eventveil.replay.simulation.looks import look_named
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.wire import decode

ENDPOINT = "tcp://127.0.0.1:5556"
LEFT_OUT = ("MissingParameter", "NoArgsIsHelpError")
"""The errors with which the command line rejects a command without its arguments."""


@dataclass(frozen=True)
class Rule:
    """How the commands that match a pattern are tested; the first match counts.

    Attributes:
        pattern: of the whole command, in the syntax of `fnmatch`.
        treatment: name of a function of `Treatments`.
        why: why it is not run for real.
        options: added to the command, to make it short.
        status: accepted exit statuses.
    """

    pattern: str
    treatment: str
    why: str = ""
    options: tuple[str, ...] = ()
    status: tuple[int, ...] = (0,)


BRIEF = ("--stop", "0.3", "--speed", "max", "--set", "line.run_as=threads", "--set", "publish.bind={endpoint}")
SMALL = ("--subjects", "2", "--sessions", "1", "--seconds", "0.1")
RULES = (
    Rule("eventveil run dv*://*", "parse", why="needs a camera"),
    Rule("eventveil run prophesee://*", "parse", why="needs a camera"),
    Rule("eventveil run desk", "parse", why="waits for a camera; tests/stream/pipeline/test_presets.py runs it"),
    Rule("eventveil run /etc/*", "parse", why="the configuration of an installed service"),
    Rule("eventveil run *runs/*", "parse", why="the weights come from a training"),
    Rule("eventveil run *--view *", "parse", why="serves a page; tests/stream/clients/web/test_process.py does"),
    Rule("eventveil run *--metrics 0.0.0.0:*", "parse", why="would be open to other machines"),
    Rule("eventveil run *", "run", options=BRIEF),
    Rule("eventveil subscribe *--require-certificate *", "parse", why="needs audited weights"),
    Rule("eventveil subscribe *--serve *", "parse", why="needs a stand-in; tests/stream/clients/bridge/ has one"),
    Rule("eventveil subscribe *", "receive", options=("--count", "1", "--timeout", "30")),
    Rule("eventveil bridge *", "parse", why="needs a broker; tests/stream/clients/bridge/ has one"),
    Rule("eventveil show *", "parse", why="serves a page until Ctrl-C; tests/stream/owner/show/ has one"),
    Rule("eventveil view *", "parse", why="serves a page until Ctrl-C; tests/stream/clients/web/ has one"),
    Rule("eventveil calibrate dv://*", "parse", why="needs a camera"),
    Rule("eventveil calibrate prophesee://*", "parse", why="needs a camera"),
    Rule("eventveil calibrate *", "run", options=("--seconds", "0.1"), status=(0, 1)),  # 1: unlike the training data
    Rule("eventveil cameras --udev-rules", "run"),
    Rule("eventveil cameras*", "parse", why="its result is that of the machine; tests/cli/test_cameras.py runs it"),
    Rule("eventveil doctor*", "parse", why="its result is that of the machine; tests/cli/test_doctor.py runs it"),
    Rule("eventveil status*", "parse", why="needs a running pipeline; tests/cli/test_run.py has one"),
    Rule("eventveil demo*", "parse", why="tests/cli/test_demo.py runs it"),
    Rule("eventveil info *", "run"),
    Rule("eventveil convert *", "run"),
    Rule("eventveil service install *--dry-run", "run"),
    Rule("eventveil service *", "parse", why="needs root; tests/core/test_service.py installs below another root"),
    Rule("eventveil forget *", "parse", why="deletes files of this user; tests/cli/test_forget.py has its own"),
    Rule("eventveil record *--server-key *", "parse", why="needs keys; tests/stream/archive/ records"),
    Rule("eventveil record *", "receive", options=("--timeout", "30")),
    Rule("eventveil replay *", "parse", why="needs a recording; tests/stream/publisher/test_republisher.py has one"),
    Rule("eventveil info line.mcap", "parse", why="needs a recording; tests/stream/archive/ has one"),
    Rule("eventveil anonymize data/*", "parse", why="takes minutes; tests/stream/batch/ has a small dataset"),
    Rule("eventveil anonymize *see:*", "parse", why="needs the dataset SEE"),
    Rule("eventveil anonymize *stand_in*", "parse", why="needs a stand-in; tests/stream/batch/ has one"),
    Rule("eventveil anonymize *--ray *", "parse", why="needs a cluster"),
    Rule("eventveil anonymize *", "run"),
    Rule("eventveil datasets check *", "run"),
    Rule("eventveil simulate video *", "parse", why="needs a video; tests/replay/test_video.py makes one"),
    Rule("eventveil simulate *--look *", "parse", why="takes seconds; tests/replay/test_simulator_looks.py films"),
    Rule("eventveil simulate gestures *", "make", options=SMALL),
    Rule("eventveil simulate sequences *", "make_once", options=(*SMALL[:-1], "10")),
    Rule("eventveil simulate negatives *", "make", options=("--kinds", "fan", "--takes", "2", "--seconds", "0.1")),
    Rule("eventveil keys *", "make"),
    Rule("eventveil book make *", "parse", why="films for a minute; tests/cli/test_book.py films in small"),
    Rule("eventveil book *", "run"),
    Rule("eventveil train *", "parse", why="trains for minutes to hours; tests/cli/test_train.py trains in small"),
    Rule("eventveil weights half runs/*", "parse", why="the weights come from a training"),
    Rule("eventveil audit *", "parse", why="attacks for hours; tests/cli/test_audit.py audits in small"),
    Rule("python -m pytest *", "python", why="these are tests themselves"),
    Rule("python benchmarks/*", "python", why="measures for minutes"),
    Rule("scripts/*", "script", why="runs for hours, or runs these tests"),
    Rule("make *", "make_target", why="sets up an environment of its own and runs these tests"),
    Rule("pip install *", "pip", why="changes the environment of these tests"),
    Rule("head -c 32 /dev/urandom", "skip", why="no command of ours"),
    Rule("base64*", "skip", why="no command of ours"),
    Rule("sed *", "skip", why="no command of ours"),
    Rule("(umask 077", "skip", why="no command of ours"),
    Rule("sudo tee /etc/udev/rules.d/*", "skip", why="needs root"),
    Rule("sudo udevadm *", "skip", why="needs root"),
    Rule("sudo .venv/bin/neuromorphic-drivers-install-udev-rules", "skip", why="needs root"),
    Rule("sudo install *", "skip", why="needs root"),
    Rule("sudo python3 -m venv /opt/eventveil", "skip", why="needs root"),
    Rule("sudo /opt/eventveil/bin/*", "skip", why="needs root"),
    Rule("docker *", "skip", why="needs a Docker daemon"),
    Rule("SOURCE=dv:// *", "skip", why="needs a Docker daemon and a camera"),
    Rule("systemctl *", "skip", why="no command of ours"),
    Rule("journalctl *", "skip", why="no command of ours"),
    Rule(". .venv/bin/activate", "skip", why="changes a shell, and nothing else"),
)
ALL_BLOCKS = list(blocks())
WITH_COMMANDS = [block for block in ALL_BLOCKS if block.commands]
PYTHON = [block for block in ALL_BLOCKS if block.language == "python"]
YAML = [block for block in ALL_BLOCKS if block.language == "yaml"]
TEXTS = {name_of(page): page.read_text() for page in (*PAGES, *WALKS)}
INLINE = [(page, command) for page, text in TEXTS.items() for command in inline_commands(text)]
LINKS = [(page, link) for page, text in TEXTS.items() for link in links_of(text)]
PATHS = [(page, path) for page, text in TEXTS.items() for path in paths_of(text)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The files that the pages mention, by the name that they use."""
    folder = tmp_path_factory.mktemp("inputs")
    sensor = Sensor(128, 128)
    write_recording(folder / "recording.aedat4", moving_disc(sensor, 0.5), sensor)
    shutil.copy(folder / "recording.aedat4", folder / "trial.aedat4")
    wide = Sensor(1280, 720)
    write_recording(folder / "recording.raw", iter([make_events(2_000, sensor=wide)]), wide)
    shutil.copy(shipped.NOISY_CHANNEL, folder / "anonymizer.safetensors")
    shutil.copy(shipped.NOISY_CHANNEL_GESTURES, folder / "gestures.safetensors")
    small_book().write(folder / "book.safetensors")
    people = tonic(folder / "people", (("ibmGestureTrain", range(1, 24)), ("ibmGestureTest", range(24, 30))))
    (folder / "data").mkdir()
    (folder / "data" / "DVSGesture").symlink_to(people)
    queries = [trial.name for trial in open_dataset(people).of("test")[:3]]
    (folder / "dvsg_query_subset_ids.txt").write_text("\n".join(queries))
    return folder


@pytest.fixture
def workspace(inputs, tmp_path, monkeypatch):
    """Return an empty working folder, and a function that puts the files that a text mentions into it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def provide(text):
        for file in inputs.iterdir():
            if file.name in text and not Path(file.name).exists():
                Path(file.name).symlink_to(file)

    yield provide
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return make_kit(tmp_path_factory.mktemp("kit"), seconds=0.3)


@contextmanager
def publisher(kit, **settings):
    """Publish a short recording once there is a subscriber; yield the endpoint."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    pipeline = Pipeline(kit.settings(endpoint, line__run_as="threads", **settings))
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        yield endpoint
    finally:
        pipeline.stop()
        thread.join(60)
    assert not thread.is_alive()


def parsed(words):
    """Parse one of our commands as the program does, without running it; return the values of its parameters."""
    return uncalled_program().main(list(words), prog_name="eventveil", standalone_mode=False)


@cache
def uncalled_program():
    """Return our command line, whose commands return what they would be called with; building it takes a while."""
    program = typer.main.get_command(app)
    leave_uncalled(program)
    return program


def refusal(words):
    """Return the kind of error with which the command line rejects a command, or None."""
    try:
        parsed(words)
    except Exception as error:
        return type(error).__name__
    return None


def leave_uncalled(command):
    """Let a command, and all commands of a group, return what they would be called with."""
    command.callback = lambda **values: values
    for inner in getattr(command, "commands", {}).values():
        leave_uncalled(inner)


class Treatments:
    """The ways in which a command is tested."""

    made: ClassVar[set[tuple[str, ...]]] = set()

    def __init__(self, provide, kit):
        self._provide = provide
        self._kit = kit

    def parse(self, rule, words):
        values = parsed(words[1:])
        checks = {"run": check_run, "train": check_train, "audit": check_audit, "simulate": check_looks}
        check = checks.get(words[1])
        if check is not None and words[2] != "verify":
            check(values)

    def run(self, rule, words):
        self._provide(" ".join(words))
        self.make(rule, words)

    def make(self, rule, words):
        """Run a command that makes its own files."""
        options = [option.format(endpoint=f"tcp://127.0.0.1:{free_port()}") for option in rule.options]
        done = CliRunner().invoke(app, [*words[1:], *options], catch_exceptions=False)
        assert done.exit_code in rule.status, done.output

    def make_once(self, rule, words):
        """Run a command that makes its own files, unless a page before has shown the same one."""
        if tuple(words) not in self.made:
            self.made.add(tuple(words))
            self.make(rule, words)

    def receive(self, rule, words):
        """Subscribe to a publisher that uses the keys made by the commands before."""
        values = parsed(words[1:])
        keys = {} if values["server_key"] is None else {"publish__keys": str(Path(values["server_key"]).parent)}
        with publisher(self._kit, **keys) as endpoint:
            self.make(rule, [word if word != values["endpoint"] else endpoint for word in words])

    def python(self, rule, words):
        scripts = [word.partition("::")[0] for word in words if word.endswith(".py") or "::" in word]
        assert scripts
        for script in scripts:
            text = (REPOSITORY / script).read_text()
            if words[1] != "-m":
                assert all(f'"{word}"' in text for word in words if word.startswith("--")), "unknown option"

    def script(self, rule, words):
        assert (REPOSITORY / words[0]).stat().st_mode & 0o100

    def make_target(self, rule, words):
        targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)

    def pip(self, rule, words):
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        if words[2:] in (["."], ["torch", "--index-url", "https://download.pytorch.org/whl/cpu"]):
            return
        named = re.fullmatch(r"(?:\.|eventveil)\[([\w,]+)\]", words[2])
        assert named
        assert set(named[1].split(",")) <= set(project["optional-dependencies"])

    def skip(self, rule, words):
        assert rule.why


def check_run(values):
    config = values["sources"][0]
    sources = [{"uri": uri, "stream": str(number)} for number, uri in enumerate(values["sources"])]
    if not config.endswith((".yaml", ".yml")):
        metrics = [] if values["metrics"] is None else [f"watch.metrics={values['metrics']}"]
        run_settings({"sources": sources}, [*metrics, *(values["overrides"] or [])], name="eventveil run")


def check_train(values):
    from eventveil.training.settings import TrainSettings
    from eventveil.training.stand_in.settings import StandInSettings

    if "file" in values:
        check_table(values)
        return
    name = str(values["config"]).replace("CONFIG", "simulated_small")
    path = REPOSITORY / (name if name.endswith(".yaml") else f"configs/train/{name}.yaml")
    model = StandInSettings if path.stem == "stand_in" else TrainSettings
    checked(model, read_yaml(path, model), values["overrides"] or [], name=name)


def check_table(values):
    from eventveil.cli.train_table import settings_of
    from eventveil.training.table import TableSettings

    name = str(values["file"]).replace("TABLE", "anonynoise_1").removesuffix(".yaml")
    table = checked(TableSettings, read_yaml(REPOSITORY / f"configs/tables/{name}.yaml", TableSettings), (), name=name)
    for row in table.rows:
        settings_of(table, row, values["overrides"] or [])


def check_looks(values):
    for name in values.get("look", "plain").split(","):
        look_named(name)


def check_audit(values):
    from eventveil.audit.settings import AuditSettings

    overrides = ["data.root=people", "data.simulate=null"] if values["data"] else []
    path = REPOSITORY / "configs" / "audit" / "full.yaml"
    checked(AuditSettings, read_yaml(path, AuditSettings), [*overrides, *(values["overrides"] or [])], name="audit")


def rule_for(words):
    """Return the first rule that covers a command, or None."""
    return next((rule for rule in RULES if fnmatchcase(" ".join(words), rule.pattern)), None)


def expanded(block, words):
    """The words of a command without "...", and with `$P` replaced by the options that the page defines."""
    words = [word for word in words if word != "..."]
    if "$P" not in words:
        return words
    options = next(other for other in ALL_BLOCKS if other.page == block.page and other.text.startswith("--"))
    place = words.index("$P")
    return [*words[:place], *options.text.replace("\\\n", " ").split(), *words[place + 1 :]]


@pytest.mark.parametrize("block", WITH_COMMANDS, ids=str)
def test_every_command_works(block, workspace, kit):
    treatments = Treatments(workspace, kit)
    for words in block.commands:
        rule = rule_for(words)
        assert rule is not None, f"no rule covers `{' '.join(words)}`: run it, or say why it cannot be run"
        getattr(treatments, rule.treatment)(rule, expanded(block, words))


@pytest.mark.parametrize(("page", "command"), INLINE)
def test_every_command_in_a_sentence_exists_with_its_options(page, command):
    # A sentence may leave arguments out, or name a group of commands; nothing else may be wrong.
    words = [word.strip("'") for word in command.replace("...", "").split()[1:]]
    assert refusal(words) in (None, *LEFT_OUT)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_every_python_snippet_runs(block, workspace, kit, tmp_path, monkeypatch, capsys):
    workspace(block.text + " data ")
    if "mcap" in block.text:
        record_line()
    code = compile(block.text, str(block), "exec")
    if "open_camera(" in block.text:
        camera = fake_camera(tmp_path, monkeypatch, "dv", serial="DXB00010")
        camera.emit(as_dv(make_events(100, sensor=Sensor(640, 480))))
        unplug = threading.Thread(target=unplug_when_read, args=(camera,))
        unplug.start()
        with pytest.raises(CameraError):
            exec(code, {})
        unplug.join()
    elif "subscribe(" in block.text:
        with publisher(kit) as endpoint:
            exec(compile(block.text.replace(ENDPOINT, endpoint), str(block), "exec"), {})
    else:
        exec(code, {})
    assert capsys.readouterr().out or "print(" not in block.text


def record_line():
    """Write line.mcap, a recording of one window."""
    from eventveil.stream.archive.mcap_file import McapFile

    file = McapFile(Path("line.mcap"))
    file.write(decode(window()), 0)
    file.close()


def unplug_when_read(camera):
    pause = threading.Event()
    for _ in range(600):
        if not camera.untaken:
            break
        pause.wait(0.1)
    pause.wait(0.5)
    camera.unplug()


def test_the_snippet_of_the_readme_loses_no_event(workspace, capsys):
    from eventveil.io import open_events

    workspace("recording.aedat4")
    (snippet,) = (block for block in PYTHON if block.page == "README.md" and "open_events" in block.text)
    counted = snippet.text.replace("print(window.seq, window.counts.shape)", "print(window.counts.sum())")
    exec(compile(counted, str(snippet), "exec"), {})
    with open_events("recording.aedat4") as source:
        events = sum(len(packet) for packet in source)
    assert sum(map(int, capsys.readouterr().out.split())) == events


@pytest.mark.parametrize("block", YAML, ids=str)
def test_every_piece_of_a_configuration_is_valid(block):
    run_settings(yaml.safe_load(block.text), name=str(block))


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_link_leads_somewhere(page, link):
    target, _, anchor = link.replace("\\_", "_").partition("#")
    path = ((REPOSITORY / page).parent / target).resolve() if target else REPOSITORY / page
    assert path.exists()
    assert not anchor or anchor in anchors_of(path.read_text())


@pytest.mark.parametrize(("page", "path"), PATHS)
def test_every_file_that_is_mentioned_exists(page, path):
    assert (REPOSITORY / path).exists()


@cache
def all_sources():
    folders = ("audit", "core", "io", "models", "replay", "stream", "tests", "training")
    return "\n".join(file.read_text() for folder in folders for file in (REPOSITORY / folder).rglob("*.py"))


@pytest.mark.parametrize("page", TEXTS)
def test_every_class_and_test_that_is_mentioned_exists(page):
    sources = all_sources()
    classes = re.findall(r"`([A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+)`", TEXTS[page])
    assert not [name for name in classes if not re.search(rf"\b{name}\b", sources)]
    tests = re.findall(r"`(test_\w+)…?`", TEXTS[page])
    assert not [name for name in tests if f"def {name}" not in sources]


def test_the_pages_are_found_with_their_blocks():
    assert len(PAGES) > 14
    assert len(WITH_COMMANDS) > 15
    assert len(PYTHON) >= 6
    assert [block for block in WITH_COMMANDS if block.page == "README.md"]
    assert {rule.treatment for rule in RULES} <= set(dir(Treatments))


SAMPLE = """# A page

```sh
eventveil keys new a && eventveil keys list --keys a   # two commands
eventveil cameras --udev-rules | sudo tee x
frobnicate
```

Text, then an indented block:

    eventveil run 'simulate:?subjects=3&distance=1.2' \\
        --stop 3
    this is no command

and `eventveil run --stop 3 FILE`; see [here](docs/no.md#part), stream/no/such_file.py, scripts/no-such
and deploy/no.yml.
"""


def test_commands_links_and_paths_are_found_wherever_they_are():
    fenced, indented = blocks_of("page", SAMPLE)
    assert (fenced.line, fenced.language, indented.line, indented.language) == (4, "sh", 11, "")
    assert fenced.commands == [
        ["eventveil", "keys", "new", "a"],
        ["eventveil", "keys", "list", "--keys", "a"],
        ["eventveil", "cameras", "--udev-rules"],
        ["sudo", "tee", "x"],
        ["frobnicate"],
    ]
    assert indented.commands == [["eventveil", "run", "simulate:?subjects=3&distance=1.2", "--stop", "3"]]
    assert inline_commands(SAMPLE) == ["eventveil run --stop 3 FILE"]
    assert links_of(SAMPLE) == ["docs/no.md#part"]
    assert paths_of(SAMPLE) == ["deploy/no.yml", "docs/no.md", "scripts/no-such", "stream/no/such_file.py"]
    assert anchors_of(SAMPLE) == {"a-page"}


@pytest.mark.parametrize(
    "command", ["frobnicate", "eventveil frobnicate", "eventveil weights delete a", "sudo rm a", "python other.py"]
)
def test_a_command_that_is_new_has_no_rule(command):
    assert rule_for(command.split()) is None


@pytest.mark.parametrize("command", ["run a --no-such", "runs a", "keys forget a", "run a --start soon", "info a b"])
def test_a_command_that_the_program_refuses_is_noticed(command):
    assert refusal(command.split()) not in (None, *LEFT_OUT)


@pytest.mark.parametrize(
    "command",
    [
        "run dv:// --set line.no_such=1",
        "train all simulated_small --set no.such=1",
        "audit --weights shipped --set no_such=1",
    ],
)
def test_a_setting_that_is_unknown_is_noticed(command):
    words = ["eventveil", *command.split()]
    with pytest.raises(ConfigError, match=r"(no_such|no): unknown key"):
        Treatments(None, None).parse(rule_for(words), words)
