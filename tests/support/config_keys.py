"""The keys of settings, and of files that set them."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel


def every_key(model, prefix=""):
    """Yield every key of a settings class, with the keys that it lies in, as in `data.root`."""
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        yield from every_key(models[0], f"{prefix}{name}.") if models else [f"{prefix}{field.alias or name}"]


def keys_in(content, prefix=""):
    """Yield every key of a parsed YAML file in the same form; of a list of groups, those of the first."""
    for name, value in content.items():
        group = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        yield from keys_in(group, f"{prefix}{name}.") if isinstance(group, dict) and group else [f"{prefix}{name}"]
