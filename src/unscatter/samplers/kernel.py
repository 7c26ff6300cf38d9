"""The compiled Rosenblatt map: `kernel.c` beside this file, see :mod:`unscatter.arrays.compiled`."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from unscatter.arrays import compiled
from unscatter.samplers.tables import Axis

#: More dimensions than in `kernel.c` run as PyTorch operations.
MAX_DIMENSIONS = 6

_SOURCE = Path(__file__).with_name("kernel.c")
_PRECISIONS = {torch.float32: (), torch.float64: ("-DDOUBLE",)}


class _Axis(ctypes.Structure):
    """`Axis` of `kernel.c`."""

    _fields_ = (
        ("nodes", ctypes.c_int64),
        ("position", ctypes.c_void_p),
        ("width", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("low", ctypes.c_double),
        ("high", ctypes.c_double),
        ("length", ctypes.c_double),
        ("step", ctypes.c_double),
    )


def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether the kernel can be used on this machine; the first call may take some seconds to build it for this precision."""
    return _load(dtype)[0] is not None


def why_not(dtype: torch.dtype = torch.float32) -> str:
    """Why :func:`available` is false, empty otherwise."""
    return _load(dtype)[1]


def suits(values: Tensor) -> bool:
    """Whether the kernel handles these node values: ``[samples, *nodes]`` on the CPU, six dimensions and two billion nodes at most."""
    return values.device.type == "cpu" and values.ndim - 1 <= MAX_DIMENSIONS and values[:1].numel() < 2**31


def forward(values: Tensor, scale: Tensor, uniforms: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """As :func:`unscatter.samplers.eager.forward`, for values that are divided by ``scale`` ``[samples]`` here."""
    out = torch.empty(uniforms.shape, dtype=values.dtype)
    _run("forward", axes, values, scale, uniforms, out)
    return out


def adjoint(values: Tensor, scale: Tensor, events: Tensor, gradient: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """As :func:`unscatter.samplers.eager.adjoint`, for values that are divided by ``scale`` ``[samples]`` here."""
    out = torch.empty(values.shape, dtype=values.dtype)
    _run("adjoint", axes, values, scale, events, gradient, out)
    return out


def _run(name: str, axes: tuple[Axis, ...], values: Tensor, scale: Tensor, events: Tensor, *others: Tensor) -> None:
    library, reason = _load(values.dtype)
    assert library is not None, reason
    # The list keeps contiguous copies alive until the call is over.
    tensors = [tensor.contiguous() for tensor in (values, scale, events, *others)]
    sizes = ctypes.c_int64(values.shape[0]), ctypes.c_int64(events.shape[1]), ctypes.c_int(len(axes))
    if getattr(library, name)(*sizes, _structures(axes), *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)):
        raise MemoryError(f"no memory for the tables of a density with {values[:1].numel()} nodes.")


@lru_cache(maxsize=64)
def _structures(axes: tuple[Axis, ...]) -> ctypes.Array[_Axis]:
    filled = [
        _Axis(a.num_nodes, a.nodes.data_ptr(), a.widths.data_ptr(), a.weights.data_ptr(), a.low, a.high, a.length, a.step) for a in axes
    ]  # fmt: skip
    return (_Axis * len(axes))(*filled)


@lru_cache
def _load(dtype: torch.dtype) -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and the reason."""
    return compiled.load(_SOURCE, *_PRECISIONS[dtype], without="The sampler runs as PyTorch operations instead, several times slower.")
