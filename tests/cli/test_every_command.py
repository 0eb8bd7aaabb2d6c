"""The help, and the options that every command has."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner
from weights_helpers import anonymizer

from eventveil import cli
from eventveil.cli import app, options, tables
from eventveil.cli.help import program_of
from eventveil.errors import ConfigError
from eventveil.models import load_weights, save_weights, shipped
from eventveil.models.metadata import Digests


def commands(command, before=()):
    """Yield every command with its name, also groups that are commands themselves."""
    inner = getattr(command, "commands", {})
    if not inner or (command.invoke_without_command and before):
        yield " ".join(before), command
    for name, below in inner.items():
        yield from commands(below, (*before, name))


PROGRAM = program_of(app)
COMMANDS = dict(commands(PROGRAM))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_json_and_help_without_the_type_of_switches(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}
    with pytest.raises(SystemExit):
        PROGRAM([*name.split(), "--help"], prog_name="eventveil")
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "<bool>" not in shown
    assert "BOOLEAN" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell):
    environment = {"_EVENTVEIL_COMPLETE": f"complete_{shell}", "COMP_WORDS": "eventveil cam", "COMP_CWORD": "1",
                   "_TYPER_COMPLETE_ARGS": "eventveil cam", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    done = CliRunner().invoke(app, [], env=environment, prog_name="eventveil")
    assert "cameras" in done.output
    assert "subscribe" not in done.output


def test_quiet_leaves_out_messages_and_neither_results_nor_warnings_about_privacy(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(options, "verbosity", options.Verbosity())
    monkeypatch.setattr(cli, "verbosity", options.verbosity)
    arguments = ["weights", "init", "anonynoise", "--size", "16x16", "--bins", "2"]
    for quiet in (False, True):
        flags = ["--quiet"] if quiet else []
        done = CliRunner().invoke(app, [*flags, *arguments, "--out", str(tmp_path / f"{quiet}.safetensors")])
        assert done.exit_code == 0, done.output
        assert ("UNTRAINED" in done.output) != quiet
    options.say("no progress")
    options.say("protects no one", always=True)
    assert "protects" in capsys.readouterr().err


def test_an_error_says_where_it_comes_from_on_request_and_quotes_no_other_exception(monkeypatch, capsys):
    monkeypatch.setattr(options, "verbosity", options.Verbosity())
    monkeypatch.setattr(cli, "verbosity", options.verbosity)
    for flags in ([], ["-v"]):
        monkeypatch.setattr("sys.argv", ["eventveil", *flags, "info", "no-such-file.aedat4"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        shown = capsys.readouterr().err
        assert "no-such-file.aedat4" in shown
        assert ('File "' in shown) == bool(flags)
        assert "FileNotFoundError" not in shown


def test_what_ships_is_named_and_shown_by_its_name():
    assert shipped.shown(shipped.NOISY_CHANNEL) == "noisy-channel"
    done = CliRunner().invoke(app, ["weights", "show", "noisy-channel", "--json"])
    assert [json.loads(line)["role"] for line in done.output.splitlines()] == ["anonymizer", "target"]
    text = CliRunner().invoke(app, ["weights", "show", "shipped"]).output
    assert "shipped: stand_in.safetensors" in text
    assert str(shipped.FOLDER) not in text


def test_rounded_weights_carry_no_certificate_of_the_others_and_a_note_of_their_own(tmp_path):
    model, metadata = anonymizer(note="trained", digests=Digests(certificate="0" * 64))
    whole = save_weights(tmp_path / "whole", model, metadata)
    paths = [str(tmp_path / name) for name in ("whole", "half")]
    done = CliRunner().invoke(app, ["weights", "half", *paths, "--note", "for comparison", "--json"])
    assert done.exit_code == 0, repr(done.exception)
    half = load_weights(tmp_path / "half")
    assert json.loads(done.stdout)["digest"] == half.digest != whole
    assert load_weights(tmp_path / "whole").metadata.digests.certificate == "0" * 64
    assert (half.metadata.digests.certificate, half.metadata.note) == (None, "trained; for comparison")


def test_changing_commands_report_in_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def report(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, done.output + repr(done.exception)
        return json.loads(done.output.splitlines()[-1])

    report("keys", "new", "line")
    alice = report("keys", "new", "alice")
    allowed = report("keys", "allow", alice["public"], "--keys", "line")["allowed"]
    assert [(one["name"], one["fingerprint"]) for one in allowed] == [("alice", alice["fingerprint"])]
    assert report("keys", "revoke", "alice", "--keys", "line") == {"revoked": ["alice"]}
    made = report("weights", "init", "anonynoise", "--size", "16x16", "--bins", "2", "--out", "mine.safetensors")
    assert (made["kind"], made["trained"]) == ("anonynoise", False)


RESULTS = {
    "anonymizer_with_a_long_name & 50 %": {
        "target": {"accuracy": {"value": 0.978, "interval_95": [0.94, 1.0], "chance": 1 / 11}},
        "identity": {name: {"value": 0.0123, "interval_95": [0.005, 0.02], "chance": 0.0111}
                     for name in ("rank1", "rank5", "mAP")},
        "picture_retrieval": {"rank1": {"value": 0.1, "interval_95": [0.0, 0.25], "chance": 0.05}},
    },
    "raw": {"target": {}, "identity": {}},
}  # fmt: skip


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    return tmp_path


def results(folder, *arguments):
    done = CliRunner().invoke(app, ["results", str(folder), *arguments])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output


def test_no_figure_of_a_table_is_broken_at_80_columns(run_folder, monkeypatch):
    monkeypatch.setattr(options.stdout, "_width", 80)
    shown = results(run_folder)
    assert max(map(len, shown.splitlines())) <= 80
    words = shown.split()
    for figure in ("97.8", "1.2", "10.0", "9.1"):
        assert figure in words
    assert "94 to 100" in shown
    assert "chance 9.1" in shown


def test_results_are_written_as_markdown_csv_and_latex(run_folder):
    markdown = results(run_folder, "--format", "markdown").splitlines()
    assert markdown[2].count("|") == markdown[3].count("|") == markdown[4].count("|") == 7
    assert "| 97.8 (94 to 100; chance 9.1) |" in markdown[4]
    header, row, raw = (line.split(",") for line in results(run_folder, "--format", "csv").splitlines())
    assert header[1:5] == ["gesture", "gesture low", "gesture high", "gesture chance"]
    assert row[1:5] == ["97.8", "94", "100", "9.091"]
    assert len(header) == len(row) == len(raw)
    latex = results(run_folder, "--format", "latex")
    assert r"anonymizer\_with\_a\_long\_name \& 50 \%" in latex
    assert latex.count(r"\\") == 3
    assert json.loads(results(run_folder, "--json")) == RESULTS


def test_results_of_something_else_are_refused(tmp_path):
    runner = CliRunner()
    assert "got none" in str(runner.invoke(app, ["results", str(tmp_path)]).exception)
    (tmp_path / "results.json").write_text("[1]")
    assert isinstance(runner.invoke(app, ["results", str(tmp_path)]).exception, ConfigError)
    assert isinstance(runner.invoke(app, ["results", str(tmp_path), "--format", "pdf"]).exception, ConfigError)


def test_a_cell_without_chance_has_no_chance():
    assert tables.Cell.of(0.5, 0.25, 0.75).lines == ("50.0", "25 to 75")


def test_the_first_start_alone_speaks_of_compiling(tmp_path, monkeypatch):
    from importlib.machinery import ModuleSpec

    from eventveil.host import kernel_cache

    spec = ModuleSpec("eventveil.stream.histogram", None, is_package=True)
    spec.submodule_search_locations[:] = [str(tmp_path / "package")]
    monkeypatch.setattr(kernel_cache, "find_spec", lambda _: spec)
    monkeypatch.setattr(kernel_cache, "find_cache", lambda: tmp_path / "cache")
    assert not kernel_cache.are_compiled()
    kernel = tmp_path / "cache" / "histogram_0123" / "count_ring._count-92.py311.nbi"
    kernel.parent.mkdir(parents=True)
    kernel.write_bytes(b"")
    assert kernel_cache.are_compiled()
