"""Derivatives of tensors with many entries by few parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unscatter.errors import TheoryError

#: How to mend a theory through which no gradient flows.
NO_GRADIENT_HINT = (
    "Compute with torch operations from the parameters to the result, "
    "without .detach(), .item(), .numpy(), torch.tensor(...) or torch.no_grad()."
)


def jacobian(function: Callable[[Tensor], Tensor], parameters: Tensor) -> tuple[Tensor, Tensor]:
    r"""Value and Jacobian matrix of a function of few parameters.

    The product :math:`J^T u` of reverse mode is linear in :math:`u`, so its derivative by :math:`u` along a parameter is a column of
    :math:`J`: two reverse passes do what forward mode does, for almost every operation that can be trained through, and without the
    seconds that PyTorch takes to load its rules of forward mode.  Where the second pass is missing, forward mode is tried.

    Args:
        function: from ``[size]`` to any shape ``[*out]``.
        parameters: ``[size]``.

    Returns:
        ``[*out]`` and ``[*out, size]``, detached.

    Raises:
        TheoryError: no gradient reaches the result, or neither mode gives the Jacobian.

    Example:
        >>> jacobian(lambda p: p.square(), torch.tensor([1.0, 3.0]))[1]
        tensor([[2., 0.],
                [0., 6.]])
    """
    with torch.enable_grad():
        point = parameters.detach().clone().requires_grad_()
        value = function(point)
        if not value.requires_grad:
            raise TheoryError(f"no gradient reaches the parameters: the result of the theory does not depend on them.\n{NO_GRADIENT_HINT}")
        columns = _reverse_twice(value, point)
    if columns is None:
        columns = _forward(function, point.detach())
    return value.detach(), columns


def _reverse_twice(value: Tensor, point: Tensor) -> Tensor | None:
    """Columns of the Jacobian, or None where the backward pass cannot be differentiated."""
    generator = torch.Generator(device=value.device).manual_seed(0)
    cotangent = torch.rand(value.shape, generator=generator, dtype=value.dtype, device=value.device).requires_grad_()
    (pulled,) = torch.autograd.grad(value, point, cotangent, create_graph=True)
    if not pulled.requires_grad:
        return None
    try:
        columns = [_gradient_or_zero(entry, cotangent) for entry in pulled.unbind()]
    except RuntimeError:  # an operation marked as differentiable only once
        return None
    result = torch.stack(columns, -1).detach()
    if not bool(torch.isfinite(result).all()):
        return result  # forward mode would find the same
    # A backward pass that detaches on its way would lose terms without a word: the linear map must reproduce the product it came from.
    again = torch.einsum("k,ki->i", cotangent.detach().flatten(), result.flatten(0, -2))
    faithful = torch.allclose(again, pulled.detach(), rtol=1e-4, atol=1e-6 * float(pulled.detach().abs().max()), equal_nan=True)
    return result if faithful else None


def _gradient_or_zero(output: Tensor, source: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(output, source, retain_graph=True, allow_unused=True)
    return torch.zeros_like(source) if gradient is None else gradient


def _forward(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    try:
        return torch.stack([_tangent(function, point, direction) for direction in torch.eye(len(point)).to(point)], -1)
    except RuntimeError as error:  # NotImplementedError is one
        raise TheoryError(
            "the theory can be differentiated only once and not in forward mode, but its information needs one of the two.\n"
            "In your torch.autograd.Function, write backward() with torch operations and without @once_differentiable, or add a jvp().\n"
            f"PyTorch says: {error}"
        ) from error


def _tangent(function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor) -> Tensor:
    with forward_ad.dual_level():
        primal, tangent = forward_ad.unpack_dual(function(forward_ad.make_dual(point, direction)))
        return torch.zeros_like(primal) if tangent is None else tangent.clone()
