"""Configuration: merges a YAML file with `--set key=value` and validates every key.

Each error names the file, the key and the known keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from eventveil.errors import ConfigError
from eventveil.stream.settings.pipeline import PipelineSettings

Model = TypeVar("Model", bound=BaseModel)

_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Reads `on`, `off`, `yes` and `no` as words, as YAML 1.2 does: settings and camera biases have such names."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - a class attribute in PyYAML, too
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def packaged_configs(group: str = "") -> dict[str, Path]:
    """Return the configurations that the package contains, by name.

    Args:
        group: folder of configs/: `train`, `audit`, `presets`, `tables`, or empty for those of a pipeline.
    """
    folder = Path(str(files("eventveil.configs"))) / group
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_config(config: Path, *groups: str) -> Path:
    """Return the path of a configuration that is named on the command line.

    Args:
        config: a path, or the bare name of a configuration in the package; an existing file of that name wins.
        groups: where to look, as for `packaged_configs`; names differ between groups.

    Raises:
        ConfigError: a bare name is unknown.
    """
    if config.suffix or len(config.parts) != 1 or config.is_file():
        return config
    configs = {name: path for group in groups for name, path in packaged_configs(group).items()}
    if config.name not in configs:
        raise ConfigError(f"{config}: unknown configuration; expected {', '.join(configs)}, or a path to a YAML file")
    return configs[config.name]


def read_yaml(path: Path, model: type[BaseModel] = PipelineSettings) -> dict[str, Any]:
    """Read the keys and values of a YAML file.

    Args:
        path: the file.
        model: the settings whose keys are expected, for messages.

    Raises:
        ConfigError: the file cannot be read, or is not YAML with keys and values.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except Exception as error:  # not UTF-8, an invalid date, a tag that does not fit, an unclosed bracket
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values ({_known(model)}), got {type(values).__name__}")
    return values


def run_settings(values: Mapping[str, Any], overrides: Sequence[str] = (), *, name: str) -> PipelineSettings:
    """Validate the settings of a pipeline; arguments and errors as in `checked`."""
    return checked(PipelineSettings, values, overrides, name=name)


def checked(
    model: type[Model],
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    name: str,
    example: str = "line.delivery=live",
) -> Model:
    """Validate settings.

    Args:
        model: the type of the settings.
        values: keys and values, as read from a YAML file.
        overrides: `key.subkey=value`, the value in YAML; they win over `values`. A number picks an entry of a list:
            `sources.0.speed=max`.
        name: the origin of `values`, for messages.
        example: an override, for messages.

    Raises:
        ConfigError: a key is unknown, or a value is invalid.
    """
    tree = dict(values)
    for override in overrides:
        _set(tree, override, example)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(model, name, finding) for finding in error.errors())) from None


def _set(tree: dict[str, Any], override: str, example: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set: expected key=value, for example {example}, got {override!r}")
    try:
        value = yaml.load(text, _Loader)
    except Exception as error:  # as above
        raise ConfigError(f"--set {key}: the value is not YAML: {' '.join(str(error).split())}") from error
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        node = _step(node, parent, key)
    if isinstance(node, list):
        node[_index(node, last, key)] = value
    else:
        node[last] = value


def _step(node: Any, part: str, key: str) -> Any:
    """Go one level down, on a copy, so that the caller's values stay unchanged."""
    place: Any = _index(node, part, key) if isinstance(node, list) else part
    child = node[place] if isinstance(node, list) else node.get(part)
    child = {} if child is None else child
    if not isinstance(child, (dict, list)):
        raise ConfigError(f"--set {key}: {part!r} is a value, not a group of keys; leave out what follows")
    node[place] = child.copy()
    return node[place]


def _index(node: list[Any], part: str, key: str) -> int:
    if not part.isdecimal() or len(part) > 8 or int(part) >= len(node):
        raise ConfigError(f"--set {key}: expected a number from 0 to {len(node) - 1} in place of {part!r}")
    return int(part)


def _explain(root: type[BaseModel], name: str, finding: Any) -> str:
    """Describe an error of pydantic in one line: file, key, what is wrong, and the known keys."""
    place = finding["loc"]
    key = ".".join(str(part) for part in place)
    if finding["type"] == "extra_forbidden":
        return f"{name}: {key}: unknown key; known here: {_known(_model_at(root, place[:-1]))}"
    if finding["type"] == "missing" and isinstance(place[-1], str):
        return f"{name}: {key}: is missing; known here: {_known(_model_at(root, place[:-1]))}"
    if finding["type"] == "value_error":  # our own message, which contains the value
        return f"{name}: {key}: {finding['ctx']['error']}"
    value = "" if isinstance(finding["input"], (dict, list)) else f", got {finding['input']!r}"
    return f"{name}: {key}: {finding['msg']}{value}"


def _model_at(root: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel]:
    model = root
    for part in place:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
            model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return model


def _known(model: type[BaseModel]) -> str:
    return ", ".join(field.alias or name for name, field in model.model_fields.items())
