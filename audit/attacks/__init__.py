"""The attacks: one module for each family. To add one, write a module with `jobs` and `collect` and list it here."""

from __future__ import annotations

from eventveil.audit.attacks import (
    attributes,
    averaging,
    before_after,
    conditions,
    faces,
    gestures,
    identity,
    information,
    inversion,
    messages,
    nearest,
    noise_replay,
    reconstruction,
    selftest,
    statistics,
    utility,
    white_box,
)
from eventveil.audit.attacks.base import AttackFamily

FAMILIES: tuple[AttackFamily, ...] = (
    identity,
    nearest,
    statistics,
    white_box,
    conditions,
    gestures,
    messages,
    averaging,
    utility,
    inversion,
    reconstruction,
    faces,
    before_after,
    noise_replay,
    attributes,
    information,
    selftest,
)
"""In the order in which their jobs begin and their attacks are reported."""
