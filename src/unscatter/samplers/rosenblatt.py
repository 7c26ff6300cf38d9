"""The exact sampler: Rosenblatt's map of the multilinear interpolant."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from unscatter.arrays import Density, Events
from unscatter.errors import DensityError, SettingsError, ShapeError
from unscatter.samplers import kernel, uniforms
from unscatter.samplers.eager import interpolate
from unscatter.samplers.protocol import Sampler
from unscatter.samplers.tables import marginals
from unscatter.samplers.transport import Frame, transport


@dataclass(frozen=True, kw_only=True)
class Rosenblatt:
    r"""Draw events exactly from the multilinear interpolant of a tabulated density, with exact gradients to the node values.

    The first coordinate is drawn from its marginal, the second from its conditional given the first, and so on:

    .. math:: F_d(x_d \mid x_1 \dots x_{d-1}) = u_d, \qquad
              \frac{\partial x_d}{\partial p} = -\frac{1}{f_d} \Big( \frac{\partial F_d}{\partial p}
              + \sum_{e<d} \frac{\partial F_d}{\partial x_e} \frac{\partial x_e}{\partial p} \Big).

    Along a cell a marginal or conditional density is linear, its integral quadratic, and the inverse is written without cancellation.  Cell
    volumes count, so that uniform, logarithmic and arbitrary axes sample the same function.  Exactly as many events come out as uniform
    numbers go in, all of them inside the grid.

    Gradients reach ``density.values``, not the uniform numbers.  Reverse mode (``backward``, ``torch.func.grad``, ``vjp``, ``jacrev``),
    forward mode (``torch.func.jvp``, ``jacfwd``) and ``torch.func.vmap`` over any of them work; second derivatives and the older
    ``is_grads_batched`` of ``torch.autograd.grad`` are refused with an error.  Where the density is below rounding error (an event on the
    very edge of the support) the gradient of that event is zero instead of infinite.

    Args:
        points: how the uniform numbers are drawn.  ``"plain"``: independent events.  ``"stratified"``: one event in each of N equally
            probable slices of the first coordinate.  ``"sobol"``: a scrambled and shifted Sobol sequence.  The latter two lower the
            variance of averages over *all* events.  Stratified events come sorted by their first coordinate: a mini-batch must use all of
            them, or shuffle first.
        gradient: ``"pathwise"`` moves the events.  ``"score"`` keeps them where they are and gives them weights of value one whose
            derivative is that of :math:`\rho(x) / \int\rho`: for detectors that are discontinuous in the events.
        compile: True runs a kernel that the machine's C compiler builds at first use (float32 and float64 on the CPU, forward and reverse
            mode); False runs PyTorch operations, on any device; None takes the kernel where there is one.  The two agree to rounding.

    Raises:
        SettingsError: a setting is none of the above, or ``compile=True`` on a machine without a C compiler.

    References:
        - M. Rosenblatt, Remarks on a multivariate transformation, Ann. Math. Statist. 23 (1952) 470.
        - M. Figurnov, S. Mohamed, A. Mnih, Implicit reparameterization gradients, NeurIPS 2018, arXiv:1805.08498.

    Example:
        >>> from unscatter.arrays import Density, Grid
        >>> grid = Grid.from_axes({"x": torch.linspace(0, 1, 11), "Q2": torch.logspace(0, 2, 21)})
        >>> sampler = Rosenblatt()
        >>> density = Density(torch.ones(1, 11, 21), grid, ("proton",))
        >>> events = sampler(density, sampler.uniforms((1,), 1000, 2))
        >>> events.columns, tuple(events.values.shape)
        (('x', 'Q2'), (1, 1000, 2))
    """

    points: Literal["plain", "stratified", "sobol"] = "plain"
    gradient: Literal["pathwise", "score"] = "pathwise"
    compile: bool | None = None

    def __post_init__(self) -> None:
        if self.points not in ("plain", "stratified", "sobol"):
            raise SettingsError(f"'points' is 'plain', 'stratified' or 'sobol', got {self.points!r}.")
        if self.gradient not in ("pathwise", "score"):
            raise SettingsError(f"'gradient' is 'pathwise' or 'score', got {self.gradient!r}.")
        if self.compile and not kernel.available():
            raise SettingsError(
                f"compile=True needs a C compiler, and {kernel.why_not()}.\nInstall one (for example 'apt install gcc'), name it in the "
                "environment variable CC, or use Rosenblatt(compile=False)."
            )

    def uniforms(
        self, batch_shape: tuple[int, ...], num_events: int, num_dimensions: int, *, generator: torch.Generator | None = None,
        device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
    ) -> Tensor:  # fmt: skip
        """Draw the uniform numbers of :meth:`__call__`, ``[*batch_shape, num_events, num_dimensions]`` in [0, 1)."""
        shape = (*batch_shape, num_events, num_dimensions)
        match self.points:
            case "plain":
                return uniforms.plain(shape, generator, device, dtype)
            case "stratified":
                return uniforms.stratified(shape, generator, device, dtype)
            case "sobol":
                return uniforms.sobol(shape, generator, device, dtype)

    def __call__(self, density: Density, uniforms: Tensor) -> Events:
        """Map uniform numbers to events.

        Args:
            density: values ``[..., channel, *nodes]`` in float32 or float64; the events have the same precision.
            uniforms: ``[..., channel, num_events, dimensions]``.

        Returns:
            Events whose columns are the names of the grid's axes, ``[..., channel, num_events, dimensions]``.

        Raises:
            DensityError: a density is negative somewhere, not finite, or zero everywhere; the message names channel and batch index.
            ShapeError: the uniform numbers do not fit the density.
        """
        values, numbers = flatten(density, uniforms)
        frame = Frame(density.grid, density.batch_shape, density.channels, self._compiled(values))
        if self.gradient == "pathwise":
            return Events(transport(values, numbers, frame).view(uniforms.shape), density.grid.names)
        events = transport(values.detach(), numbers, frame)
        weights = _likelihood_ratio(values, events, frame)
        return Events(events.view(uniforms.shape), density.grid.names, weights.view(uniforms.shape[:-1]))

    def _compiled(self, values: Tensor) -> bool:
        if self.compile and not kernel.suits(values):
            raise SettingsError(
                f"compile=True needs a density on the CPU with at most {kernel.MAX_DIMENSIONS} dimensions, got {values.ndim - 1} "
                f"on '{values.device}'.\nUse Rosenblatt(compile=None)."
            )
        return self.compile is not False and kernel.suits(values) and kernel.available(values.dtype)


def sample(density: Density, num_events: int, *, sampler: Sampler | None = None, generator: torch.Generator | None = None) -> Events:
    """Draw events from every channel and batch element of a density.

    Args:
        density: values ``[..., channel, *nodes]``.
        num_events: events per channel and batch element.
        sampler: :class:`Rosenblatt` with its default settings unless given.
        generator: random stream; torch's global one unless given.

    Returns:
        Events ``[..., channel, num_events, dimensions]``.

    Example:
        >>> from unscatter.arrays import Density, Grid
        >>> grid = Grid.from_axes({"x": [0.0, 1.0, 3.0]})
        >>> events = sample(Density(torch.tensor([[0.0, 1.0, 0.0]]), grid, ("signal",)), 5000)
        >>> round(float(events.column("x").mean()), 1)  # the mean of a triangle is the mean of its corners
        1.3
    """
    chosen = Rosenblatt() if sampler is None else sampler
    shape = (*density.batch_shape, len(density.channels))
    values = density.values
    numbers = chosen.uniforms(shape, num_events, density.grid.num_dimensions, generator=generator, device=values.device, dtype=values.dtype)
    return chosen(density, numbers)


def flatten(density: Density, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Merge channel and batch axes: node values ``[samples, *nodes]`` and uniform numbers ``[samples, events, dimensions]``.

    Raises:
        DensityError: the density is neither float32 nor float64.
        ShapeError: the uniform numbers do not fit the density.
    """
    values, grid = density.values, density.grid
    if values.dtype not in (torch.float32, torch.float64):
        raise DensityError(f"the density must be float32 or float64, got {values.dtype}.\nConvert it with 'values.float()'.")
    leading = tuple(values.shape[: values.ndim - grid.num_dimensions])
    if tuple(uniforms.shape[:-2]) != leading or uniforms.shape[-1] != grid.num_dimensions:
        raise ShapeError(
            f"'uniforms' must have the shape [..., channel, num_events, dimensions] = [{', '.join(map(str, leading))}, num_events, "
            f"{grid.num_dimensions}] for this density, got {tuple(uniforms.shape)}.\n"
            "Draw them with 'sampler.uniforms((*density.batch_shape, len(density.channels)), num_events, density.grid.num_dimensions)'."
        )
    samples = prod(leading)
    return values.reshape(samples, *grid.shape), uniforms.to(values).reshape(samples, *uniforms.shape[-2:])


def _likelihood_ratio(values: Tensor, events: Tensor, frame: Frame) -> Tensor:
    """Weights of value one with the derivative of the normalised density at fixed events, ``[samples, events]``."""
    axes = frame.axes(values)
    scaled = values / values.detach().flatten(1).amax(1).view(-1, *[1] * len(axes))
    tiny = torch.finfo(values.dtype).tiny
    density = interpolate(scaled, events, axes).clamp(min=tiny)
    integral = marginals(scaled, axes)[0] @ axes[0].weights
    ratio = density / integral[:, None]
    return ratio / ratio.detach()
