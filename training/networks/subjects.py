"""The subjects of attacks, by name: the trained anonymizer, raw windows, or a rule-based anonymizer.

`anonymizer`, `raw`, `gaussian:2` (standard deviation, events), `scramble`, `scramble:0.75` (share, also polarities),
`discard:0.75` (share), `pixelate:4` (pixels), `polarity`. With voxel grids, the two of Du et al. that take a share
change events before they are binned, see `training.data.event_rules`.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from eventveil.errors import ConfigError
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.training.networks import baselines

ANONYMIZER = "anonymizer"
RAW = "raw"
ONLY_COUNTS = ("discard", "polarity")  # rules that are meaningless on voxel grids
_WITH_NUMBER: dict[str, Callable[[float], AnonymizerNetwork]] = {
    "gaussian": baselines.Gaussian,
    "discard": baselines.Discard,
    "scramble": baselines.ScrambleEvents,
    "pixelate": lambda size: baselines.Pixelate(size),  # type: ignore[arg-type]  # pydantic checks that it is whole
}
_ALONE: dict[str, Callable[[], AnonymizerNetwork]] = {
    RAW: baselines.Unchanged,
    "scramble": baselines.Scramble,
    "polarity": baselines.PolarityDrop,
}


def baseline(name: str) -> AnonymizerNetwork:
    """Build the rule-based anonymizer of this name.

    Raises:
        ConfigError: there is no such rule, or its number is missing or out of range.
    """
    kind, colon, number = name.partition(":")
    try:
        if kind in _ALONE and not colon:
            return _ALONE[kind]()
        if kind in _WITH_NUMBER and colon:
            return _WITH_NUMBER[kind](float(number))
    except (ValueError, ValidationError):
        raise ConfigError(f"attack.against: {name!r}: the number of {kind} is out of range") from None
    known = [ANONYMIZER, *_ALONE, *(f"{kind}:NUMBER" for kind in _WITH_NUMBER)]
    raise ConfigError(f"attack.against: expected {', '.join(known)}, got {name!r}")


def folder_of(name: str) -> str:
    """Return the folder name of a subject."""
    return name.replace(":", "-")
