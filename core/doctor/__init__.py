"""Looks at a machine and says what is in the way of a line: one finding each, green, amber or red, with its remedy.

Red: a line will not run as asked. Amber: it will, with something missing or slower. Each look is on its own, and one
that fails is a finding too: whoever calls a doctor is not served by a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventveil.doctor import machine, pipeline
from eventveil.doctor.finding import Finding
from eventveil.stream.settings import PipelineSettings

LOOKS = (*machine.LOOKS, *pipeline.LOOKS)


def examine(settings: PipelineSettings) -> Iterator[Finding]:
    """Look at everything that a line with these settings needs, one finding at a time."""
    for look in LOOKS:
        try:
            yield from look(settings)
        except Exception as error:
            about = look.__name__.strip("_").replace("_", " ")
            yield Finding(about, "amber", f"could not be looked at ({type(error).__name__})", "look at it yourself")
