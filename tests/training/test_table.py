"""The tables of the papers: what each row runs, and the texts, against figures that were put in."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from small_trainings import settings
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.cli.train_table import settings_of
from eventveil.config import checked, read_yaml
from eventveil.errors import ConfigError, TrainingError
from eventveil.training.table import TableSettings, run_table
from eventveil.training.table_figure import draw, draw_curves
from eventveil.training.table_text import FORMATS, FilledRow, TableCell

TABLES = sorted((Path(str(files("eventveil.configs"))) / "tables").glob("*.yaml"))
TABLE = {
    "title": "A table",
    "source": "A paper",
    "config": "dvs_gesture",
    "metrics": ["accuracy", "ssim"],
    "rows": [
        {"name": "raw", "run": "one", "subject": "raw", "published": {"accuracy": 92.4}},
        {"name": "50 % & noise", "run": "one", "subject": "gaussian:2"},
        {"name": "ours", "run": "one", "subject": "anonymizer", "set": {"attack.denoiser": True}},
    ],
}


def result(value):
    return {
        "target": {"accuracy": {"value": value, "interval_95": [value - 0.1, value + 0.1], "chance": 0.25}},
        "picture": {"ssim": {"value": value / 2, "interval_95": [0.01, 0.02]}},
    }


class Recipes:
    """Stands in for `Recipe`: notes what is called, and returns figures."""

    def __init__(self, fail_at=None):
        self.calls, self._fail_at = [], fail_at

    def __call__(self, of_row, run):
        self._row, self._run = of_row, run.name
        return self

    def pretrain(self):
        self.calls.append((self._run, "pretrain"))

    def train_anonymizer(self):
        self.calls.append((self._run, "adversarial"))

    def attack(self):
        (subject,) = self._row.attack.against
        if subject == self._fail_at:
            raise KeyboardInterrupt
        self.calls.append((self._run, subject))
        return {subject: result(0.1 * len(self.calls))}


def rows_of(table):
    return [settings("nowhere", attack={"against": [row.subject]}) for row in table.rows]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_ready_table_holds_valid_rows(path):
    content = read_yaml(path, TableSettings)
    table = checked(TableSettings, content, (), name=path.name)
    assert set(content) == {"title", "source", "config", "metrics", "figure", "curves", "set", "rows"}
    for row in table.rows:
        of_row = settings_of(table, row, ["data.root=somewhere"])
        assert of_row.attack.against == (row.subject,)
        for metric, figure in row.published.items():
            assert metric in table.metrics
            assert 0 < figure < (1 if metric == "ssim" else 100)


def test_the_published_figures_are_those_of_the_papers():
    """Written down once more, from the abstract and the tables of the papers."""
    tables = {path.stem: yaml.safe_load(path.read_text()) for path in TABLES}
    of = {(name, row["name"]): row.get("published", {}) for name, table in tables.items() for row in table["rows"]}
    gestures = of["anonynoise_1", "DVS128 Gesture, AnonyNoise"]
    assert (gestures["accuracy"], gestures["rank1"], gestures["mAP"]) == (80.68, 40.00, 20.69)
    emotions = of["anonynoise_1", "SEE, raw"]
    assert (emotions["accuracy"], emotions["rank1"], emotions["mAP"]) == (77.14, 72.5, 43.27)
    walking = of["anonynoise_2", "AnonyNoise of gestures"]
    assert tuple(walking.values()) == (38.64, 61.36, 68.18, 15.23)
    pictures = of["event_reid_1", "anonymized"]
    assert (pictures["ssim"], pictures["psnr_db"], pictures["picture_rank1"]) == (0.384, 8.9, 8.9)


def test_rows_share_their_run_and_a_table_goes_on_where_it_was_stopped(tmp_path):
    table = TableSettings.model_validate(TABLE)
    stopped = Recipes(fail_at="gaussian:2")
    with pytest.raises(KeyboardInterrupt):
        run_table(table, rows_of(table), tmp_path, stopped, resume=False)
    assert stopped.calls == [("one", "raw")]
    assert "| raw |" in (tmp_path / "table.md").read_text()
    with pytest.raises(TrainingError, match="holds a table; continue it with --resume"):
        run_table(table, rows_of(table), tmp_path, Recipes(), resume=False)
    going_on = Recipes()
    lines = run_table(table, rows_of(table), tmp_path, going_on, resume=True)
    assert going_on.calls == [
        ("one", "gaussian:2"), ("one", "pretrain"), ("one", "adversarial"), ("one", "anonymizer"),
    ]  # fmt: skip
    assert [line.name for line in lines] == ["raw", "50 % & noise", "ours"]
    assert json.loads((tmp_path / "table.json").read_text())["raw"] == result(0.1)
    raw = lines[0].cells[0]
    assert (raw.published, raw.value, *raw.interval, raw.chance) == pytest.approx((92.4, 10.0, 0.0, 20.0, 25.0))


def test_figures_of_other_settings_are_not_taken_for_those_of_these(tmp_path):
    table = TableSettings.model_validate(TABLE)
    with pytest.raises(KeyboardInterrupt):
        run_table(table, rows_of(table), tmp_path, Recipes(fail_at="anonymizer"), resume=False)
    others, recipes = rows_of(table), Recipes()
    others[1] = others[1].model_copy(update={"seed": 5})
    with pytest.raises(TrainingError, match="'50 % & noise' has figures of other settings; continue with those"):
        run_table(table, others, tmp_path, recipes, resume=True)
    assert not recipes.calls
    others = rows_of(table)
    others[2] = others[2].model_copy(update={"seed": 5})  # of a row without figures
    others[0] = others[0].model_copy(update={"run": others[0].run.model_copy(update={"pictures": True})})
    assert len(run_table(table, others, tmp_path, recipes, resume=True)) == 3


@pytest.mark.parametrize("content", ["{", "[]", "\x00", "[" * 100_000])
def test_a_damaged_file_of_results_is_explained(tmp_path, content):
    table = TableSettings.model_validate(TABLE)
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(TrainingError, match=r"table.json: is damaged; restore or remove it"):
        run_table(table, rows_of(table), tmp_path, Recipes(), resume=True)


LINES = [
    FilledRow("raw", (TableCell(92.4, 90.06, (80.0, 95.0), 9.1), TableCell(None, 0.5, (0.25, 0.75)))),
    FilledRow("50 % & noise", (TableCell(60.0), TableCell(0.384))),
]


def text(kind):
    return FORMATS[kind]("Table_1", "A paper", ("accuracy", "ssim"), LINES)


def test_the_table_is_written_as_markdown_csv_and_latex():
    rows = [line for line in text("md").splitlines() if line.startswith("|")]
    assert rows[0] == "|  | target %, published | target %, ours | SSIM, published | SSIM, ours |"
    assert rows[2] == "| raw | 92.4 | 90.1 (80.0 to 95.0; 9.1) | - | 0.500 (0.250 to 0.750) |"
    assert rows[3] == "| 50 % & noise | 60 | - | 0.384 | - |"
    assert "95 % interval by person; chance" in text("md")
    records = list(csv.DictReader(io.StringIO(text("csv"))))
    assert records[0] == {
        "row": "raw", "metric": "accuracy", "published": "92.4000", "ours": "90.0600", "low_95": "80.0000",
        "high_95": "95.0000", "chance": "9.1000",
    }  # fmt: skip
    assert (records[1]["chance"], records[2]["ours"]) == ("", "")
    latex = text("tex")
    assert r"raw & 92.4 & 90.1 (80.0--95.0; 9.1) & - & 0.500 (0.250--0.750) \\" in latex
    assert r"50 \% \& noise" in latex
    assert r"\caption{Table\_1." in latex


def test_the_figure_shows_published_figures_and_ours_with_intervals():
    svg = draw("Table 1", ("accuracy", "rank1"), FIGURE, "rank1", "accuracy")
    root = ElementTree.fromstring(svg)
    texts = [" ".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"raw, published", "raw, ours", "noise, published"} <= set(texts)
    assert "noise, ours" not in texts
    assert {"rank-1 %", "target %"} <= set(texts)
    # The same figures give the same file, and others another.
    assert draw("Table 1", ("accuracy", "rank1"), FIGURE, "rank1", "accuracy") == svg
    wider = [FilledRow("raw", (FIGURE[0].cells[0], TableCell(98.0, 90.0, (10.0, 99.0), 16.0))), FIGURE[1]]
    assert draw("Table 1", ("accuracy", "rank1"), wider, "rank1", "accuracy") != svg


FIGURE = [
    FilledRow("raw", (TableCell(92.0, 90.0, (85.0, 95.0), 9.0), TableCell(98.0, 90.0, (80.0, 99.0), 16.0))),
    FilledRow("noise", (TableCell(80.0), TableCell(60.0))),
]


def test_rank_curves_have_a_point_for_every_place_of_every_row():
    svg = draw_curves("Table 1", {"raw": [0.5, 0.75, 1.0], "ours": [0.0, 0.25, 0.25]})
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    lines = [group for group in root.iter(f"{space}g") if len(list(group.iter(f"{space}use"))) == 3]
    heights = [[float(use.get("y")) for use in group.iter(f"{space}use")] for group in lines]
    assert len(heights) >= 2
    raw, ours = heights[0], heights[-1]
    assert raw == sorted(raw, reverse=True)  # y points down
    assert ours[1] == ours[2] < ours[0]
    assert ours[0] - ours[1] == pytest.approx(raw[0] - raw[1], abs=1e-3)  # both rise by a quarter


def test_a_table_writes_its_figure_after_each_row_and_knows_its_metrics(tmp_path):
    values = TABLE | {"figure": {"across": "ssim", "up": "accuracy"}, "curves": "identity"}
    table = TableSettings.model_validate(values)
    run_table(table, rows_of(table), tmp_path, Recipes(), resume=False)
    assert b"ours, ours" in (tmp_path / "figure.svg").read_bytes()
    assert b"places" in (tmp_path / "curves.svg").read_bytes()
    with pytest.raises(ValueError, match="expected two of the metrics accuracy, ssim"):
        TableSettings.model_validate(TABLE | {"figure": {"across": "rank1", "up": "accuracy"}})


def run_rows(folder, monkeypatch, *changes):
    """Run a table whose rows `run-0`, `run-1`, ... have these changes, and whose training only stores raw windows."""
    rows = [
        {"name": str(at), "run": change.pop("run", f"run-{at}"), "subject": "raw", "set": change}
        for at, change in enumerate(changes)
    ]
    (folder / "table.yaml").write_text(yaml.safe_dump({**TABLE, "metrics": ["accuracy"], "rows": rows}))

    def train(table, _settings, out, _recipe, *, resume):
        for row in table.rows:
            (out / row.run / "windows").mkdir(parents=True, exist_ok=True)
            (out / row.run / "windows" / ("0" * 32 + ".npy")).write_bytes(b"x")
            (out / row.run / "split.json").write_text("{}")
        (out / "table.md").write_text("a table")
        return []

    monkeypatch.setattr("eventveil.training.table.run_table", train)
    arguments = ["train", "table", str(folder / "table.yaml"), "--out", str(folder), "--set", "run.pictures=false"]
    return CliRunner().invoke(app, arguments)


def test_raw_windows_are_deleted_wherever_a_row_says_so(tmp_path, monkeypatch):
    keep, delete = {"run.keep_windows": True}, {"run.keep_windows": False}
    done = run_rows(tmp_path, monkeypatch, dict(keep), dict(delete), {**delete, "run": "both"}, {**keep, "run": "both"})
    assert done.exit_code == 0, repr(done.exception)
    assert (tmp_path / "run-0" / "windows").exists()
    assert not (tmp_path / "run-1" / "windows").exists()
    assert not (tmp_path / "both" / "windows").exists()


def test_windows_that_any_row_shares_with_other_runs_must_be_kept(tmp_path, monkeypatch):
    refused = run_rows(tmp_path, monkeypatch, {}, {"run.keep_windows": False, "data.cache": str(tmp_path / "cache")})
    assert isinstance(refused.exception, ConfigError)
    assert "other runs may need" in str(refused.exception)


def test_rows_on_different_devices_are_refused(tmp_path, monkeypatch):
    refused = run_rows(tmp_path, monkeypatch, {"run.device": "cpu"}, {"run.device": "auto"})
    assert isinstance(refused.exception, ConfigError)
    assert "expected one device for all rows" in str(refused.exception)
