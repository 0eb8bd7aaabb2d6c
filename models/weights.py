"""Weights files: safetensors with our metadata under one key, and nothing that runs when it is read.

A file is trusted only as far as it can be checked: metadata by its pydantic model, every tensor by name, shape, type
and finite values, all of them together by the digest that the metadata holds.
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
from eventveil.models.metadata import FORMAT_VERSION, Digests, Metadata, first_finding

METADATA_KEY = "eventveil"


class _Versioned(BaseModel):
    """The one key that must stay readable in files of a later version, whatever else is in them."""

    format_version: int


@dataclass(frozen=True, slots=True)
class Weights:
    """A network ready to run.

    Attributes:
        model: in eval mode, float32, on the CPU.
        metadata: what the file says about it.
        digest: SHA-256 of its tensors, in hexadecimal; names these weights wherever they are used.
    """

    model: nn.Module
    metadata: Metadata
    digest: str


def save_weights(path: Path | str, model: nn.Module, metadata: Metadata) -> str:
    """Write a weights file in one step: it is there whole or not at all. Returns the digest of its tensors.

    Args:
        path: the file to write; an older one is replaced.
        model: one of the networks of `eventveil.models`.
        metadata: `Metadata.of(model, ...)`; the digest of the tensors is filled in here.

    Raises:
        WeightsError: metadata of another model, values that are not finite, or a file that cannot be written.
    """
    path = Path(path)
    if describe(model) != (metadata.kind, metadata.config):
        raise WeightsError(f"{path}: expected metadata of this {type(model).__name__}; make it with Metadata.of(model)")
    # A copy: a tensor that is a view, or channels_last, is not stored as it stands.
    tensors = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
               for name, tensor in model.state_dict().items()}  # fmt: skip
    _check_finite(path, tensors)
    digest = digest_of(tensors)
    digests = Digests(tensors=digest, certificate=metadata.digests.certificate)
    text = metadata.model_copy(update={"digests": digests}).model_dump_json()
    try:
        write_atomic(path, safetensors.torch.save(tensors, metadata={METADATA_KEY: text}))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error}); check folder and space") from error
    return digest


def load_weights(path: Path | str) -> Weights:
    """Read a weights file and build its network.

    Raises:
        WeightsError: the file is missing, is not one of ours, or does not hold what its metadata says; the message
            gives the path, what was expected, and what to do.
    """
    path = Path(path)
    with _open(path) as file:
        metadata = _parse_metadata(path, file.metadata())
        # A copy: the file may change under a tensor that is mapped into memory.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    # On "meta" nothing is allocated: a file that claims a network of any size costs no more than its own bytes.
    with torch.device("meta"):
        model = build(metadata.kind, metadata.config)
    check_tensors(path, model, tensors)
    digest = digest_of(tensors)
    if digest != metadata.digests.tensors:
        raise WeightsError(f"{path}: the tensors do not match the digest in the file; it is damaged, fetch it again")
    model.load_state_dict(tensors, assign=True)
    return Weights(model.eval().requires_grad_(False), metadata, digest)


def read_metadata(path: Path) -> Metadata:
    """Read what a weights file says about itself: the safetensors header alone, no tensor.

    Use it to learn the role, labels or window of a file. Values that are not finite, tensors of another network and a
    wrong digest are found only by `load_weights`.

    Raises:
        WeightsError: the file is missing, truncated or no safetensors file, or its metadata is absent, malformed or of
            a later version; the message is the one of `load_weights`.

    >>> from eventveil.models.shipped import ANONYMIZER
    >>> metadata = read_metadata(ANONYMIZER)
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
    """Refuse weights that cannot run in one line, before anything starts.

    The windows of both files, and of the line, must agree in representation, bins and size; in bin_us where both
    sides state it (weights made for whole recordings state none). The hop may differ: it moves windows, it does not
    change what is in one.

    Args:
        anonymizer: the weights that anonymize.
        classifier: the weights that classify, if any.
        representation: what the line is set to; None, here and below, where it follows the weights.
        bins: bins in a window of the line.
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
                f"the anonymizer takes windows of {key} {ours}, {other} has {theirs}; choose what was made for the same"
            )


def check_tensors(path: Path, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Hold tensors to a model: the same names, shapes and types, and finite values.

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
    """SHA-256 over name, type, shape and little-endian bytes of every tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _open(path: Path) -> Iterator[Any]:  # safetensors types none of its methods
    """Open a safetensors file. Its header is checked here: it must be well formed and account for every byte."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: expected a safetensors file, got something else or a part of one ({error}); "
            "bring a .pth file in with `eventveil weights import`"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _parse_metadata(path: Path, header: Mapping[str, str] | None) -> Metadata:
    text = (header or {}).get(METADATA_KEY)
    if text is None:
        raise WeightsError(
            f"{path}: a safetensors file without metadata of eventveil; "
            "make one with `eventveil weights import` or `eventveil weights init`"
        )
    try:
        version = _Versioned.model_validate_json(text).format_version
        if version > FORMAT_VERSION:
            raise WeightsError(
                f"{path}: weights format {version}, this eventveil knows {FORMAT_VERSION}; update eventveil"
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
