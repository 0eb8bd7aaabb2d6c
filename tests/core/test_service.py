"""`eventveil service`: what is installed, below another root and with recorded commands, and what is refused.

No test starts a service: that needs systemd as process 1.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.config import packaged_configs, read_yaml, run_settings
from eventveil.errors import ConfigError
from eventveil.service import plan as planning
from eventveil.service.install import System, install, removal, uninstall
from eventveil.service.paths import ServicePaths
from eventveil.service.plan import plan

CONFIG = "sources: [{uri: 'dv://'}]\nanonymize: {weights: shipped}\npublish: {bind: 'tcp://*:5556', keys: keys}\n"


class FakeSystem(System):
    """A machine below a folder, whose commands are recorded."""

    def __init__(self, root, *, users=(), fails=""):
        super().__init__(root)
        self.users, self.fails, self.commands, self.given, self.admitted = list(users), fails, [], [], []

    def check(self):
        pass

    def has_user(self):
        return "eventveil" in self.users

    def give(self, *paths):
        assert self.has_user(), "nothing can belong to a user who does not exist"
        self.given += [str(path.relative_to(self._root)) for path in paths]

    def admit(self, folder):
        assert self.has_user()
        self.admitted.append(str(folder.relative_to(self._root)))
        folder.chmod(0o750)

    def run(self, command):
        self.commands.append(command)
        if self.fails and self.fails in command:
            raise ConfigError(f"{command}: failed")
        if command.startswith("useradd"):
            self.users.append(command.split()[-1])


@pytest.fixture(autouse=True)
def visible(monkeypatch):
    """The checkout and the folders of tests may lie where a service could not see them."""
    monkeypatch.setattr(planning, "_HIDDEN", ("/home/hidden",))


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "bin" / "eventveil"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def planned(tmp_path, program, text=CONFIG, name="line.yaml", **options):
    config = tmp_path / name
    config.write_text(text)
    return plan(config, executable=program, keep_logs_s=14 * 86_400, **options)


@pytest.fixture
def system(tmp_path):
    for folder in ("etc/systemd/system", "etc/udev/rules.d"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return FakeSystem(tmp_path / "root")


def test_unit_user_udev_rule_log_and_keys_are_installed(tmp_path, program, system):
    install(planned(tmp_path, program), system)
    root = tmp_path / "root"
    unit = (root / "etc/systemd/system/eventveil-line.service").read_text()
    for line in (f"ExecStart={program} run /etc/eventveil/line.yaml --log json", "User=eventveil", "Group=eventveil",
                 "RuntimeDirectory=eventveil-line", "StateDirectory=eventveil-line", "LogNamespace=eventveil-line",
                 "WorkingDirectory=/etc/eventveil"):  # fmt: skip
        assert line in unit.splitlines(), line
    assert "TMPDIR=/run/eventveil-line" in unit
    assert "XDG_STATE_HOME=/var/lib/eventveil-line" in unit
    assert "/var/lib/eventveil/" not in unit
    rules = (root / "etc/udev/rules.d/66-eventveil-service.rules").read_text().splitlines()[1:]
    assert rules
    assert all('MODE="0660", GROUP="eventveil"' in rule for rule in rules)
    journal = (root / "etc/systemd/journald@eventveil-line.conf").read_text()
    assert journal.splitlines()[1:] == ["[Journal]", "MaxRetentionSec=1209600"]
    keys = root / "etc/eventveil/keys"
    assert {path.name for path in keys.iterdir()} == {"secret.key", "line.pub"}
    assert system.commands[0].endswith(" eventveil")
    assert system.commands[0].startswith("useradd --system")
    assert system.commands[-1] == "systemctl enable --now eventveil-line.service"
    modes = {path.name: path.stat().st_mode & 0o777 for path in root.rglob("*") if "eventveil" in str(path)}
    assert modes["eventveil"] == 0o750
    assert modes["keys"] == 0o700
    assert modes["line.yaml"] == modes["secret.key"] == 0o600
    assert modes["eventveil-line.service"] == 0o644
    assert system.admitted == ["etc/eventveil"]  # the services enter it, and root alone writes there
    assert set(system.given) == {f"etc/eventveil/{name}" for name in ("line.yaml", "keys", "keys/secret.key",
                                                                      "keys/line.pub")}  # fmt: skip


@pytest.mark.parametrize("keys", ["keys", "keys/door"])
def test_no_link_leads_the_keys_elsewhere_and_no_other_file_is_given_away(tmp_path, program, system, keys):
    """Who is the user of the services must not get files of root by a link."""
    treasure, configs = tmp_path / "root/etc/treasure", tmp_path / "root/etc/eventveil"
    for folder in (treasure, configs):
        folder.mkdir(0o700)
    (treasure / "shadow").write_text("of root")
    (configs / "keys").symlink_to(treasure)
    installation = planned(tmp_path, program, CONFIG.replace("keys: keys", f"keys: {keys}"))
    with pytest.raises(ConfigError, match="symbolic link"):
        install(installation, system)
    assert [path.name for path in treasure.iterdir()] == ["shadow"]
    (configs / "keys").unlink()
    (configs / "keys").mkdir(0o700)
    (configs / "keys/mine").write_text("of root")
    install(installation, system)
    assert set(system.given) == {"etc/eventveil/line.yaml", f"etc/eventveil/{keys}", f"etc/eventveil/{keys}/line.pub",
                                 f"etc/eventveil/{keys}/secret.key"}  # fmt: skip


def test_the_installed_configuration_is_valid_and_names_its_weights(tmp_path, program, system):
    install(planned(tmp_path, program), system)
    settings = run_settings(read_yaml(tmp_path / "root/etc/eventveil/line.yaml"), name="installed")
    assert settings.anonymize.weights.is_file()


def test_a_second_installation_keeps_keys_and_user(tmp_path, program, system):
    install(planned(tmp_path, program), system)
    secret = (tmp_path / "root/etc/eventveil/keys/secret.key").read_bytes()
    again = planned(tmp_path, program, CONFIG.replace("dv://", "prophesee://"), start=False)
    system.commands.clear()
    install(again, system)
    assert (tmp_path / "root/etc/eventveil/keys/secret.key").read_bytes() == secret
    assert "prophesee" in (tmp_path / "root/etc/eventveil/line.yaml").read_text()
    assert not [command for command in system.commands if "useradd" in command or "enable" in command]


@pytest.mark.parametrize("file", ["etc/systemd/system/eventveil-line.service", "etc/eventveil/line.yaml",
                                  "etc/udev/rules.d/66-eventveil-service.rules"])  # fmt: skip
def test_a_file_of_someone_else_is_refused_before_anything_is_done(tmp_path, program, system, file):
    place = tmp_path / "root" / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("of someone else\n")
    with pytest.raises(ConfigError, match="has not written it"):
        install(planned(tmp_path, program), system)
    assert place.read_text() == "of someone else\n"
    assert system.commands == []
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == [place]


def test_the_rules_go_with_the_last_service_and_configuration_and_keys_stay(tmp_path, program, system):
    for name in ("line.yaml", "door.yaml"):
        install(planned(tmp_path, program, name=name), system)
    root = tmp_path / "root"
    system.commands.clear()
    uninstall(ServicePaths("line"), system)
    assert system.commands == ["systemctl disable --now eventveil-line.service", "systemctl daemon-reload"]
    assert not list(root.rglob("*eventveil-line*"))
    assert (root / "etc/systemd/system/eventveil-door.service").exists()
    assert (root / "etc/udev/rules.d/66-eventveil-service.rules").exists()
    removed = uninstall(ServicePaths("door"), system)
    assert len(removed) == 3
    assert not (root / "etc/udev/rules.d/66-eventveil-service.rules").exists()
    assert {path.name for path in (root / "etc/eventveil").iterdir()} == {"line.yaml", "door.yaml", "keys"}
    with pytest.raises(ConfigError, match="no such service"):
        removal(ServicePaths("door"), system)


def test_a_command_that_fails_is_named_and_a_service_that_cannot_be_stopped_stays(tmp_path, program, system):
    install(planned(tmp_path, program), system)
    system.fails = "disable"
    with pytest.raises(ConfigError, match="systemctl disable --now eventveil-line"):
        uninstall(ServicePaths("line"), system)
    assert (tmp_path / "root/etc/systemd/system/eventveil-line.service").exists()
    with pytest.raises(ConfigError, match=r"false: exit status 1; completed steps were not undone"):
        System().run("false")
    with pytest.raises(ConfigError, match="cannot be run"):
        System().run("no-such-program")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: [{uri: 'dv://'}]\n", "a service needs its weights"),
        (CONFIG.replace("shipped", "/home/hidden/a.safetensors"), "cannot see /home/hidden"),
        (CONFIG.replace("shipped", "mine.safetensors"), "/etc/eventveil/mine.safetensors: no such file"),
        (CONFIG.replace("keys: keys", "keys: /etc/ssl"), "expected a folder in /etc/eventveil"),
        (CONFIG.replace("keys: keys", "keys: ../ssl"), "expected a folder in /etc/eventveil"),
        (CONFIG.replace("keys: keys", "keys: ."), "expected a folder in /etc/eventveil"),
    ],
)
def test_what_a_service_could_not_read_is_refused(tmp_path, program, system, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        install(planned(tmp_path, program, text), system)
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


def test_a_program_that_is_missing_or_hidden_is_refused(tmp_path, program):
    assert "no such program" in planned(tmp_path, program.with_name("missing")).problems[0]
    assert planned(tmp_path, program).problems == ()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_HIDDEN", (str(tmp_path),))
        assert "python3 -m venv /opt/eventveil" in planned(tmp_path, program).problems[0]
    for name in ("Line One.yaml", "x" * 40 + ".yaml", "-a.yaml"):
        with pytest.raises(ConfigError, match="cannot name a service"):
            planned(tmp_path, program, name=name)


def test_a_dry_run_prints_everything_and_changes_nothing(tmp_path):
    config = tmp_path / "line.yaml"
    config.write_text(CONFIG)
    done = CliRunner().invoke(
        app, ["service", "install", "--config", str(config), "--keep-logs", "2d", "--dry-run", "--json"]
    )
    assert done.exit_code == 0, done.output + repr(done.exception)
    shown = json.loads(done.output)
    assert not shown["installed"]
    assert len(shown["files"]) == 4
    assert "MaxRetentionSec=172800" in shown["files"]["/etc/systemd/journald@eventveil-line.conf"]
    assert not [path for path in shown["files"] if Path(path).exists()]
    text = CliRunner().invoke(app, ["service", "install", "--config", "desk", "--dry-run"]).output
    assert "--- /etc/systemd/system/eventveil-desk.service" in text
    assert "run: systemctl enable --now eventveil-desk.service" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit_and_rates_it_like_the_example(tmp_path, program):
    unit = tmp_path / "eventveil-line.service"
    unit.write_text(planned(tmp_path, program).files[ServicePaths("line").unit])
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""  # no unknown key and no unknown value
    assert float(re.search(r"exposure level.*: ([\d.]+)", done.stdout)[1]) <= 2.0


def test_without_systemd_or_root_nothing_is_changed(monkeypatch):
    from eventveil.service import install as installing

    monkeypatch.setattr(installing, "BOOTED", Path("/no/such/folder"))
    with pytest.raises(ConfigError, match="Linux with systemd"):
        System().check()
    monkeypatch.setattr(installing, "BOOTED", Path("/"))
    monkeypatch.setattr(installing.os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="only root"):
        System().check()


@pytest.mark.parametrize("name", sorted(packaged_configs("presets")))
def test_every_preset_can_be_installed(name, program, system):
    installation = plan(packaged_configs("presets")[name], executable=program, keep_logs_s=86_400)
    install(installation, system)
    assert (installation.keys is not None) == (name == "edge")
