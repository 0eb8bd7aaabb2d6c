"""The header of a weights file: its metadata, checked, without its tensors and without torch.

A pipeline is planned from headers alone. The process that runs a network reads its tensors, verifies them against the
digest in the header, and is not ready before: nothing is published of a file whose tensors are others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from eventveil.errors import WeightsError
from eventveil.models.kinds import Representation, parse_config
from eventveil.models.metadata import FORMAT_VERSION, Metadata
from eventveil.settings import first_finding

METADATA_KEY = "eventveil"


class _Versioned(BaseModel):
    """The one key that must stay readable in files of all later versions."""

    format_version: int


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of a weights file from its safetensors header, without reading a tensor.

    Use it for the role, labels or window of a file. Only `load_weights` detects values that are not finite, tensors of
    another network and a wrong digest.

    Args:
        path: a file written by `save_weights`.

    Raises:
        WeightsError: the file is missing, truncated or not a safetensors file, or its metadata is absent, malformed or
            of a later version; with the message of `load_weights`.

    >>> from eventveil.models.shipped import NOISY_CHANNEL
    >>> metadata = read_metadata(NOISY_CHANNEL)
    >>> metadata.kind, metadata.role, metadata.window_shape
    ('noisy_channel', 'anonymizer', (10, 2, 32, 32))
    """
    with open_file(path, "np") as file:
        return parse_metadata(path, file.metadata())


def check_fit(
    anonymizer: Metadata,
    classifier: Metadata | None = None,
    *,
    representation: Representation | None = None,
    bins: int | None = None,
    bin_us: int | None = None,
    size: tuple[int, int] | None = None,
) -> None:
    """Check that weights can run together in one pipeline, before anything starts.

    The windows of both files and of the pipeline must agree in representation, bins and size, and in bin_us where
    both state it (weights for whole recordings do not). The hop may differ: it moves windows, but does not change
    their content.

    Args:
        anonymizer: metadata of the anonymizer.
        classifier: metadata of the classifier, if any.
        representation: setting of the pipeline; None, here and below, where it follows the weights.
        bins: bins in a window of the pipeline.
        bin_us: length of its bins, microseconds.
        size: width and height of its windows, pixels.

    Raises:
        WeightsError: a role is wrong, or windows differ; the message names the key and both values.
    """
    if anonymizer.role != "anonymizer":
        raise WeightsError(f"expected weights of an anonymizer, got {anonymizer.role}; choose another file")
    if classifier is not None:
        if classifier.role != "target":
            raise WeightsError(f"expected weights for a target, got {classifier.role}; choose another file")
        _agree(anonymizer, "the classifier", classifier.model_dump())
    _agree(anonymizer, "the pipeline", {"representation": representation, "bins": bins, "bin_us": bin_us, "size": size})


def _agree(anonymizer: Metadata, other: str, window: dict[str, Any]) -> None:
    for key in ("representation", "bins", "bin_us", "size"):
        ours, theirs = getattr(anonymizer, key), window[key]
        if ours is not None and theirs is not None and ours != theirs:
            raise WeightsError(
                f"the anonymizer takes windows of {key} {ours}, {other} has {theirs}; choose weights that agree"
            )


@contextmanager
def open_file(path: Path, framework: Literal["np", "pt"]) -> Iterator[Any]:  # safetensors types none of its methods
    """Open a safetensors file, whose header must be well formed and account for every byte."""
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: expected a safetensors file, got another or an incomplete file ({error}); "
            "import a .pth file with `eventveil weights import`"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def parse_metadata(path: Path, header: Mapping[str, str] | None) -> Metadata:
    """Check and return the metadata in the header of a safetensors file.

    Raises:
        WeightsError: they are absent, malformed, of a later version, or without the digest of the tensors.
    """
    text = (header or {}).get(METADATA_KEY)
    if text is None:
        raise WeightsError(
            f"{path}: a safetensors file without metadata of eventveil; "
            "give --weights shipped, or a file made with `eventveil weights import` or `eventveil train`"
        )
    try:
        version = _Versioned.model_validate_json(text).format_version
        if version > FORMAT_VERSION:
            raise WeightsError(
                f"{path}: weights format {version}, this eventveil reads {FORMAT_VERSION}; update eventveil"
            )
        metadata = Metadata.model_validate_json(text)
    except ValidationError as error:
        raise WeightsError(f"{path}: metadata: {first_finding(error)}; write the file again") from error
    try:
        parse_config(metadata.kind, metadata.config)
    except ValidationError as error:
        raise WeightsError(
            f"{path}: config of {metadata.kind}: {first_finding(error)}; write the file again"
        ) from error
    if metadata.digests.tensors is None:
        raise WeightsError(f"{path}: metadata without the digest of the tensors; write the file again")
    return metadata
