"""Checks a machine for problems that would stop or slow a pipeline; each finding is green, amber or red, with a remedy.

Red: the pipeline will not run as configured. Amber: it will run, with something missing or slower. The checks are
independent, and a check that fails is a finding, too, not a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventveil.doctor import machine, pipeline
from eventveil.doctor.finding import Finding
from eventveil.stream.settings.pipeline import PipelineSettings

CHECKS = (*machine.CHECKS, *pipeline.CHECKS)


def examine(settings: PipelineSettings) -> Iterator[Finding]:
    """Check everything that a pipeline with these settings needs, and yield the findings as they come."""
    for check in CHECKS:
        try:
            yield from check(settings)
        except Exception as error:  # its type only: a message might quote values
            about = check.__name__.strip("_").replace("_", " ")
            yield Finding(about, "amber", f"could not be checked ({type(error).__name__})", "check it manually")
