"""The Rosenblatt map as one differentiable operation of PyTorch: reverse mode, forward mode and batching over either."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd import Function

from unscatter.arrays import Grid
from unscatter.samplers import eager, kernel
from unscatter.samplers.tables import Axis, check_density, grid_axes


@dataclass(frozen=True, eq=False)
class Frame:
    """What surrounds the tensors of one call.

    Args:
        grid: nodes of the density.
        batch_shape: leading axes that were flattened into ``samples``, for error messages.
        channels: names of the channels, the last of the flattened axes.
        compiled: run the compiled kernel instead of PyTorch operations.
    """

    grid: Grid
    batch_shape: tuple[int, ...]
    channels: tuple[str, ...]
    compiled: bool

    def axes(self, values: Tensor) -> tuple[Axis, ...]:
        """The axes in the precision and on the device of ``values``."""
        return grid_axes(self.grid, values.dtype, values.device)


def transport(values: Tensor, uniforms: Tensor, frame: Frame) -> Tensor:
    """Events ``[samples, events, dimensions]`` for node values ``[samples, *nodes]``; see :class:`~unscatter.samplers.Rosenblatt`."""
    return _Transport.apply(values, uniforms, frame)  # type: ignore[no-any-return]


class _Transport(Function):
    @staticmethod
    def forward(values: Tensor, uniforms: Tensor, frame: Frame) -> Tensor:
        scale = check_density(values, frame.batch_shape, frame.channels)
        axes = frame.axes(values)
        if frame.compiled:
            return kernel.forward(values, scale, uniforms, axes)
        return eager.forward(_scaled(values, scale), uniforms, axes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Frame], output: Tensor) -> None:
        values, _, ctx.frame = inputs
        ctx.save_for_backward(values, output)
        ctx.save_for_forward(values, output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        values, events = ctx.saved_tensors
        return _Adjoint.apply(values, events, grad_outputs[0], ctx.frame), None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        values, events = ctx.saved_tensors
        return _Tangent.apply(values, events, grad_inputs[0], ctx.frame)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        return _batched(_Transport, info.batch_size, in_dims, args)


class _Adjoint(Function):
    @staticmethod
    def forward(values: Tensor, events: Tensor, gradient: Tensor, frame: Frame) -> Tensor:
        scale = values.flatten(1).amax(1)
        axes = frame.axes(values)
        if frame.compiled:
            return kernel.adjoint(values, scale, events, gradient, axes)
        return _scaled(eager.adjoint(_scaled(values, scale), events, gradient, axes), scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        return _batched(_Adjoint, info.batch_size, in_dims, args)


class _Tangent(Function):
    @staticmethod
    def forward(values: Tensor, events: Tensor, direction: Tensor, frame: Frame) -> Tensor:
        scale = values.flatten(1).amax(1)
        return eager.tangent(_scaled(values, scale), events, _scaled(direction, scale), frame.axes(values))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        return _batched(_Tangent, info.batch_size, in_dims, args)


def _scaled(values: Tensor, scale: Tensor) -> Tensor:
    """Every sample divided by its scale; events depend on ratios only, and squares of 1e-200 would vanish."""
    return values / scale.view(-1, *[1] * (values.ndim - 1))


def _batched(function: type[Function], size: int, in_dims: tuple[int | None, ...], args: tuple[Any, ...]) -> tuple[Tensor, int]:
    """Run with the mapped axis merged into the samples: they are independent anyway.  The last argument is the frame."""
    moved = []
    for tensor, dim in zip(args[:-1], in_dims[:-1], strict=True):
        moved.append(tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0))
    result = function.apply(*(tensor.flatten(0, 1) for tensor in moved), args[-1])
    return result.unflatten(0, (size, -1)), 0


for _function in (_Transport, _Adjoint, _Tangent):
    # `apply` asks for the signature every time, which takes longer than sampling a thousand events; PEP 362 lets a function remember it.
    _function.forward.__signature__ = inspect.signature(_function.forward)  # type: ignore[attr-defined]
