"""A theory made of one function, for problems that fit in a few lines."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unscatter.arrays import Density, Grid
from unscatter.arrays.memory import is_out_of_memory
from unscatter.errors import TheoryError, UnscatterError
from unscatter.theories.rates import check_luminosity, expected_counts


@dataclass(frozen=True, eq=False)
class FunctionTheory:
    r"""A theory made of a function that evaluates the density at the nodes for one set of physics parameters.

    The expected number of events of a channel is the integral of its density times the channel's luminosity,

    .. math:: \mu_c = L_c \int \rho_c(x)\,dx .

    Args:
        function: ``function(physics_params, *coordinates)``, with ``physics_params`` of shape ``parameter_shape`` and one tensor of
            coordinates ``[*nodes]`` per axis of the grid; returns :math:`\rho \ge 0` as ``[channel, *nodes]``, or as ``[*nodes]``
            where there is a single channel.  Batches are made by :func:`torch.func.vmap`.
        grid: nodes.
        parameter_shape: shape of one set of physics parameters.
        channels: one name per measured data set.
        luminosity: :math:`L_c` per channel in the inverse unit of the density's integral, or None where rates carry no information.

    Raises:
        SettingsError: a luminosity is missing or not positive.

    Example:
        A single exponential decay, whose rate is the parameter:

        >>> grid = Grid.from_axes({"time_s": torch.linspace(0, 10, 101)})
        >>> theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), grid, parameter_shape=(1,))
        >>> theory(torch.tensor([[0.5], [0.7]])).values.shape
        torch.Size([2, 1, 101])
    """

    function: Callable[..., Tensor]
    grid: Grid
    parameter_shape: tuple[int, ...]
    channels: tuple[str, ...] = ("events",)
    luminosity: tuple[float, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_luminosity(self.luminosity, self.channels)

    def __call__(self, physics_params: Tensor) -> Density:
        """Evaluate the function at the nodes, ``[..., *parameter_shape]`` to ``[..., channel, *nodes]``.

        Raises:
            TheoryError: the function failed, or returned something else than a tensor of shape ``[channel, *nodes]``.
        """
        grid = self.grid.to(physics_params.device, physics_params.dtype)
        coordinates = grid.mesh()
        batch_shape = physics_params.shape[: physics_params.ndim - len(self.parameter_shape)]
        flat = physics_params.reshape(math.prod(batch_shape), *self.parameter_shape)
        values = torch.func.vmap(lambda p: self._evaluate(p, coordinates))(flat)
        values = values.reshape(*batch_shape, *values.shape[1:])
        return Density(values, grid, self.channels, expected_counts(values, grid, self.luminosity))

    def _evaluate(self, physics_params: Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        values = self._call(physics_params, coordinates)
        wanted = (len(self.channels), *self.grid.shape)
        if not isinstance(values, Tensor):
            raise TheoryError(
                f"the theory's function must return a tensor of shape {wanted}, got {type(values).__name__}.\n"
                "Compute it from the parameters and the coordinates with torch operations: torch.exp(x), not np.exp(x) or math.exp(x)."
            )
        if len(self.channels) == 1 and tuple(values.shape) == self.grid.shape:
            return values.unsqueeze(0)
        if tuple(values.shape) != wanted:
            raise TheoryError(
                f"the theory's function must return [channel, *nodes] = {wanted}, got {tuple(values.shape)}.\n"
                f"It is called with one set of parameters of shape {self.parameter_shape} and {len(coordinates)} arrays of "
                f"coordinates {list(self.grid.names)} of shape {self.grid.shape}: return one value per channel and node."
            )
        return values

    def _call(self, physics_params: Tensor, coordinates: tuple[Tensor, ...]) -> Any:
        """Run the user's code; what goes wrong there is told with its line and with what to write instead."""
        try:
            return self.function(physics_params, *coordinates)
        except UnscatterError:
            raise
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):
                raise
            cause = next(iter(str(error).splitlines()), "")
            where = _place(self.function, error)
            raise TheoryError(f"the theory's function failed{where}: {_advice(cause) or f'{type(error).__name__}: {cause}'}") from error


#: What PyTorch says when an operation cannot be batched or differentiated, what that means, and what to write instead.
_ADVICE = (
    (
        ("data-dependent control flow", "Boolean value of Tensor"),
        "a Python condition depends on a parameter or a coordinate.\n"
        "Choose element by element instead of with if, and, or, while, min and max: torch.where(p[0] > 0, one, other).",
    ),
    (
        (".item()", "only one element tensors can be converted"),
        "a parameter or a coordinate is turned into a Python number, as float(), int(), .item() and the functions of math do.\n"
        "Leave float() out and compute with torch operations: p[0] instead of float(p[0]), torch.exp(p[0]) instead of math.exp(p[0]).",
    ),
    (
        ("numpy()", "numpy.ndarray", "numpy array", ".tolist", "data pointer", "Cannot access data"),
        "neither NumPy nor Python lists can hold tensors that carry gradients.\n"
        "Use torch operations from the parameters to the result: torch.exp(x) instead of np.exp(x).",
    ),
    (("vmap",), "an operation cannot be evaluated for many sets of parameters at once.\nUse torch operations that return new tensors."),
)


def _advice(cause: str) -> str | None:
    return next((text for signs, text in _ADVICE if any(sign in cause for sign in signs)), None)


def _place(function: Callable[..., Tensor], error: BaseException) -> str:
    """File and line of the user's code where an error arose; of the function itself where it could not be called at all."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    if frames:
        frame = [frame for frame in frames if frame.filename == frames[0].filename][-1]
        return (
            f" in '{frame.filename}', line {frame.lineno} ({frame.line})" if frame.line else f" in '{frame.filename}', line {frame.lineno}"
        )
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f" in '{code.co_filename}', line {code.co_firstlineno}"
