"""JSON that can be read in one way only: what two parsers could understand differently is refused."""

from __future__ import annotations

import json
from typing import Any, Never, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Model = TypeVar("Model", bound="StrictModel")


class StrictModel(BaseModel):
    """Base of models for signed data: immutable, no unknown key, no conversion of types, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def parse(model: type[Model], content: bytes) -> Model:
    """Parse UTF-8 bytes as JSON and check them against a model.

    Raises:
        ValueError: they are not UTF-8 or not JSON, a key occurs twice, or a value is missing, unknown, or of another
            type than the model's. The message says where, and what was expected.
    """
    try:
        values = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ValueError("bytes that are not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error}") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    try:
        # As text once more: from JSON, and not from Python values, strict models take a list as a tuple.
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        finding = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in finding["loc"]) or "JSON"
        raise ValueError(f"{place}: {finding['msg']}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return values


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a number in JSON")
