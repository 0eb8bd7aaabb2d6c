"""Options that choose the networks of a pipeline, shared by `run` and `anonymize`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventveil.errors import ConfigError

if TYPE_CHECKING:
    from eventveil.stream.settings.pipeline import PipelineSettings

CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        metavar="FILE",
        help="Audit certificate of the anonymizer [certificate.json in the folder of its weights].",
    ),
]
UntrainedOption = Annotated[
    bool,
    typer.Option(
        "--allow-untrained", help="Accept untrained weights, which protect no one; every message header says so."
    ),
]


def with_networks(
    settings: PipelineSettings,
    weights: list[Path],
    wait_for: int | None,
    anonymizer: dict[str, Any],
) -> PipelineSettings:
    """Return the settings with the other options, each weights file in the group of its role.

    `anonymizer` holds options of the anonymizer; None leaves a setting as it is.
    """
    from eventveil.models import shipped
    from eventveil.models.header import read_metadata

    groups = {"anonymizer": "anonymize", "target": "classify"}
    changes: dict[str, Any] = {}
    for path in chain.from_iterable(map(shipped.files_of, weights)):
        role = read_metadata(path).role
        if role not in groups:
            raise ConfigError(
                f"--weights {path}: a pipeline runs an anonymizer and a classifier of gestures (role target), and this "
                f"file is for the role {role}; choose another file"
            )
        if groups[role] in changes:
            raise ConfigError(f"--weights {path}: a second {role}; give one anonymizer and one classifier")
        changes[groups[role]] = getattr(settings, groups[role]).model_copy(update={"weights": path})
    anonymize = changes.get("anonymize", settings.anonymize)
    changes["anonymize"] = anonymize.model_copy(
        update={key: value for key, value in anonymizer.items() if value is not None}
    )
    if wait_for is not None:
        changes["publish"] = settings.publish.model_copy(update={"wait_for": wait_for})
    return settings.model_copy(update=changes)
