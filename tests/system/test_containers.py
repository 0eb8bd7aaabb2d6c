"""The Dockerfile and the compose file, read without a Docker daemon: who runs what, with which rights and files.

No image is built and no container is started.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from eventveil.cli import app

DEPLOY = Path(__file__).parents[2] / "deploy"
pytestmark = pytest.mark.skipif(not (DEPLOY / "compose.yaml").exists(), reason="only a checkout has these files")


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def ours(services):
    return {name: service for name, service in services.items() if "build" in service}


def parsed(text):
    """Return what the command line makes of a command, without calling it."""
    program = typer.main.get_command(app)
    program.callback = None
    for command in program.commands.values():
        command.callback = lambda **values: values
    return program.main(shlex.split(text), prog_name="eventveil", standalone_mode=False)


def test_the_image_has_two_stages_a_user_of_its_own_and_no_sources():
    stages = re.split(r"(?m)^FROM ", (DEPLOY / "Dockerfile").read_text())[1:]
    assert len(stages) == 2
    last = stages[1]
    copies = re.findall(r"(?m)^COPY (.*)$", last)
    assert copies == ["--from=build /opt/eventveil /opt/eventveil"]
    assert "pip install" not in last
    assert re.findall(r"(?m)^USER (.*)$", last) == ["eventveil"]
    assert "--uid 1000" in last
    assert "download.pytorch.org/whl/cpu" in stages[0]
    assert not re.search(r"(?i)(secret|password|token|\.key)", (DEPLOY / "Dockerfile").read_text())


def test_our_containers_can_write_nothing_and_gain_no_rights(ours):
    assert set(ours) == {"line", "subscriber", "page"}
    for name, service in ours.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "user"} & set(service), name
        assert set(service["tmpfs"]) == {"/tmp", "/home/eventveil"}, name
    assert ours["line"]["ulimits"] == {"core": 0}


def test_every_command_parses_and_only_clients_with_keys_are_served(ours):
    pipeline = parsed(ours["line"]["command"].replace("${SOURCE:-simulate:}", "simulate:"))
    assert "publish.keys=/keys" in pipeline["overrides"]
    assert "watch.token=/metrics.token" in pipeline["overrides"]
    for name in ("subscriber", "page"):
        values = parsed(ours[name]["command"])
        assert values["server_key"] == Path("/publisher/keys.pub")
        assert values["key"] is not None
        assert values["book"] is not None
    assert parsed(ours["page"]["command"])["token"] == Path("/page.token")
    check = ours["line"]["healthcheck"]["test"]
    assert check[:2] == ["CMD", "eventveil"]
    assert parsed(shlex.join(check[2:]))["token"] == Path("/metrics.token")


def test_ports_are_on_loopback_and_the_pipeline_has_none(services):
    assert "ports" not in services["line"]
    assert "ports" not in services["subscriber"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_mounted_file_is_in_the_folder_or_made_by_the_comment(services):
    comment = "\n".join(re.findall(r"(?m)^#(.*)$", (DEPLOY / "compose.yaml").read_text()))
    made = {"keys", "alice", "page", "metrics.token", "page.token", "prometheus.token", "grafana.password"}
    for name in ("keys", "alice", "page"):
        assert f"keys new {name}" in comment
    for name in ("prometheus.token", "grafana.password", "for name in metrics page"):
        assert name in comment
    for name, service in services.items():
        for volume in service["volumes"]:
            source, _, target = volume.partition(":")
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), volume
                assert target.endswith(":ro"), volume
            elif source.startswith("/etc/eventveil/"):
                assert source.split("/")[3] in made, volume
                assert target.endswith(":ro") or (name, source) == ("line", "/etc/eventveil/keys"), volume
            else:
                assert (name, source) == ("line", "/dev/bus/usb")


def test_secret_keys_are_mounted_only_where_they_belong(services):
    owners = {"/etc/eventveil/keys": "line", "/etc/eventveil/alice": "subscriber", "/etc/eventveil/page": "page"}
    for name, service in services.items():
        for volume in service["volumes"]:
            assert owners.get(volume.split(":")[0], name) == name, volume


def test_images_of_others_have_a_version(services):
    images = [service["image"] for service in services.values() if "image" in service]
    assert len(images) == 2
    assert all(re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", image) for image in images)


def test_grafana_is_given_the_source_and_the_dashboard(services):
    source = yaml.safe_load((DEPLOY / "grafana-sources.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    folder = yaml.safe_load((DEPLOY / "grafana-dashboards.yml").read_text())["providers"][0]["options"]["path"]
    targets = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert f"{folder}/eventveil.json" in targets
