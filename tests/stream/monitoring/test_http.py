"""Monitoring over HTTP: metrics, health and status, read as Prometheus reads them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pipeline_setup
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import DIGEST, OTHER_DIGEST, PROVENANCE, needs_ipv6
from pipeline_setup import PROGRAM
from prometheus_client.parser import text_string_to_metric_families

from eventveil.cli.status import fetch_status
from eventveil.config import run_settings
from eventveil.errors import AccessError, ConfigError, LineError
from eventveil.stream.monitoring.figures import readers_may_subscribe
from eventveil.stream.monitoring.http import FIGURES_S, SILENT_S, StatusServer
from eventveil.stream.monitoring.server import MAX_CLIENTS, REQUEST_S
from eventveil.stream.monitoring.token import read_token
from eventveil.stream.pipeline.status import Status
from eventveil.stream.pipeline.supervisor import Incident
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.latency import BOUNDS_MS, CoarseDelays
from eventveil.stream.runtime.reporting import StageReport

PATIENCE_S = 60.0
MEMBERS = ("histogram:hall", "anonymize", "publish")


TOKEN = "q0jRz9L0kQ2mX7uE5b1nVtYcH8sWpA3d"
SECRET = 7_654_321  # what no page may show
EVENT_COUNTS = (
    "received", "binned", "late", "outside", "saturated", "hot", "noise", "camera_read", "camera_delivered",
    "camera_dropped", "camera_late", "camera_damaged", "camera_clipped", "camera_packets", "camera_jumps",
)  # fmt: skip


def report(stage, kind="beat", **fields):
    return StageReport(stage=stage, kind=kind, **fields)


def a_status(**changed):
    ages = CoarseDelays()
    for delay_ms in (0.5, 3.0, 3.0, 20_000.0):
        ages.add(delay_ms)
    stages = {
        "histogram:hall": report(
            "histogram:hall",
            counts=dict.fromkeys(EVENT_COUNTS, SECRET) | {"camera_away": 1, "camera_losses": 2, "windows": 9},
            values={"density": float(SECRET), "density_most": float(SECRET)},
            omissions={f"event with an outlying time {SECRET}": SECRET},
            reason=f"/data/{SECRET}.aedat4: cannot be read",
        ),
        "anonymize": report("anonymize", age=ages.report(), life=3),
        "publish": report(
            "publish",
            counts={"gestures": 3, "connections": 9, "handshakes": 5},
            gestures={"hall": {"wave": 2}},
            values={"subscribers": 4.0},
            age=ages.report(),
        ),
    }
    status = Status(seconds=5.0, stages=stages, counters=example_counters(), **changed)
    status.note(Incident("anonymize", f"could not read /data/{SECRET}.aedat4", at_s=3.0, back_s=0.5))
    return status


def example_counters():
    """Count nine windows: one in the source, one dropped by it, two on the first edge, the rest in later stages."""
    counters = PipelineCounters(MEMBERS, ["hall"])
    for stage, (received, sent) in zip(MEMBERS, ((9, 7), (5, 4), (3, 2)), strict=True):
        counters[stage]["hall"].received, counters[stage]["hall"].sent = received, sent
    counters["histogram:hall"]["hall"].drop("queue")
    counters["anonymize"]["hall"].drop("age")
    counters["publish"]["hall"].missed = 1
    return counters


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def server(now):
    with StatusServer(("127.0.0.1", 0), PROVENANCE, lambda: MEMBERS, clock=lambda: now[0]) as running_server:
        yield running_server


def get(address, path, **headers):
    request = urllib.request.Request(f"http://{address[0]}:{address[1]}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(address):
    """Return all samples by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(get(address, "/metrics")[1])
        for sample in family.samples
    }


def test_metrics_are_the_last_reports(server):
    server.beat(a_status())
    metrics = samples(server.address)
    assert metrics["eventveil_camera_losses_total", "hall"] == 2
    assert metrics["eventveil_camera_away", "hall"] == 1
    assert metrics["eventveil_stage_restarts_total", "anonymize"] == 2
    assert metrics["eventveil_gestures_published_total",] == 3
    assert metrics["eventveil_subscribers",] == 4
    assert metrics["eventveil_handshakes_total", "succeeded"] == 5
    assert metrics["eventveil_connections_total",] == 9
    assert ("eventveil_weights_info", "", DIGEST, "anonymizer", "false") in metrics


def test_gestures_are_counted_by_label_only_where_every_reader_may_subscribe(server):
    """They are computed from events. Whoever can read the page must be able to receive the gestures themselves."""
    server.beat(a_status())
    for path in ("/metrics", "/status"):
        assert "wave" not in get(server.address, path)[1]
    with StatusServer(("127.0.0.1", 0), PROVENANCE, lambda: MEMBERS, gestures=True) as open_server:
        open_server.beat(a_status())
        counts = {key[1:]: n for key, n in samples(open_server.address).items() if "gestures_recognised" in key[0]}
        assert json.loads(get(open_server.address, "/status")[1])["gestures"] == {"hall": {"wave": 2}}
    # Labels that were not recognised, too: a label that appears would tell when it was first.
    assert counts == {("hall", "wave"): 2, ("clap", "hall"): 0, ("hall", "roll"): 0}


@pytest.mark.parametrize(
    ("publish", "watch", "shown"),
    [
        ({}, {"metrics": "127.0.0.1:0"}, True),
        ({}, {"metrics": "[::1]:0", "token": "t"}, True),
        ({}, {}, False),
        ({}, {"metrics": "0.0.0.0:0", "token": "t"}, False),  # publishes on this machine, and reports to others
        ({"keys": "line"}, {"metrics": "127.0.0.1:0"}, False),  # other users of this machine have no key
        ({"keys": "line", "bind": "tcp://*:5556"}, {"metrics": "0.0.0.0:0", "token": "t"}, False),
        ({"bind": "ipc:///run/private/socket"}, {"metrics": "127.0.0.1:0"}, False),  # its folder may be closed to them
    ],
)
def test_who_may_read_the_counts_of_gestures_follows_from_who_may_subscribe(publish, watch, shown):
    settings = run_settings({"sources": [{"uri": "simulate:"}], "publish": publish, "watch": watch}, name="x")
    assert readers_may_subscribe(settings) is shown


def test_metrics_of_a_stand_in_name_its_book_and_its_bits():
    stand_in = replace(PROVENANCE, classifier=None, book=OTHER_DIGEST, changes_per_second=2, bits_per_second=8.77)
    with StatusServer(("127.0.0.1", 0), stand_in, lambda: MEMBERS) as server:
        metrics = samples(server.address)
    assert metrics["eventveil_word_bits_per_second",] == 8.77
    assert metrics["eventveil_book_info", OTHER_DIGEST] == 1


def test_no_page_shows_what_is_computed_from_events_or_a_path(server):
    server.beat(a_status(failure=f"/data/{SECRET}.aedat4: cannot be read"))
    for path in ("/metrics", "/status", "/healthz", "/readyz"):
        page = get(server.address, path)[1]
        assert "7654321" not in re.sub(r"[.,]", "", page)
        assert "aedat4" not in page


def test_figures_are_taken_every_ten_seconds_and_health_at_once(server, now):
    """Counts of windows that are read quickly would show when the source had nothing to send."""
    status = a_status()
    server.beat(status)
    before = [get(server.address, path) for path in ("/metrics", "/status")]
    status.counters["publish"]["hall"].sent += 1
    now[0] += FIGURES_S - 0.5
    server.beat(status)
    assert [get(server.address, path) for path in ("/metrics", "/status")] == before
    now[0] += 0.5
    server.beat(status)
    assert samples(server.address)["eventveil_windows_sent_total", "publish"] == 3
    status.failure = "anything"
    assert get(server.address, "/healthz")[0] == 503


def test_a_token_is_required_on_every_page(now):
    with StatusServer(("127.0.0.1", 0), PROVENANCE, lambda: MEMBERS, TOKEN, clock=lambda: now[0]) as server:
        server.beat(a_status())
        for path in ("/metrics", "/status", "/healthz", "/readyz", "/nothing"):
            for wrong in (
                "",
                f"Bearer {TOKEN}x",
                f"Bearer {TOKEN[:-1]}",
                f"Basic {TOKEN}",
                TOKEN,
                "Bearer",
                "Bearer \xe9",
            ):
                code, page = get(server.address, path, Authorization=wrong)
                assert code == 401, wrong
                assert "hall" not in page
            assert get(server.address, path, Authorization=f"Bearer {TOKEN}")[0] != 401
        assert get(server.address, "/status", Authorization=f"bearer {TOKEN}", Host="line:9464")[0] == 200
        assert fetch_status(f"127.0.0.1:{server.address[1]}", TOKEN)["healthy"]
        with pytest.raises(LineError, match="--token FILE"):
            fetch_status(f"127.0.0.1:{server.address[1]}")


def test_the_token_goes_to_no_proxy_and_follows_no_redirection(monkeypatch):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, socket.create_server(("127.0.0.1", 0)) as named:
        proxy = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")

        def redirect():
            with named.accept()[0] as connection:
                heard.append(connection.recv(10_000))
                connection.sendall(f"HTTP/1.0 302 Found\r\nLocation: {proxy}/status\r\n\r\n".encode())

        thread = threading.Thread(target=redirect)
        thread.start()
        with pytest.raises(LineError, match="not the status address of a pipeline"):
            fetch_status(f"127.0.0.1:{named.getsockname()[1]}", TOKEN)
        thread.join()
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert f"Authorization: Bearer {TOKEN}".encode() in heard[0]


def test_off_loopback_nothing_starts_without_a_token(tmp_path):
    values = {"sources": [{"uri": "simulate:"}]}
    for address in ("0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464", "[2001:db8::1]:9464"):
        with pytest.raises(ConfigError, match=r"other machines can reach .* set watch\.token"):
            run_settings(values | {"watch": {"metrics": address}}, name="x")
        run_settings(values | {"watch": {"metrics": address, "token": str(tmp_path / "token")}}, name="x")
    for address in ("127.0.0.1:9464", "[::1]:9464", "127.9.9.9:0"):
        run_settings(values | {"watch": {"metrics": address}}, name="x")
    with pytest.raises(ConfigError, match="metrics, which is off"):
        run_settings(values | {"watch": {"token": "token"}}, name="x")


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (TOKEN, 0o640, "others can access it"),
        (TOKEN, 0o604, "others can access it"),
        ("short", 0o600, "32 characters or more"),
        ("", 0o600, "32 characters or more"),
        (f"{TOKEN}\n{TOKEN}", 0o600, "one line"),
        (f"{TOKEN} spaced", 0o600, "one line"),
        (TOKEN * 10_000, 0o600, "small text file"),
        ("\xe9" * 40, 0o600, "one line"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_a_token_file_is_private_and_holds_a_token(tmp_path, text, mode, words):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(AccessError, match=words):
        read_token(path)


def test_every_window_is_in_one_place(server):
    server.beat(a_status())
    metrics = samples(server.address)
    assert metrics["eventveil_windows_received_total", "histogram:hall"] == 9
    assert metrics["eventveil_windows_sent_total", "publish"] == 2
    lost = {key[1:]: value for key, value in metrics.items() if key[0] == "eventveil_windows_dropped_total"}
    assert lost == {
        ("histogram:hall", "queue"): 1, ("age", "anonymize"): 1, ("anonymize > publish", "crash"): 1,
    }  # fmt: skip
    in_flight = {key[1]: value for key, value in metrics.items() if key[0] == "eventveil_windows_in_flight"}
    assert in_flight == {
        "histogram:hall": 1, "histogram:hall > anonymize": 2, "anonymize": 0, "anonymize > publish": 0, "publish": 1,
    }  # fmt: skip
    assert 2 + sum(lost.values()) + sum(in_flight.values()) == 9
    assert metrics["eventveil_books_balanced",] == 1


def test_ages_add_up_from_bucket_to_bucket(server):
    server.beat(a_status())
    metrics = samples(server.address)
    cumulative = [
        metrics["eventveil_window_age_seconds_bucket", *sorted((le, "publish"))] for le in ("0.001", "0.005", "10")
    ]
    assert cumulative == [1, 3, 3]
    assert metrics["eventveil_window_age_seconds_count", "publish"] == 4
    assert metrics["eventveil_window_age_seconds_sum", "publish"] == pytest.approx(20.006)


@given(st.lists(st.floats(0, 1e5), max_size=40))
def test_every_delay_is_in_the_bucket_that_it_belongs_to(delays):
    ages = CoarseDelays()
    for delay in delays:
        ages.add(delay)
    edges = [-1.0, *BOUNDS_MS, float("inf")]
    expected = [sum(low < d <= high for d in delays) for low, high in pairwise(edges)]
    assert list(ages.report().counts) == expected


def test_a_pipeline_is_ready_when_all_its_stages_are_and_healthy_until_it_fails(server):
    assert get(server.address, "/healthz") == (200, "ok\n")
    assert get(server.address, "/readyz")[0] == 503
    half = a_status()
    half.stages.pop("publish")
    server.beat(half)
    assert get(server.address, "/readyz") == (503, "not ready: publish\n")
    server.beat(a_status())
    assert get(server.address, "/readyz") == (200, "ok\n")
    server.beat(a_status(failure="anonymize: what it stumbled over"))
    for path in ("/healthz", "/readyz"):
        assert get(server.address, path) == (503, "the pipeline has failed; see its log\n")


def test_a_supervisor_that_hangs_is_not_healthy(server, now):
    server.beat(a_status())
    now[0] += SILENT_S + 1
    code, text = get(server.address, "/healthz")
    assert code == 503
    assert text == "the supervisor has not reported for 6 s\n"
    server.beat(a_status())
    assert get(server.address, "/healthz")[0] == 200


def test_a_page_in_a_browser_cannot_ask_in_its_users_place(server):
    server.beat(a_status())
    for host in ("evil.example", "192.0.2.1:80", "[2001:db8::1]:9464"):
        assert get(server.address, "/status", Host=host) == (403, "use a local host name, such as localhost\n")
    for host in ("localhost:9464", "127.0.0.1", "[::1]:9464"):
        assert get(server.address, "/status", Host=host)[0] == 200


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::ffff:127.0.0.1"])
def test_a_loopback_address_of_ipv6_answers_local_names_alone(host):
    with StatusServer((host, 0), PROVENANCE, lambda: MEMBERS) as local_server:
        address = (f"[{host}]", local_server.address[1])
        assert get(address, "/healthz") == (200, "ok\n")
        assert get(address, "/healthz", Host="evil.example") == (403, "use a local host name, such as localhost\n")


def test_strangers_who_speak_no_http_or_say_nothing_harm_nobody(server, capfd):
    server.beat(a_status())
    with socket.create_connection(server.address) as silent, socket.create_connection(server.address) as loud:
        loud.sendall(b"\x00\xff" * 40_000 + b"\n")
        silent.sendall(b"GET /stat")
        assert get(server.address, "/status")[0] == 200
    assert get(server.address, "/nothing")[0] == 404
    assert "Traceback" not in capfd.readouterr().err


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def drip(client):
    """Send a byte now and then, for up to a minute."""
    for _ in range(600):
        client.sendall(b"x")
        time.sleep(0.1)


def test_a_crowd_that_says_nothing_takes_neither_threads_nor_descriptors(server):
    server.beat(a_status())
    threads, descriptors = threading.active_count(), open_descriptors()
    with ExitStack() as crowd:
        for number in range(1, 301):
            client = crowd.enter_context(socket.create_connection(server.address))
            client.sendall(b"GET /status HTTP/1.0\r\nX: ")
            if number % 50 == 0:
                assert get(server.address, "/status")[0] == 200
                assert threading.active_count() <= threads + MAX_CLIENTS
                assert open_descriptors() <= descriptors + number + MAX_CLIENTS


def test_a_whole_request_has_a_deadline_however_it_drips(server, now):
    with socket.create_connection(server.address, timeout=30) as dripping:
        dripping.sendall(b"GET /status HTTP/1.0\r\nX: ")
        get(server.address, "/healthz")  # the first connection has been accepted when this is answered
        now[0] += REQUEST_S
        with pytest.raises(OSError, match=r"reset|pipe"):
            drip(dripping)


@pytest.mark.parametrize("line", [b"GET /" + b"x" * 20_000, b"GET /status HTTP/1.0\r\n" + b"X: " + b"x" * 20_000])
def test_a_request_without_end_is_refused(server, line):
    with socket.create_connection(server.address, timeout=30) as endless, suppress(ConnectionError):
        endless.sendall(line)
        reply = endless.recv(100)
        assert reply == b"" or b"431" in reply


@pytest.mark.parametrize("version", ["1e999", "nan", "1.0.0", "-1", "", "9" * 400, "1.0;version=x"])
def test_no_accept_header_breaks_the_page(server, version):
    server.beat(a_status())
    for kind in ("text/plain", "application/openmetrics-text"):
        code, page = get(server.address, "/metrics", Accept=f"{kind};version={version};escaping={version}")
        assert code == 200
        assert list(text_string_to_metric_families(page))


def test_an_address_in_use_is_reported_before_anything_is_served(server):
    with pytest.raises(LineError, match=r"cannot serve metrics at this address.*watch\.metrics"):
        StatusServer(server.address, PROVENANCE, tuple)


@pytest.mark.parametrize("address", ["localhost", "localhost:", "localhost:http", "localhost:99999", ":9464"])
def test_a_token_is_not_sent_to_a_guessed_port(address):
    with pytest.raises(LineError, match="expected HOST:PORT"):
        fetch_status(address, "secret")


def test_nobody_there_is_an_error_that_says_what_to_do():
    done = subprocess.run(
        [*PROGRAM, "status", "127.0.0.1:1"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert "--metrics" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Run a real pipeline of processes with metrics on a free port; yield (address, process, log entries)."""
    kit = pipeline_setup.make_kit(tmp_path_factory.mktemp("kit"))
    folder = tmp_path_factory.mktemp("public")
    command = [
        *PROGRAM, "run", str(kit.recording), "--weights", str(kit.anonymizer), "--allow-untrained", "--loop",
        "--set", f"publish.bind=ipc://{folder}/p", "--set", "line.run_as=processes",
        "--metrics", "127.0.0.1:0", "--log", "json",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as line:
        entries = []
        for text in line.stderr:
            entries.append(json.loads(text))
            if "/metrics" in entries[-1]["message"]:
                break
        host, _, port = entries[-1]["message"].partition("http://")[2].partition("/")[0].partition(":")
        yield (host, int(port)), line, entries
        line.terminate()
        entries += [json.loads(text) for text in line.stderr]  # to the last line


def test_a_real_pipeline_tells_how_it_does(running):
    address, _, entries = running
    deadline = time.monotonic() + PATIENCE_S
    while get(address, "/readyz")[0] != 200 or not json.loads(get(address, "/status")[1])["published_windows"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert {"time", "level", "logger", "message"} == set(entries[0])
    done = subprocess.run(
        [*PROGRAM, "status", f"{address[0]}:{address[1]}", "--json"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["healthy"]
    assert status["published_windows"] > 0
    assert set(status["stages"]) == {"histogram:0", "anonymize", "publish"}
    assert status["stages"]["anonymize"]["runs_on"].endswith((", fp32", ", bf16"))
    assert "runs_on" not in status["stages"]["publish"]
    assert "truth" not in status


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_are_there(server):
    server.beat(a_status())
    existing = {name for name, *_ in samples(server.address)} | {"up"}
    folder = Path(__file__).parents[3] / "deploy"
    panels = json.loads((folder / "grafana.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    expressions += [rule["expr"] for rule in yaml.safe_load((folder / "alerts.yml").read_text())["groups"][0]["rules"]]
    named = {name for expression in expressions for name in re.findall(r"\beventveil_\w+", expression)}
    assert named
    assert named <= existing
