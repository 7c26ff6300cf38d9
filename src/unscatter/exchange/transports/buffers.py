"""Passes over flat buffers in main memory that add up what they write.

Compiled where there is a C compiler, see `buffers.c`; as PyTorch operations otherwise, in pieces that stay in the cache, so that a
buffer of millions of numbers passes through it once.  In the training thread, whose caches are cold after a step, an operation of PyTorch
takes as long as copying ten thousand numbers.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.arrays import compiled

#: Numbers per piece of a sum or copy: 1 MB of float32 stays in a core's cache between being copied and being added up.
PIECE = 2**18

_SOURCE = Path(__file__).with_name("buffers.c")
_NAMES = {torch.float32: "float", torch.float64: "double"}


def payload_sum(payload: Tensor) -> float:
    """Sum of a flat payload for :attr:`Header.check`, in double precision.

    Example:
        >>> payload_sum(torch.arange(5.0))
        10.0
    """
    kernels = _kernels_for(payload)
    return payload_sum_by_torch(payload) if kernels is None else kernels.sum(payload.data_ptr(), payload.numel())


def copy(source: Tensor, into: Tensor) -> None:
    """Copy a flat buffer.

    Example:
        >>> target = torch.zeros(2)
        >>> copy(torch.tensor([1.0, 2.0]), target)
        >>> target
        tensor([1., 2.])
    """
    assert source.nbytes == into.nbytes, "buffers of different sizes"
    if source.is_cpu and source.is_contiguous() and into.is_cpu and into.is_contiguous():
        ctypes.memmove(into.data_ptr(), source.data_ptr(), into.nbytes)
    else:
        into.copy_(source)


def copy_and_sum(source: Tensor, into: Tensor) -> float:
    """Copy a flat buffer and return its :func:`payload_sum`, in one pass over the memory.

    Args:
        source: what is copied.
        into: where it goes; of the same size and type.

    Example:
        >>> source, target = torch.arange(5.0), torch.zeros(5)
        >>> copy_and_sum(source, target), target
        (10.0, tensor([0., 1., 2., 3., 4.]))
    """
    assert source.numel() == into.numel(), "buffers of different sizes"
    kernels = _kernels_for(source, into)
    if kernels is None:
        return copy_and_sum_by_torch(source, into)
    return kernels.copy_and_sum(source.data_ptr(), into.data_ptr(), into.numel())


def blend_(own: Tensor, other: Tensor, share: float) -> float:
    r"""Replace :math:`a` by :math:`(1 - s)\,a + s\,b` and return the sum of the result.

    Args:
        own: :math:`a`, flat; changed in place.
        other: :math:`b`, flat; with a share of one :math:`a` does not matter, even where it is not finite.
        share: :math:`s`.

    Example:
        >>> own = torch.tensor([0.0, 2.0])
        >>> blend_(own, torch.tensor([4.0, 2.0]), 0.25), own
        (3.0, tensor([1., 2.]))
    """
    if share == 1.0:
        return copy_and_sum(other, own)
    assert own.numel() == other.numel(), "buffers of different sizes"
    kernels = _kernels_for(own, other)
    return blend_by_torch_(own, other, share) if kernels is None else kernels.blend(own.data_ptr(), other.data_ptr(), share, own.numel())


def payload_sum_by_torch(payload: Tensor) -> float:
    """:func:`payload_sum` without a compiler: float32 within pieces, float64 over them."""
    return math.fsum(float(piece.sum()) for piece in payload.split(PIECE))


def copy_and_sum_by_torch(source: Tensor, into: Tensor) -> float:
    """:func:`copy_and_sum` without a compiler."""
    return math.fsum(float(b.copy_(a).sum()) for a, b in zip(source.split(PIECE), into.split(PIECE), strict=True))


def blend_by_torch_(own: Tensor, other: Tensor, share: float) -> float:
    """:func:`blend_` without a compiler."""
    return math.fsum(float(a.lerp_(b, share).sum()) for a, b in zip(own.split(PIECE), other.split(PIECE), strict=True))


class _Kernels(NamedTuple):
    """The functions of `buffers.c` for one type; they take addresses and sizes."""

    sum: Callable[[int, int], float]
    copy_and_sum: Callable[[int, int, int], float]
    blend: Callable[[int, int, float, int], float]


def _kernels_for(*buffers: Tensor) -> _Kernels | None:
    """The compiled functions, where there are any for buffers like these."""
    dtype = buffers[0].dtype
    for buffer in buffers:
        if buffer.dtype is not dtype or not (buffer.is_cpu and buffer.is_contiguous()):
            return None
    return _kernels(dtype)


@lru_cache
def _kernels(dtype: torch.dtype) -> _Kernels | None:
    library = _library() if dtype in _NAMES else None
    if library is None:
        return None
    address, size, share = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    arguments = {"sum": (address, size), "copy_and_sum": (address, address, size), "blend": (address, address, share, size)}
    functions = {name: getattr(library, f"{name}_{_NAMES[dtype]}") for name in arguments}
    for name, function in functions.items():
        function.argtypes, function.restype = arguments[name], ctypes.c_double
    return _Kernels(**functions)


@lru_cache
def _library() -> ctypes.CDLL | None:
    return compiled.load(_SOURCE, without="Ranks average their weights by PyTorch operations instead, which takes longer.")[0]
