"""The base class of all settings, from YAML files and the command line, and the error of settings in one line."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Immutable settings; an unknown key and a number that is not finite are errors.

    A key that is a word of Python, such as `from`, is the alias of its attribute, and is written as the alias.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True)


def first_finding(error: ValidationError) -> str:
    """Return the first of pydantic's errors in one line."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
