"""Checkpoints: tensors and plain values in one checked file, no pickled code.

A checkpoint is a safetensors file.  Its metadata hold the kind and the version of the format, the plain values as JSON, and the SHA-256 of
everything.  Complex tensors, which the format does not know in every precision, are stored as pairs of real numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unscatter.errors import CheckpointError, first_line
from unscatter.files import atomic_write

KIND = "unscatter-checkpoint"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a run needs to go on.

    Args:
        step: number of steps that are done.
        tensors: by name, on the CPU.
        scalars: plain values (numbers, texts, None, lists and mappings of them) by name.
        path: the file that it came from.
    """

    step: int
    tensors: dict[str, Tensor]
    scalars: dict[str, Any]
    path: Path


def write_checkpoint(path: Path, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
    """Write a checkpoint in one piece, see :func:`~unscatter.files.atomic_write`.

    Args:
        path: the new file.
        step: number of steps that are done.
        tensors: of any type, shape and device; read back bit for bit.
        scalars: plain values; tuples are read back as lists, floats bit for bit.

    Raises:
        RunError: the file cannot be written.
        TypeError: a value is not plain.
    """
    plain = json.dumps({"step": step, "scalars": dict(scalars)})
    complex_names = sorted(name for name, tensor in tensors.items() if tensor.is_complex())
    stored = {name: _storable(tensor) for name, tensor in tensors.items()}
    metadata = {"kind": KIND, "version": str(FORMAT_VERSION), "plain": plain, "complex": json.dumps(complex_names)}
    content = save(stored, metadata | {"sha256": _digest(stored, metadata)})
    with atomic_write(path) as file:
        file.write(content)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        CheckpointError: the file is missing, cut short, damaged, of another version or not a checkpoint.
    """
    metadata, stored = _read_file(path)
    if metadata.get("kind") != KIND:
        raise CheckpointError(f"'{path}' is not a checkpoint of unscatter.")
    version = metadata.get("version")
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"the checkpoint '{path}' has the format version {version}, but this unscatter reads version {FORMAT_VERSION}.\n"
            "Use the version of unscatter that wrote it; provenance.json beside it names that."
        )
    claimed = metadata.pop("sha256", None)
    if claimed != _digest(stored, metadata):
        raise CheckpointError(f"the checkpoint '{path}' is damaged: its content does not have the checksum that was written with it.")
    plain = json.loads(metadata["plain"])
    for name in json.loads(metadata["complex"]):
        stored[name] = torch.view_as_complex(stored[name])
    return Checkpoint(plain["step"], stored, plain["scalars"], path)


def _storable(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares no memory, with complex numbers as pairs."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).clone(memory_format=torch.contiguous_format)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, and over the metadata."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_file(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            # Cloned, since a mapped file that changes later would change the tensors.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return dict(file.metadata() or {}), tensors
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint '{path}'.") from error
    except (SafetensorError, OSError, ValueError) as error:
        cause = first_line(error)
        raise CheckpointError(f"the checkpoint '{path}' is damaged or cut short ({_size(path)}): {cause}.") from error


def _size(path: Path) -> str:
    return f"{path.stat().st_size} bytes" if path.is_file() else "not a file"
