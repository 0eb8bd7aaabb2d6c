"""Configuration: a YAML file and `--set key=value`, checked key by key, into the settings of the rooms.

A mistake names the file, the key and what is known there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from eventveil.errors import ConfigError
from eventveil.stream.settings import PipelineSettings

Model = TypeVar("Model", bound=BaseModel)

_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Takes `on`, `off`, `yes` and `no` for words, as YAML 1.2 does: settings and biases of cameras are called so."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_yaml(path: Path, model: type[BaseModel] = PipelineSettings) -> dict[str, Any]:
    """Read the keys and values of a YAML file.

    Args:
        path: the file.
        model: whose keys are expected, for messages.

    Raises:
        ConfigError: the file cannot be read, or is not YAML with keys and values.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # not UTF-8, a date that is none, a tag that does not fit, brackets without end
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values ({_known(model)}), got {type(values).__name__}")
    return values


def run_settings(values: Mapping[str, Any], overrides: Sequence[str] = (), *, name: str) -> PipelineSettings:
    """Check the settings of a line; arguments and errors as in `checked`."""
    return checked(PipelineSettings, values, overrides, name=name)


def checked(
    model: type[Model],
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    name: str,
    example: str = "line.delivery=live",
) -> Model:
    """Check settings.

    Args:
        model: what they are settings of.
        values: as a YAML file holds them.
        overrides: `key.subkey=value`, the value in YAML; they win over `values`. A number picks an entry of a list:
            `sources.0.speed=max`.
        name: of where they come from, for messages.
        example: of an override, for messages.

    Raises:
        ConfigError: a key or a value is not known.
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
    """Go one level down, on a copy, so that the caller's values stay as they are."""
    place: Any = _index(node, part, key) if isinstance(node, list) else part
    below = node[place] if isinstance(node, list) else node.get(part)
    below = {} if below is None else below
    if not isinstance(below, (dict, list)):
        raise ConfigError(f"--set {key}: {part!r} is a value, not a group of keys")
    node[place] = below.copy()
    return node[place]


def _index(node: list[Any], part: str, key: str) -> int:
    if not part.isdecimal() or len(part) > 8 or int(part) >= len(node):
        raise ConfigError(f"--set {key}: expected a number from 0 to {len(node) - 1} in place of {part!r}")
    return int(part)


def _explain(root: type[BaseModel], name: str, finding: Any) -> str:
    """One line for one finding of pydantic: file, key, what is wrong, what is known."""
    place = finding["loc"]
    key = ".".join(str(part) for part in place)
    if finding["type"] == "extra_forbidden":
        return f"{name}: {key}: unknown key; known here: {_known(_model_at(root, place[:-1]))}"
    if finding["type"] == "missing" and isinstance(place[-1], str):
        return f"{name}: {key}: is missing; known here: {_known(_model_at(root, place[:-1]))}"
    if finding["type"] == "value_error":  # our own words, which tell what came
        return f"{name}: {key}: {finding['ctx']['error']}"
    came = "" if isinstance(finding["input"], (dict, list)) else f", got {finding['input']!r}"
    return f"{name}: {key}: {finding['msg']}{came}"


def _model_at(root: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel]:
    model = root
    for part in place:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
            model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return model


def _known(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)
