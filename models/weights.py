"""Weights files: safetensors with metadata under one key; reading them runs no code.

Tensors are float32, or float16 to halve the file; networks run in float32 either way. Everything in a file is checked:
the metadata by its pydantic model, every tensor by name, shape, type and finite values, and all tensors together by the
digest in the metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from eventveil.errors import WeightsError
from eventveil.host.files import write_atomic
from eventveil.models.header import METADATA_KEY, open_file, parse_metadata
from eventveil.models.kinds import build, describe
from eventveil.models.metadata import Digests, Metadata


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


def save_weights(
    path: Path | str, model: nn.Module, metadata: Metadata, *, replace: bool = True, half: bool = False
) -> str:
    """Write a weights file atomically: a complete file or none. Only its owner can read it.

    Args:
        path: the file to write.
        model: one of the networks of `eventveil.models`.
        metadata: `Metadata.of(model, ...)`; the digest of the tensors is filled in here.
        replace: whether an existing file may be replaced.
        half: round float32 to float16, for half the size. Other values are other weights, with another digest.

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
    if half:
        tensors = {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in tensors.items()}
    _check_finite(path, tensors)
    digests = Digests(tensors=digest_of(tensors), certificate=metadata.digests.certificate)
    metadata = metadata.model_copy(update={"digests": digests})
    content = safetensors.torch.save(tensors, metadata={METADATA_KEY: metadata.model_dump_json()})
    try:
        write_atomic(path, content, replace=replace)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and free space"
        ) from error
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
    with open_file(path, "pt") as file:
        metadata = parse_metadata(path, file.metadata())
        # A copy: a memory-mapped tensor would change with its file.
        stored = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    tensors = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in stored.items()}
    # The "meta" device allocates nothing, so a file that claims a huge network costs no more than its own bytes.
    with torch.device("meta"):
        model = build(metadata.kind, metadata.config)
    check_tensors(path, model, tensors)
    if digest_of(stored) != metadata.digests.tensors:
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
        raise WeightsError(f"{path}: the file has changed since the pipeline checked it; start again")
    return weights


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


def _check_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: tensor {name} holds values that are not finite; train or fetch it again")
