"""Weights files: safetensors with metadata under one key; reading them runs no code.

Everything in a file is checked: the metadata by its pydantic model, every tensor by name, shape, type and finite
values, and all tensors together by the digest in the metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from eventveil.errors import WeightsError
from eventveil.files import write_atomic
from eventveil.models.kinds import Representation, build, describe, parse_config
from eventveil.models.metadata import FORMAT_VERSION, Digests, Metadata
from eventveil.settings import first_finding

METADATA_KEY = "eventveil"


class _Versioned(BaseModel):
    """The one key that must stay readable in files of later versions, whatever else they hold."""

    format_version: int


@dataclass(frozen=True, slots=True)
class Weights:
    """A network ready to run.

    Attributes:
        model: in eval mode, float32, on the CPU.
        metadata: the metadata of the file.
        digest: `metadata.identity`, which identifies these weights everywhere.
    """

    model: nn.Module
    metadata: Metadata
    digest: str


def save_weights(path: Path | str, model: nn.Module, metadata: Metadata, *, replace: bool = True) -> str:
    """Write a weights file atomically: a complete file or none. Only its owner can read it.

    Args:
        path: the file to write.
        model: one of the networks of `eventveil.models`.
        metadata: `Metadata.of(model, ...)`; the digest of the tensors is filled in here.
        replace: whether an existing file may be replaced.

    Returns:
        The digest of the weights, `Metadata.identity`.

    Raises:
        WeightsError: the metadata describes another model, values are not finite, or the file cannot be written.

    >>> import tempfile
    >>> from eventveil.models.kinds import initialise
    >>> model = initialise("denoiser", {"channels": 4, "width": 4, "layers": 2}, seed=1)
    >>> metadata = Metadata.of(model, role="denoiser", trained=False, bins=2, bin_us=1000, hop=2, size=(16, 12))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     digest = save_weights(Path(folder, "denoiser.safetensors"), model, metadata)
    ...     weights = load_weights(Path(folder, "denoiser.safetensors"))
    >>> len(digest), weights.digest == digest, weights.metadata.window_shape
    (64, True, (2, 2, 12, 16))
    """
    path = Path(path)
    if describe(model) != (metadata.kind, metadata.config):
        raise WeightsError(f"{path}: expected metadata of this {type(model).__name__}; make it with Metadata.of(model)")
    # A copy: safetensors does not store views or channels_last tensors as they are.
    tensors = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
               for name, tensor in model.state_dict().items()}  # fmt: skip
    _check_finite(path, tensors)
    digests = Digests(tensors=digest_of(tensors), certificate=metadata.digests.certificate)
    metadata = metadata.model_copy(update={"digests": digests})
    content = safetensors.torch.save(tensors, metadata={METADATA_KEY: metadata.model_dump_json()})
    try:
        write_atomic(path, content, replace=replace)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error}); check folder and space") from error
    return metadata.identity


def load_weights(path: Path | str) -> Weights:
    """Read a weights file and build its network.

    Args:
        path: a file written by `save_weights`.

    Returns:
        The network on the CPU, in eval mode and frozen, with the metadata and digest of the file.

    Raises:
        WeightsError: the file is missing, damaged or not a weights file of eventveil, or its tensors do not match its
            metadata; the message gives the path, the expected content and a remedy.

    >>> from eventveil.models.shipped import NOISY_CHANNEL
    >>> weights = load_weights(NOISY_CHANNEL)
    >>> type(weights.model).__name__, weights.model.training, weights.metadata.role
    ('NoisyChannel', False, 'anonymizer')
    >>> weights.digest == weights.metadata.identity
    True
    >>> load_weights("gone.st")
    Traceback (most recent call last):
        ...
    eventveil.errors.WeightsError: gone.st: cannot be read (No such file or directory: gone.st); check the path
    """
    path = Path(path)
    with _open(path) as file:
        metadata = _parse_metadata(path, file.metadata())
        # A copy: a memory-mapped tensor would change with its file.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    # The "meta" device allocates nothing, so a file that claims a huge network costs no more than its own bytes.
    with torch.device("meta"):
        model = build(metadata.kind, metadata.config)
    check_tensors(path, model, tensors)
    if digest_of(tensors) != metadata.digests.tensors:
        raise WeightsError(f"{path}: the tensors do not match the digest in the file; it is damaged, fetch it again")
    model.load_state_dict(tensors, assign=True)
    return Weights(model.eval().requires_grad_(False), metadata, metadata.identity)


def load_same(path: Path, digest: str | None) -> Weights:
    """Load weights once more, in the process that runs them.

    Raises:
        WeightsError: as for `load_weights`, or they no longer have this digest.
    """
    weights = load_weights(path)
    if weights.digest != digest:
        raise WeightsError(f"{path}: the file has changed since the line was checked; start again")
    return weights


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
    with _open(path) as file:
        return _parse_metadata(path, file.metadata())


def check_fit(
    anonymizer: Weights,
    classifier: Weights | None = None,
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
        anonymizer: the weights of the anonymizer.
        classifier: the weights of the classifier, if any.
        representation: setting of the pipeline; None, here and below, where it follows the weights.
        bins: bins in a window of the pipeline.
        bin_us: length of its bins, microseconds.
        size: width and height of its windows, pixels.

    Raises:
        WeightsError: a role is wrong, or windows differ; the message names the key and both values.
    """
    if anonymizer.metadata.role != "anonymizer":
        raise WeightsError(f"expected weights of an anonymizer, got {anonymizer.metadata.role}; choose another file")
    if classifier is not None:
        if classifier.metadata.role != "target":
            raise WeightsError(f"expected weights for a target, got {classifier.metadata.role}; choose another file")
        _agree(anonymizer, "the classifier", classifier.metadata.model_dump())
    _agree(anonymizer, "the line", {"representation": representation, "bins": bins, "bin_us": bin_us, "size": size})


def _agree(anonymizer: Weights, other: str, window: dict[str, Any]) -> None:
    for key in ("representation", "bins", "bin_us", "size"):
        ours, theirs = getattr(anonymizer.metadata, key), window[key]
        if ours is not None and theirs is not None and ours != theirs:
            raise WeightsError(
                f"the anonymizer takes windows of {key} {ours}, {other} has {theirs}; choose weights that agree"
            )


def check_tensors(path: Path, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Check that tensors have the names, shapes and types of a model, and finite values.

    Raises:
        WeightsError: the first difference, by name.
    """
    expected = model.state_dict()
    for words, names in (("is missing", expected.keys() - tensors.keys()), ("is unknown", tensors.keys() - expected)):
        if names:
            raise WeightsError(
                f"{path}: tensor {min(names)} {words} ({len(names)} in all) for {type(model).__name__}; "
                "the file is of another network"
            )
    for name, tensor in tensors.items():
        want = expected[name]
        if tensor.shape != want.shape or tensor.dtype != want.dtype:
            raise WeightsError(
                f"{path}: tensor {name} should be {want.dtype} {tuple(want.shape)} for {type(model).__name__}, "
                f"got {tensor.dtype} {tuple(tensor.shape)}; the file is of another network"
            )
    _check_finite(path, tensors)


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of the name, type, shape and little-endian bytes of every tensor, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _open(path: Path) -> Iterator[Any]:  # safetensors types none of its methods
    """Open a safetensors file, whose header must be well formed and account for every byte."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: expected a safetensors file, got something else or a part of one ({error}); "
            "import a .pth file with `eventveil weights import`"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _parse_metadata(path: Path, header: Mapping[str, str] | None) -> Metadata:
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


def _check_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: tensor {name} holds values that are not finite; train or fetch it again")
