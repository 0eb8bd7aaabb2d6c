"""Configuration: every error names its place and the known keys, and the ready-made files contain every key."""

from __future__ import annotations

import copy
import re
from importlib.resources import files
from pathlib import Path

import pytest
from config_keys import every_key, keys_in

from eventveil import Sensor
from eventveil.config import find_config, packaged_configs, read_yaml, run_settings
from eventveil.errors import ConfigError
from eventveil.models import shipped
from eventveil.stream.planning.planner import plan
from eventveil.stream.settings.pipeline import PipelineSettings

MINIMAL = {"sources": [{"uri": "a.aedat4"}]}
TWO = {"sources": [{"uri": "a", "stream": "left"}, {"uri": "b", "stream": "right"}], "line": {"queue": 8}}
READY = ("live.yaml", "replay.yaml")


def complaint(values, *overrides):
    with pytest.raises(ConfigError) as caught:
        run_settings(values, overrides, name="mine.yaml")
    return str(caught.value)


def test_what_is_not_said_has_its_default():
    settings = run_settings(MINIMAL, name="mine.yaml")
    assert settings.sources[0].uri == "a.aedat4"
    assert (settings.sources[0].stream, settings.sources[0].speed, settings.sources[0].sensor) == ("0", 1.0, None)
    assert settings.publish.bind == "tcp://127.0.0.1:5556"
    assert (settings.line.delivery, settings.line.run_as) == ("lossless", "threads")
    assert settings.anonymize.allow_untrained is False


@pytest.mark.parametrize(
    ("text", "speed"), [("max", "max"), (2, 2.0), (0.25, 0.25), ("1e2", 100.0), (0.1, 0.1), ("0.5", 0.5)]
)
def test_a_speed_is_a_factor_or_max(text, speed):
    source = {"uri": "a", "speed": text}
    assert run_settings({"sources": [source]}, name="mine.yaml").sources[0].speed == speed


PUBLIC = ["tcp://*:*", "tcp://eth0:65535", "tcp://lo:1", "tcp://0.0.0.0:5556", "tcp://[::]:1", "tcp://128.0.0.1:1"]
PUBLIC += ["tcp://[::ffff:192.0.2.1]:1", "tcp://[::ffff:0.0.0.0]:1", "tcp://[fe80::1%lo]:1", "tcp://[2001:db8::1]:*"]
LOCAL = ["tcp://127.0.0.1:*", "tcp://127.9.0.1:1", "tcp://localhost:1", "tcp://[::1]:5556", "ipc:///tmp/published.sock"]
LOCAL += ["tcp://[::1]:*", "tcp://[::ffff:127.0.0.1]:1"]


@pytest.mark.parametrize("bind", PUBLIC + LOCAL)
def test_an_address_to_publish_on_is_taken_as_it_is(bind):
    settings = run_settings(MINIMAL | {"publish": {"bind": bind, "keys": "keys"}}, name="mine.yaml")
    assert (settings.publish.bind, settings.publish.keys) == (bind, Path("keys"))


@pytest.mark.parametrize("bind", LOCAL)
def test_a_local_address_does_without_keys(bind):
    assert run_settings(MINIMAL | {"publish": {"bind": bind}}, name="mine.yaml").publish.keys is None


@pytest.mark.parametrize("bind", PUBLIC)
def test_an_address_that_others_can_reach_takes_keys(bind):
    message = complaint(MINIMAL | {"publish": {"bind": bind}})
    assert message.startswith(
        f"mine.yaml: publish: other machines can reach {bind}, and without keys anyone could subscribe"
    )
    assert "eventveil keys new" in message


@pytest.mark.parametrize("folder", ["tcp://127.0.0.1:5555", "tcp://*:1", "ipc:///tmp/line", "inproc://line"])
def test_raw_windows_pass_a_folder_and_never_an_address(folder):
    message = complaint(MINIMAL | {"line": {"runtime_dir": folder}})
    assert message == (
        "mine.yaml: line.runtime_dir: expected a folder for the sockets of raw windows, never an address; "
        f"got {folder!r}"
    )


@pytest.mark.parametrize(
    "bind", ["", "tcp://", "tcp://127.0.0.1", "tcp://*:65536", "tcp://*:99999", "tcp://:5556", "pgm://a:1", "tcp://a:b"]
)
def test_an_invalid_address_is_refused(bind):
    message = complaint(MINIMAL | {"publish": {"bind": bind}})
    assert message == f"mine.yaml: publish.bind: expected tcp://HOST:PORT or ipc://PATH, got {bind!r}"


def test_a_sensor_is_read_from_its_text():
    source = {"uri": "a", "sensor": "346x260"}
    assert run_settings({"sources": [source]}, name="mine.yaml").sources[0].sensor == Sensor(346, 260)


SOURCE_KEYS = (
    "uri, stream, sensor, on_disorder, on_damage, speed, start_s, stop_s, loop, gap_s, shuffle, seed, camera, scene"
)
GROUPS = "sources, window, anonymize, classify, publish, line"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lines": {}}, f"lines: unknown key; known here: {GROUPS}"),
        ({"seed": 3}, f"seed: unknown key; known here: {GROUPS}"),
        ({"sources": [{"uri": "a", "sped": 1}]}, f"sources.0.sped: unknown key; known here: {SOURCE_KEYS}"),
        ({"sources": [{"uri": "a", "float": 1}]}, f"sources.0.float: unknown key; known here: {SOURCE_KEYS}"),
        ({"window": {"bin_ms": 3}}, "window.bin_ms: unknown key; known here: mode, bins, bin_us, hop, size"),
        ({"anonymize": {"noise": 3}}, "anonymize.noise: unknown key; known here: weights, device, precision, book, a"),
        ({"classify": {"allow_untrained": True}}, "classify.allow_untrained: unknown key; known here: weights, dev"),
        ({"publish": {"port": 3}}, "publish.port: unknown key; known here: bind, keys, events, serve, wait_for, queue"),
        ({"line": {"policy": "live"}}, "line.policy: unknown key; known here: delivery, run_as, queue, max_age_ms, "),
        ({1: 2}, "1: Keys should be strings"),
    ],
)
def test_an_unknown_key_is_named_with_those_that_are_known(values, words):
    assert complaint(MINIMAL | values).startswith(f"mine.yaml: {words}")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sources": [{"stream": "0"}]}, f"sources.0.uri: is missing; known here: {SOURCE_KEYS}"),
        ({"sources": []}, "sources: expected at least one source, got none"),
        ({"sources": {"uri": "a"}}, "sources: Input should be a valid tuple"),
        ({"sources": [{"uri": "a"}, {"uri": "b"}]}, "sources: every source needs its own stream name, got ['0', "),
        ({"sources": [{"uri": "a", "speed": "fast"}]}, "sources.0.speed: expected a factor from 0.1 to 100, such "),
        ({"sources": [{"uri": "a", "sensor": "big"}]}, "sources.0.sensor: expected a sensor as WIDTHxHEIGHT, for "),
        ({"sources": [{"uri": "a", "sensor": "0x3"}]}, "sources.0.sensor: a sensor is 1 to 65536 pixels wide and "),
        ({"sources": [{"uri": "a", "sensor": {"width": 0, "height": 2}}]}, "sources.0.sensor: expected a sensor as "),
        ({"sources": [{"uri": "a", "stream": "a/b"}]}, "sources.0.stream: String should match pattern"),
        ({"sources": [{"uri": "a", "on_disorder": "skip"}]}, "sources.0.on_disorder: Input should be 'raise', 'sort'"),
        ({"window": {"bins": 0}}, "window.bins: Input should be greater than or equal to 1, got 0"),
        ({"window": {"size": [128]}}, "window.size.1: Field required"),
        ({"window": {"size": ["wide", 2]}}, "window.size.0: Input should be a valid integer"),
        ({"anonymize": {"device": "gpu"}}, "anonymize.device: String should match pattern"),
        ({"anonymize": {"batch": 0}}, "anonymize.batch: Input should be greater than or equal to 1, got 0"),
        ({"anonymize": {"allow_untrained": "perhaps"}}, "anonymize.allow_untrained: Input should be a valid boolean"),
        ({"classify": {"precision": "fp16"}}, "classify.precision: Input should be 'auto', 'fp32' or 'bf16', got 'f"),
        ({"publish": {"bind": "0.0.0.0:5556"}}, "publish.bind: expected tcp://HOST:PORT or ipc://PATH, got '0.0.0.0:5"),
        ({"publish": {"bind": "ipc://*"}}, "publish.bind: expected tcp://HOST:PORT or ipc://PATH, got 'ipc://*'"),
        ({"publish": {"bind": "inproc://a"}}, "publish.bind: expected tcp://HOST:PORT or ipc://PATH, got 'inproc://a'"),
        ({"publish": {"wait_for": -1}}, "publish.wait_for: Input should be greater than or equal to 0, got -1"),
        ({"line": 3}, "line: Input should be a valid dictionary or instance of LineSettings, got 3"),
        ({"line": {"delivery": "best"}}, "line.delivery: Input should be 'lossless' or 'live', got 'best'"),
        ({"line": {"max_age_ms": 0}}, "line.max_age_ms: Input should be greater than or equal to 1, got 0"),
        ({"line": {"release_ms": 0}}, "line.release_ms: Input should be greater than or equal to 1, got 0"),
        ({"line": {"restarts": 10**20}}, "line.restarts: Input should be less than or equal to 1000000"),
        ({"publish": {"queue": 10**11}}, "publish.queue: Input should be less than or equal to 1000000"),
        ({"line": {"delivery": "live", "max_age_ms": 249}}, "line: in live delivery, windows older than"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(values, words):
    message = complaint(MINIMAL | values)
    assert message.startswith(f"mine.yaml: {words}")
    assert message.count("\n") == 0
    assert message.count(", got ") <= 1


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf"), 0.09, 101, True, None, [1]])
def test_an_invalid_speed_is_refused(speed):
    assert "sources.0.speed: expected a factor" in complaint({"sources": [{"uri": "a", "speed": speed}]})


def test_each_mistake_has_a_line_of_its_own():
    message = complaint({"sources": [{"uri": "a"}, {"uri": "b", "stream": "1", "x": 1}], "line": {"queue": 0}})
    assert [line.split(": ")[1] for line in message.split("\n")] == ["sources.1.x", "line.queue"]


@pytest.mark.parametrize("group", ["anonymize", "classify"])
def test_a_seed_is_refused_with_its_reason(group):
    message = complaint(MINIMAL | {group: {"seed": 7}})
    assert message.startswith(f"mine.yaml: {group}: a seed is refused")
    assert "operating system's entropy" in message
    assert "a seed is refused" in complaint(MINIMAL, f"{group}.seed=7")


def test_settings_cannot_be_changed_later():
    settings = run_settings(MINIMAL, name="mine.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.anonymize.allow_untrained = True


def test_overrides_win_and_make_what_is_not_there():
    settings = run_settings(
        TWO,
        [
            "line.queue=2",
            "line.queue=3",
            "sources.1.speed=max",
            "window.size=[64, 48]",
            "publish.bind=tcp://127.0.0.1:1234",
        ],
        name="mine.yaml",
    )
    assert settings.line.queue == 3
    assert [source.speed for source in settings.sources] == [1.0, "max"]
    assert settings.window.size == (64, 48)
    assert settings.publish.bind == "tcp://127.0.0.1:1234"


def test_on_and_off_are_words_and_true_and_false_are_not(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("sources: [{uri: 'dv://', camera: {biases: {on: 4, Off: 3}, wait: true}}]\n")
    source = run_settings(read_yaml(file), ["sources.0.scene.hot_pixels=off"], name="mine.yaml").sources[0]
    assert source.camera.biases == {"on": 4, "Off": 3}
    assert source.camera.wait is True
    assert source.scene.hot_pixels == "off"
    assert run_settings(MINIMAL, ["anonymize.allow_untrained=False"], name="x").anonymize.allow_untrained is False


def test_an_override_may_replace_a_whole_entry_of_a_list():
    settings = run_settings(TWO, ["sources.0={uri: c, stream: middle}"], name="mine.yaml")
    assert [source.stream for source in settings.sources] == ["middle", "right"]


def test_overrides_leave_the_callers_values_alone():
    values = copy.deepcopy(TWO)
    run_settings(
        values, ["line.queue=2", "sources.0.uri=c", "sources.1={uri: d}", "window.bins=3", "anonymize={}"], name="x"
    )
    assert values == TWO


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("line.queue", "--set: expected key=value, for example line.delivery=live, got 'line.queue'"),
        ("=3", "--set: expected key=value"),
        ("line.queue=[", "--set line.queue: the value is not YAML"),
        ("publish.bind=2024-13-45", "--set publish.bind: the value is not YAML: month must be in 1..12"),
        ("line.queue.most=3", "--set line.queue.most: 'queue' is a value, not a group of keys"),
        ("sources.2.uri=a", "--set sources.2.uri: expected a number from 0 to 1 in place of '2'"),
        ("sources.2=a", "--set sources.2: expected a number from 0 to 1 in place of '2'"),
        ("sources.-1.uri=a", "--set sources.-1.uri: expected a number from 0 to 1 in place of '-1'"),
        ("sources.left.uri=a", "--set sources.left.uri: expected a number from 0 to 1 in place of 'left'"),
        ("line.speed=1", "mine.yaml: line.speed: unknown key; known here: delivery"),
        ("line.queue=", "mine.yaml: line.queue: Input should be a valid integer, got None"),
    ],
)
def test_a_wrong_override_is_named(override, words):
    assert complaint(TWO, override).startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "expected keys and values (sources, window, anonymize, classify, publish, line, watch), got NoneType"),
        (b"- a\n- b\n", "got list"),
        (b"just words", "got str"),
        (b"sources: [", "is not YAML"),
        (b"sources:\n\t- uri: a", "is not YAML"),
        (b"a: \xff\xfe", "is not YAML"),
        (b"a: 2024-13-45", "is not YAML: month must be in 1..12"),
        (b"!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_named(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("", ["live", "replay"]),
        ("audit", ["full", "quick"]),
        (
            "train",
            [
                "anonynoise_simulated",
                "dvs_gesture",
                "event_reid",
                "event_reid_anonynoise",
                "event_reid_simulated",
                "noisy_channel",
                "see",
                "simulated",
                "simulated_small",
                "stand_in",
            ],
        ),
        ("book", ["gestures"]),
        (
            "tables",
            ["anonynoise_1", "anonynoise_2", "anonynoise_3", "anonynoise_4", "event_reid_1", "event_reid_2"],
        ),
    ],
)
def test_a_configuration_of_the_package_is_found_by_its_name(group, names):
    assert list(packaged_configs(group)) == names
    for name in names:
        path = find_config(Path(name), group)
        assert path == Path(str(files("eventveil.configs") / group / f"{name}.yaml"))
        assert read_yaml(path)


def test_a_name_that_is_unknown_lists_those_that_are_known():
    with pytest.raises(ConfigError) as caught:
        find_config(Path("slow"), "audit")
    assert str(caught.value) == "slow: unknown configuration; expected full, quick, or a path to a YAML file"


def test_a_path_to_a_configuration_stays_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("none.yaml", "configs/quick", "./folder/mine.yml", "/no/such/file"):
        assert find_config(Path(path), "audit") == Path(path)
    Path("quick").mkdir()
    assert find_config(Path("quick"), "audit") != Path("quick")
    Path("full").touch()
    assert find_config(Path("full"), "audit") == Path("full")


@pytest.mark.parametrize("name", READY)
def test_a_ready_configuration_loads_and_holds_every_key(name):
    path = Path(str(files("eventveil.configs") / name))
    values = read_yaml(path)
    settings = run_settings(values, name=name)
    assert set(keys_in(values)) == set(every_key(PipelineSettings))
    assert settings.line.delivery == ("live" if name == "live.yaml" else "lossless")
    assert settings.anonymize.allow_untrained is False
    assert settings.publish.bind.startswith("tcp://127.0.0.1:")


@pytest.mark.parametrize("name", READY)
def test_a_ready_configuration_explains_every_key_in_place(name):
    lines = Path(str(files("eventveil.configs") / name)).read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r"^ +(- )?\w+:", line)]
    assert len(keys) >= len(set(every_key(PipelineSettings)))
    assert [line for line in keys if "#" not in line] == []


def test_a_camera_whose_quiet_windows_miss_their_release_is_refused_in_live_delivery():
    def planned(delivery, quiet_ms):
        values = {"sources": [{"uri": "dv://", "camera": {"quiet_ms": quiet_ms}}], "line": {"delivery": delivery}}
        return plan(run_settings(values | {"anonymize": {"weights": str(shipped.NOISY_CHANNEL)}}, name="mine.yaml"))

    with pytest.raises(ConfigError, match=r"sources.0.camera.quiet_ms: .* 250 ms .* line.release_ms \(250\)"):
        planned("live", 250)
    assert not [remark for remark in planned("live", 249).remarks if "quiet" in remark]
    (remark,) = [one for one in planned("lossless", 250).remarks if "quiet" in one]
    assert remark.endswith("later than line.release_ms (250): arrival times show when nothing moves")
