"""Named tensors in one flat buffer and back, whatever their types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: Every tensor begins at a multiple of this, so that its bytes can be read as any type.
_ALIGNMENT = 16


def describe(tensors: Mapping[str, Tensor]) -> str:
    """Names, types and shapes as text, in their order.

    Example:
        >>> describe({"w": torch.zeros(2, 3)})
        '[["w", "float32", [2, 3]]]'
    """
    return json.dumps([[name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()])


def to_bytes(tensors: Mapping[str, Tensor]) -> Tensor:
    """The bits of some tensors in one buffer of bytes in main memory."""
    parts = [_padded(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)) for tensor in tensors.values()]
    return torch.cat([torch.empty(0, dtype=torch.uint8), *parts])


def num_bytes(description: str) -> int:
    """Length of the buffer of tensors that were described."""
    return sum(_size(dtype, shape) for _, dtype, shape in json.loads(description))


def from_bytes(description: str, buffer: Tensor) -> dict[str, Tensor]:
    """The tensors whose bits are in a buffer.

    Example:
        >>> tensors = {"n": torch.tensor(3), "w": torch.tensor([0.5])}
        >>> from_bytes(describe(tensors), to_bytes(tensors))
        {'n': tensor(3), 'w': tensor([0.5000])}
    """
    tensors, start = {}, 0
    for name, dtype, shape in json.loads(description):
        kind: torch.dtype = getattr(torch, dtype)
        length = _length(kind, shape)
        tensors[name] = buffer[start : start + length].clone().view(kind).reshape(shape)
        start += _size(dtype, shape)
    return tensors


def widened(tensors: Mapping[str, Tensor]) -> dict[torch.dtype, Tensor]:
    """The tensors in two flat buffers in main memory, floating ones as float64 and the others as int64, ready to be added up."""
    wide = {torch.float64: [torch.empty(0)], torch.int64: [torch.empty(0)]}
    for tensor in tensors.values():
        wide[_wide(tensor)].append(tensor.detach().cpu().reshape(-1))
    return {dtype: torch.cat([part.to(dtype) for part in parts]) for dtype, parts in wide.items()}


def narrowed(sums: Mapping[torch.dtype, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose sums are in two flat buffers, with the types, shapes and devices of others."""
    starts, tensors = dict.fromkeys(sums, 0), {}
    for name, tensor in like.items():
        dtype = _wide(tensor)
        part = sums[dtype][starts[dtype] : starts[dtype] + tensor.numel()]
        tensors[name] = part.reshape(tensor.shape).to(tensor.device, tensor.dtype)
        starts[dtype] += tensor.numel()
    return tensors


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.is_floating_point() else torch.int64


def _padded(part: Tensor) -> Tensor:
    return torch.nn.functional.pad(part, (0, -len(part) % _ALIGNMENT))


def _length(dtype: torch.dtype, shape: list[Any]) -> int:
    return torch.Size(shape).numel() * dtype.itemsize


def _size(dtype: str, shape: list[Any]) -> int:
    length = _length(getattr(torch, dtype), shape)
    return length + -length % _ALIGNMENT
