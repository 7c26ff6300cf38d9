"""The compiled Rosenblatt map: built by the machine's C compiler at first use, kept in the user's cache directory.

The source is `kernel.c` beside this file.  It needs no headers but those of C, so that any compiler will do and the build takes a second.
Processes that build at the same time each write a file of their own and rename it: the last one wins, all are the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from unscatter.samplers.tables import Axis

#: More dimensions than in `kernel.c` run as PyTorch operations.
MAX_DIMENSIONS = 6

_SOURCE = Path(__file__).with_name("kernel.c")
_FLAGS = ("-O2", "-ftree-vectorize", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
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
    compiler = _compiler()
    if compiler is None:
        return None, "neither CC nor cc, gcc or clang was found"
    try:
        return ctypes.CDLL(str(_build(compiler, (*_FLAGS, *_PRECISIONS[dtype])))), ""
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"'{shlex.join(compiler)}' did not build {_SOURCE.name}: {_first_line(error)}"
        warnings.warn(f"{reason}\nThe sampler runs as PyTorch operations instead, several times slower.", RuntimeWarning, stacklevel=2)
        return None, reason


def _first_line(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    return next((line for line in text.splitlines() if "error" in line.lower()), text).strip()


def _compiler() -> list[str] | None:
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return None


def _build(compiler: list[str], flags: tuple[str, ...]) -> Path:
    """Compile unless the same source was compiled by the same compiler for the same processor before."""
    macros = _call([*compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([_SOURCE.read_text(), macros, *flags]).encode()).hexdigest()[:20]
    for directory in _directories():
        library = directory / f"sampler-{key}.so"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if directory.stat().st_uid != os.getuid():  # code that somebody else may have put there is not loaded
                continue
            if library.exists():
                return library
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                fresh = Path(scratch) / library.name
                _call([*compiler, "-march=native", *flags, str(_SOURCE), "-o", str(fresh), "-lm"])
                fresh.replace(library)
        except OSError:  # a home directory that cannot be written
            continue
        return library
    raise OSError("no directory to write it to; set XDG_CACHE_HOME")


def _directories() -> list[Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(cache) / "unscatter", Path(tempfile.gettempdir()) / f"unscatter-{os.getuid()}"]


def _call(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
